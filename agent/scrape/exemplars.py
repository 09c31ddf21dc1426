"""Exemplars: which are new, and how they are sent.

As Prometheus' sender does it, an exemplar travels in a TimeSeries of its own, behind the samples. One that repeats the
series' last is not sent again, nor one from before it: a native histogram shows its latest again and again. One whose
labels are too long or not unique is dropped (tsdb/agent/db.go, tsdb/exemplar.go).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from pipeline.wire.exposition import PageExemplar
from pipeline.wire.remote_write import encode_exemplar, encode_labels, encode_series, unpack_double

MAX_LABEL_CHARACTERS = 128
"""OpenMetrics 1.0, "Exemplars": all names and values together."""
_MAX_REMEMBERED = 50_000
"""Series; beyond this all are forgotten, and an exemplar may be sent a second time, which stores ignore."""


@dataclass(slots=True)
class Exemplars:
    """The last exemplar of each series that has any; `dropped` counts those that no store would take."""

    dropped: int = 0
    _last: dict[bytes, PageExemplar] = field(default_factory=dict)

    def new(self, found: Iterable[tuple[bytes, PageExemplar, int]]) -> Iterator[bytes]:
        """Return those that are new as fields of a WriteRequest; each comes with its series and its sample's time."""
        for head, exemplar, sample_ms in found:
            last = self._last.get(head)
            if last == exemplar or (last is not None and _is_before(exemplar, last)):
                continue
            labels = tuple(pair for pair in exemplar.labels if pair[1])
            names = {name for name, _ in labels}
            if (
                len(names) < len(labels)
                or "" in names
                or sum(len(n) + len(v) for n, v in labels) > MAX_LABEL_CHARACTERS
            ):
                self.dropped += 1
                continue
            if len(self._last) >= _MAX_REMEMBERED and head not in self._last:
                self._last.clear()
            timestamp_ms = sample_ms if exemplar.timestamp_ms is None else exemplar.timestamp_ms
            self._last[head] = exemplar
            yield encode_series(head + encode_exemplar(encode_labels(labels), exemplar.value, timestamp_ms))


def _is_before(exemplar: PageExemplar, last: PageExemplar) -> bool:
    """Tell whether stores would refuse an exemplar as out of order: where both say when they were."""
    if exemplar.timestamp_ms is None or last.timestamp_ms is None:
        return False
    if exemplar.timestamp_ms != last.timestamp_ms:
        return exemplar.timestamp_ms < last.timestamp_ms
    return bool(unpack_double(exemplar.value)[0] < unpack_double(last.value)[0])
