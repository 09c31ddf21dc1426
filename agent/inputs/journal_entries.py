"""What becomes of a journal's entry: an entry with the labels of promtail's `journal`, or nothing."""

import json
from collections.abc import Iterable, Iterator
from typing import Final

from agent.config.journal import JournalConfig
from agent.logs.entry import Entry
from agent.logs.input import BY_RULES, InputTools
from pipeline.wire.journal_export import Fields

_META: Final = "__journal_"
_PRIORITIES: Final = ("emerg", "alert", "crit", "error", "warning", "notice", "info", "debug")
_KEYWORDS: Final = {str(number): name for number, name in enumerate(_PRIORITIES)}


class JournalEntries:
    """Makes entries of one journal's."""

    def __init__(self, config: JournalConfig, tools: InputTools) -> None:
        self._config = config
        self._tools = tools

    def of(self, found: Iterable[Fields]) -> Iterator[Entry]:
        """Yield the entries that have a text and that no rule drops."""
        for fields in found:
            # Names with two underscores are the address of an entry, not of it.
            own = {name: value for name, value in fields.items() if not name.startswith("__")}
            line = json.dumps(own, ensure_ascii=False, sort_keys=True) if self._config.json_ else own.get("MESSAGE")
            if line is None:
                self._tools.drop("journal_entry_without_message")
                continue
            labels = self._tools.relabel({**_labels(own), **self._config.labels})
            if labels is None:
                self._tools.drop(BY_RULES)
                continue
            yield Entry(dict(labels), int(fields.get("__REALTIME_TIMESTAMP", "0")) * 1000, line)


def _labels(own: Fields) -> dict[str, str]:
    labels = {f"{_META}{name.lower()}": value for name, value in own.items()}
    if (priority := own.get("PRIORITY")) is not None:
        labels[f"{_META}priority_keyword"] = _KEYWORDS.get(priority, priority)
    return labels
