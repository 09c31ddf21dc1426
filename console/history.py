"""How counts moved over the last minutes: rates for the overview, bounded in time and in how many are kept."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

KEPT: Final = 120
"""Points of each line: ten minutes, one every five seconds."""
MAX_LINES: Final = 2_000

Counted = tuple[str, str, str]
"""Cluster, signal, and sink; the sink is empty for what was received."""


@dataclass(slots=True)
class History:
    """The newest counts, and the items a second between them."""

    _last: dict[Counted, tuple[float, int]] = field(default_factory=dict)
    _rates: dict[Counted, deque[float]] = field(default_factory=dict)

    def add(self, at_s: float, status: Mapping[str, Any]) -> None:
        """Take in a status read at a (monotonic) time; what it no longer names is forgotten."""
        counts = dict(count for count, _ in zip(_counts(status), range(MAX_LINES), strict=False))
        for key, count in counts.items():
            last = self._last.get(key)
            if last is not None and at_s > last[0]:
                # Counts only fall where a ledger was begun anew; that is no negative rate.
                rate = max(0, count - last[1]) / (at_s - last[0])
                self._rates.setdefault(key, deque(maxlen=KEPT)).append(round(rate, 3))
        self._last = {key: (at_s, count) for key, count in counts.items()}
        self._rates = {key: rates for key, rates in self._rates.items() if key in counts}

    def lines(self) -> list[dict[str, Any]]:
        """Return every line, oldest rate first."""
        return [
            {"cluster": cluster, "signal": signal, "sink": sink, "rates": list(rates)}
            for (cluster, signal, sink), rates in self._rates.items()
        ]


def _counts(status: Mapping[str, Any]) -> Iterator[tuple[Counted, int]]:
    clusters: Iterable[Mapping[str, Any]] = status.get("clusters", ())
    for cluster in clusters:
        for signal, part in cluster.get("signals", {}).items():
            yield (cluster["name"], signal, ""), part["received"]
            for sink, counts in part.get("sinks", {}).items():
                yield (cluster["name"], signal, sink), counts["delivered"]
