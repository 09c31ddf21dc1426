"""Which entries of a request Loki means by its words: pure. Nobody guesses: what does not add up is not understood."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from pipeline.send.loki.names import pairs_of, without_added
from pipeline.send.loki.words import Behind, Fault, Refusal, read_behind, read_refusals
from pipeline.wire.errors import MalformedError
from pipeline.wire.loki import NS, Entry, Pairs


class Sent(NamedTuple):
    """One entry that was sent: whose record it is from, its encoded field, and what it says."""

    source: int
    field: bytes
    entry: Entry


class Refused(NamedTuple):
    """An entry that Loki refuses, and why."""

    labels: bytes
    sent: Sent
    reason: str


Streams = Mapping[bytes, Sequence[Sent]]
"""What was sent, by the streams' labels as they were sent."""


def refused_entries(words: str, streams: Streams) -> list[Refused] | None:
    """Return the entries that an answer (400, or 429 for a stream) refuses; all others are stored.

    None where the words are not understood, or do not fit to what was sent.
    """
    if (behind := read_behind(words)) is not None:
        return _behind(behind, streams)
    if (refusals := read_refusals(words)) is None:
        return None
    names = _names(streams)
    pools: dict[bytes, _Pool] = {}
    out: list[Refused] = []
    for refusal in refusals:
        labels = _found(refusal.labels, names)
        if labels is None:
            return None
        pool = pools.get(labels) or pools.setdefault(labels, _Pool(list(streams[labels])))
        chosen = pool.take(refusal)
        if chosen is None:
            return None
        out += [Refused(labels, sent, refusal.reason) for sent in chosen]
    return out


@dataclass(slots=True)
class _Pool:
    """The entries of one stream that are not refused yet, sorted by what is asked for. Faults are asked in order."""

    left: list[Sent]
    fault: Fault | None = None
    sorted: dict[int, list[Sent]] = field(default_factory=dict)

    def take(self, refusal: Refusal) -> list[Sent] | None:
        """Take the entries that are meant; None where there are not as many as Loki says."""
        if refusal.fault is Fault.STREAM:
            taken, self.left = self.left, []
            return taken
        if refusal.fault is not self.fault:
            self._sort(refusal.fault)
        found = self.sorted.pop(refusal.value, [])
        if refusal.fault in (Fault.TOO_OLD, Fault.TOO_NEW):
            # Only the second is named: of those in it, it is the oldest or the newest that are beyond the limit.
            found.sort(key=lambda sent: sent.entry.time_ns, reverse=refusal.fault is Fault.TOO_NEW)
            self.sorted[refusal.value] = found[refusal.items :]
            found = found[: refusal.items]
        return found if len(found) == refusal.items else None

    def _sort(self, fault: Fault) -> None:
        if self.fault is not None:
            self.left = [sent for group in self.sorted.values() for sent in group]
        self.fault, self.sorted = fault, {}
        for sent in self.left:
            self.sorted.setdefault(_value(fault, sent.entry), []).append(sent)


def _value(fault: Fault, entry: Entry) -> int:
    if fault is Fault.LINE_SIZE:
        return len(entry.line)
    if fault is Fault.METADATA_SIZE:
        return sum(len(name.encode()) + len(value.encode()) for name, value in entry.metadata)
    if fault is Fault.METADATA_COUNT:
        return len(entry.metadata)
    if fault is Fault.METADATA:
        return 0 if entry.metadata else -1
    return entry.time_ns // NS


def _behind(behind: Behind, streams: Streams) -> list[Refused] | None:
    """Return the oldest entries of the stream, if it is they that the first of the words name.

    The limit moves with the newest entry: the oldest are the ones beyond it unless the request itself moved it.
    """
    labels = _found(behind.labels, _names(streams))
    # Words of an ingester hide the distributor's: where it got less than was sent, something else was refused, too.
    if labels is None or len(streams) != 1 or len(streams[labels]) != behind.entries:
        return None
    newest_first = sorted(range(behind.entries), key=lambda n: (streams[labels][n].entry.time_ns, n))
    chosen = [streams[labels][n] for n in sorted(newest_first[: behind.refused])]
    named = len(behind.times_ns)
    if tuple(sent.entry.time_ns for sent in chosen[:named]) != behind.times_ns:
        return None
    return [Refused(labels, sent, behind.reason) for sent in chosen]


def _names(streams: Streams) -> dict[Pairs, bytes]:
    return {pairs: labels for labels in streams if (pairs := _pairs(labels)) is not None}


def _found(named: Pairs, names: Mapping[Pairs, bytes]) -> bytes | None:
    """Return the labels, as they were sent, of a stream that Loki names; it may have added `service_name`."""
    return names.get(named) or names.get(without_added(named))


def _pairs(labels: bytes) -> Pairs | None:
    try:
        return pairs_of(labels.decode())
    except (MalformedError, UnicodeDecodeError):
        return None
