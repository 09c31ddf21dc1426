"""Cases of the conversion: resources in `cases/*.yaml`, and beside each what the operator itself makes of them.

`python -m tests.agent.discovery.operator.cases` writes the `.expected.json` files anew, with the operator's own code.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.servers.operator import operator_makes

FOLDER = Path(__file__).parent / "cases"
TARGETS: list[dict[str, str]] = json.loads((FOLDER / "targets.json").read_text())
"""Label sets as discovery finds them, on which every job's rules are tried."""
API_VERSIONS = {"ScrapeConfig": "monitoring.coreos.com/v1alpha1"}


@dataclass(frozen=True, slots=True)
class Case:
    """A file: resources, the agent's section and the operator's that say the same, and what references hold."""

    name: str
    value: dict[str, Any]

    @property
    def resources(self) -> list[dict[str, Any]]:
        """The resources, as an API server has them."""
        return [
            {"apiVersion": API_VERSIONS.get(item["kind"], "monitoring.coreos.com/v1"), **item}
            for item in self.value["resources"]
        ]

    @property
    def expected(self) -> dict[str, Any]:
        """`jobs`: by name, its options (without `relabel_configs`) and the labels of each target, null if dropped."""
        return json.loads((FOLDER / f"{self.name}.expected.json").read_text())["jobs"]  # type: ignore[no-any-return]

    def given(self, **more: Any) -> dict[str, Any]:
        """Return what the operator's code takes."""
        return {
            "prometheus": self.value["prometheus"],
            "resources": self.resources,
            "secrets": self.value.get("secrets", []),
            "configMaps": self.value.get("configMaps", []),
            "targets": [],
            **more,
        }


def cases() -> Iterator[Case]:
    """Yield every case."""
    for path in sorted(FOLDER.glob("*.yaml")):
        yield Case(path.stem, yaml.safe_load(path.read_text()))


def main() -> None:
    """Write what the operator makes of every case."""
    for case in cases():
        answer = operator_makes(case.given(targets=TARGETS))
        jobs = {}
        for options in yaml.safe_load(answer["configs"])["scrape_configs"]:
            name = options.pop("job_name")
            del options["relabel_configs"]
            jobs[name] = {"options": options, "labels": answer["labels"][name]}
        text = json.dumps({"jobs": jobs}, indent=1, sort_keys=True)
        (FOLDER / f"{case.name}.expected.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
