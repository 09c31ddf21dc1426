"""`journal`: what systemd's journal holds. Names, meanings and defaults are promtail's.

Source: promtail documentation, `journal`; grafana/loki, clients/pkg/promtail/scrapeconfig and targets/journal.
"""

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from agent.config.lists import LabelMap
from pipeline.go_duration import GoSeconds
from pipeline.http_config import NullableSection


def _matches(text: str) -> str:
    for match in text.split():
        if not re.fullmatch(r"[A-Z0-9_]+=[^=]*", match):
            raise ValueError(
                f"{match!r} is no match: write FIELD=value, with a space between two; `+` is not supported"
            )
    return text


class JournalConfig(NullableSection):
    """`journal`: follow systemd's journal, by the machine's `journalctl`."""

    json_: Annotated[bool, Field(alias="json")] = False
    """Take the whole entry, as JSON, as the line; else its MESSAGE."""
    max_age: GoSeconds = 7 * 3600.0
    """Nothing older than this, counted from the start, is read."""
    labels: LabelMap = Field(default_factory=dict)
    """Labels of every entry."""
    path: Path | None = None
    """The folder of the journal; left out, the machine's own."""
    matches: Annotated[str, AfterValidator(_matches)] = ""
    """Which entries: `FIELD=value`, several with spaces between them; different fields must all match."""
