"""What a signal's payloads are made of, so that they can be joined unread, and split to find what a store refuses: by
record, then by series or stream, then by item.

Payloads are snappy(prometheus.WriteRequest) and snappy(logproto.PushRequest): both are a sequence of groups (series,
streams), each of which holds labels and items (samples, entries). They are decoded only here, after a store refused
them (ARCHITECTURE 5).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from pipeline.wire import loki, remote_write, snappy
from pipeline.wire.envelope import Signal
from pipeline.wire.protobuf import encode_bytes, fields


class Part(NamedTuple):
    """A payload of some of another's content, and the items in it."""

    payload: bytes
    items: int


Halves = tuple[Part, Part]


@dataclass(frozen=True, slots=True)
class Codec:
    """A signal's payload by its tags: those of a group, of the labels that tell groups apart, and of items."""

    group: int
    label: int
    items: frozenset[int]

    def join(self, payloads: Sequence[bytes]) -> bytes:
        """Return one payload with everything of these, in order, without decompressing any."""
        return snappy.join(payloads)

    def count(self, payload: bytes) -> int:
        """Count the items of a payload; raises MalformedError."""
        request = snappy.decompress(payload)
        return sum(self._identity(request, at, end)[1] for tag, _, at, end in fields(request) if tag == self.group)

    def halves(self, payload: bytes) -> Halves | None:
        """Split a payload in two parts that can be sent in either order; None where it is one group.

        All items of a group stay together and in order, whichever fields they stand in. Fields that are no group
        (metadata) go with the first part. Raises MalformedError where the payload cannot be read.
        """
        request = snappy.decompress(payload)
        groups: dict[bytes, list[bytes]] = {}
        counts: dict[bytes, int] = {}
        others: list[bytes] = []
        start = 0
        for tag, _, at, behind in fields(request):
            if tag == self.group:
                identity, items = self._identity(request, at, behind)
                groups.setdefault(identity, []).append(request[start:behind])
                counts[identity] = counts.get(identity, 0) + items
            else:
                others.append(request[start:behind])
            start = behind
        if len(groups) + bool(others) < 2:
            return None
        identities = list(groups)
        middle = (len(identities) + 1) // 2 if len(identities) > 1 else 0
        first, second = identities[:middle], identities[middle:]
        return (
            _part([*others, *(field for i in first for field in groups[i])], sum(counts[i] for i in first)),
            _part([field for i in second for field in groups[i]], sum(counts[i] for i in second)),
        )

    def item_halves(self, payload: bytes) -> Halves | None:
        """Split a payload of one group into earlier and later items, to be sent in that order; None if it has one.

        What is neither label nor item (exemplars) goes with the later ones. Raises MalformedError.
        """
        request = snappy.decompress(payload)
        labels = b""
        values: list[bytes] = []
        others: list[bytes] = []
        for tag, _, at, behind in fields(request):
            if tag != self.group:
                continue
            labels, start = b"", at
            for inner, _, _, end in fields(request, at, behind):
                if inner == self.label:
                    labels += request[start:end]
                else:
                    (values if inner in self.items else others).append(request[start:end])
                start = end
        if len(values) < 2:
            return None
        middle = len(values) // 2
        first = encode_bytes(self.group, labels + b"".join(values[:middle]))
        second = encode_bytes(self.group, labels + b"".join(values[middle:] + others))
        return _part([first], middle), _part([second], len(values) - middle)

    def _identity(self, request: bytes, start: int, end: int) -> tuple[bytes, int]:
        """Return a group's encoded labels and how many items it has."""
        labels, items, at = b"", 0, start
        for tag, _, _, behind in fields(request, start, end):
            if tag == self.label:
                labels += request[at:behind]
            elif tag in self.items:
                items += 1
            at = behind
        return labels, items


def _part(parts: Sequence[bytes], items: int) -> Part:
    return Part(snappy.compress(b"".join(parts)), items)


METRICS: Final = Codec(
    remote_write.TIMESERIES, remote_write.LABEL, frozenset({remote_write.SAMPLE, remote_write.HISTOGRAM})
)
LOGS: Final = Codec(loki.STREAM, loki.STREAM_LABELS, frozenset({loki.ENTRY}))

CODECS: Final[Mapping[Signal, Codec]] = {Signal.METRICS: METRICS, Signal.LOGS: LOGS}
