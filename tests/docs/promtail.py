"""The tables of docs/promtail.md, made from the code: `python -m tests.docs.promtail` writes them anew."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pydantic import BaseModel

from agent.config.discoveries import Discoveries
from agent.config.logs import LogScrapeConfig
from agent.config.promtail import LogsConfig
from agent.config.promtail_server import IGNORED
from agent.config.stages import REFUSED, StageConfig
from agent.config.unsupported import REASONS
from pipeline.config import Address
from pipeline.http_config import HttpClientConfig
from pipeline.relabel import RelabelConfig
from tests.docs.options import section_of, sections, table

PAGE: Final = Path(__file__).parents[2] / "docs" / "promtail.md"
OF_JOBS: Final = (
    *("windows_events", "gcplog", "azure_event_hubs", "gelf", "cloudflare", "heroku_drain", "consulagent_sd_configs"),
)
"""The keys of promtail's jobs that are refused by name, beside discoveries that Prometheus has, too."""


def page(text: str) -> str:
    """Return the page with its tables as the code has them."""
    return re.sub(r"(<!-- tables -->\n).*(<!-- end -->)", lambda m: m[1] + tables() + m[2], text, flags=re.DOTALL)


def tables() -> str:
    """Return all tables, as they stand between the page's two marks."""
    # Discovery and rules are Prometheus', stages have a page of their own.
    seen: set[type[BaseModel]] = {HttpClientConfig, RelabelConfig, StageConfig, LogScrapeConfig, Address}
    seen |= {section_of(Discoveries, key) for key in Discoveries.model_fields}
    lines = ["### The file, or the section `logs`", "", *table(LogsConfig), ""]
    lines += ["### `scrape_configs`, each", "", *table(LogScrapeConfig), ""]
    for key in LogScrapeConfig.model_fields:
        for model in _sections_of(LogScrapeConfig, key):
            lines += sections(key, model, seen, 3)
    for key in LogsConfig.model_fields:
        for model in _sections_of(LogsConfig, key):
            lines += sections(LogsConfig.model_fields[key].alias or key, model, seen, 3)
    lines += [
        "",
        "All other keys of `server` are read and of no effect: " + ", ".join(map(_code, sorted(IGNORED))) + ".",
    ]
    lines += ["", "### Refused by name", "", *_refused(), ""]
    text = "\n".join(line for line in lines if not line.startswith("| `ignored` |"))
    return text.replace("(#every-http-client)", "(options.md#every-http-client)")


def undescribed() -> list[str]:
    """Return the keys on the page of which nothing is said."""
    return re.findall(r"^\| (`\w+`) \| [^|]* \|  \|", tables(), flags=re.MULTILINE)


def _sections_of(model: type[BaseModel], key: str) -> Iterator[type[BaseModel]]:
    try:
        yield section_of(model, key)
    except IndexError:
        return


def _refused() -> Iterator[str]:
    yield "| key | why |"
    yield "|---|---|"
    yield from (f"| `{key}` | {REASONS[key]} |" for key in OF_JOBS)
    yield from (f"| `{key}` (stage) | {reason} |" for key, reason in REFUSED.items())


def _code(key: str) -> str:
    return f"`{key}`"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
