"""The tables of docs/operator.md, made from the models: `python -m tests.docs.operator` writes them anew."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from agent.config.scrape import ScrapeConfig
from agent.discovery import MECHANISMS
from agent.discovery.operator.monitors import Endpoint, PodEndpoint, PodMonitor, ServiceMonitor
from agent.discovery.operator.part import Part
from agent.discovery.operator.probe import Probe
from agent.discovery.operator.scrape_config import OTHER_DISCOVERIES, ScrapeConfigResource
from tests.docs.options import text_below, works

PAGE: Final = Path(__file__).parents[2] / "docs" / "operator.md"
PARTS: Final[dict[str, type[Part]]] = {
    "ServiceMonitor": ServiceMonitor,
    "ServiceMonitor: `endpoints`, each": Endpoint,
    "PodMonitor": PodMonitor,
    "PodMonitor: `podMetricsEndpoints`, each": PodEndpoint,
    "Probe": Probe,
    "ScrapeConfig": ScrapeConfigResource,
}


def page(text: str) -> str:
    """Return the page with its tables as the code has them."""
    return re.sub(r"(<!-- tables -->\n).*(<!-- end -->)", lambda m: m[1] + tables() + m[2], text, flags=re.DOTALL)


def tables() -> str:
    """Return all tables, as they stand between the page's two marks."""
    return "\n".join(line for title, part in PARTS.items() for line in _table(title, part))


def _table(title: str, part: type[Part]) -> Iterator[str]:
    yield from (f"### {title}", "", "| key | supported | what it is, or the option that it becomes |", "|---|---|---|")
    for name, field in part.model_fields.items():
        key = field.alias or name
        if field.exclude:
            yield f"| `{key}` | yes | {text_below(part, name)} |"
        elif name in MECHANISMS or name == "static_configs":
            yield f"| `{key}` | yes | [`{name}`](options.md#{name}-each) |"
        else:
            yield f"| `{key}` | {works(ScrapeConfig, name)} | `{name}` |"
    if part is ScrapeConfigResource:
        yield from (f"| `{key}` | **refused** | {reason} |" for key, reason in OTHER_DISCOVERIES.items())
    yield ""


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
