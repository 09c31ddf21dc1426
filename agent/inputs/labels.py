"""The labels of what an input discovered, relabelled once for all entries that come with the same."""

from collections.abc import Callable, Hashable, Mapping
from typing import Final

from agent.logs.input import Relabel

MAX_KNOWN: Final = 10_000


class Labels:
    """Relabels; what came out is remembered, up to some number, as it repeats with most messages."""

    def __init__(self, relabel: Relabel, static: Mapping[str, str]) -> None:
        self._relabel = relabel
        self._static = static
        self._known: dict[Hashable, dict[str, str] | None] = {}

    def of(self, found: Mapping[str, str]) -> dict[str, str] | None:
        """Return the labels, which are the caller's own, of what was found; None where the rules drop it.

        As in promtail a label of the configuration gives way to what was found under the same name.
        """
        return self.by(tuple(found.items()), lambda: found)

    def by(self, key: Hashable, found: Callable[[], Mapping[str, str]]) -> dict[str, str] | None:
        """Do as `of`, where something cheaper tells what was found: it is asked for when the key is new."""
        try:
            labels = self._known[key]
        except KeyError:
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            labels = self._known[key] = self._relabel({**self._static, **found()})
        return None if labels is None else labels.copy()
