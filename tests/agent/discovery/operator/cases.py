"""Cases of the conversion: resources in `cases/*.yaml`, and beside each what the operator itself makes of them.

`python -m tests.agent.discovery.operator.cases` writes the `.expected.json` files anew, with the operator's own code:
that needs Go, and minutes the first time. `expect/main.go` says what they hold.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent / "cases"
PROGRAM = Path(__file__).parent / "expect"
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


def cases() -> Iterator[Case]:
    """Yield every case."""
    for path in sorted(FOLDER.glob("*.yaml")):
        yield Case(path.stem, yaml.safe_load(path.read_text()))


def main() -> None:
    """Write what the operator makes of every case."""
    for case in cases():
        given = {
            "prometheus": case.value["prometheus"],
            "resources": case.resources,
            "secrets": case.value.get("secrets", []),
            "configMaps": case.value.get("configMaps", []),
            "targets": TARGETS,
        }
        command = sys.argv[1:] or ["go", "run", "."]
        run = subprocess.run(command, cwd=PROGRAM, input=json.dumps(given), capture_output=True, text=True, check=True)
        answer = json.loads(run.stdout)
        jobs = {}
        for options in yaml.safe_load(answer["configs"])["scrape_configs"]:
            name = options.pop("job_name")
            del options["relabel_configs"]
            jobs[name] = {"options": options, "labels": answer["labels"][name]}
        text = json.dumps({"jobs": jobs}, indent=1, sort_keys=True)
        (FOLDER / f"{case.name}.expected.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
