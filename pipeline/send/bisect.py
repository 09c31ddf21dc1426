"""Splitting metrics payloads, to find what a store refuses: by record, then by series, then by sample.

Payloads are snappy(prometheus.WriteRequest) and are decoded only here, after a store refused them (ARCHITECTURE 5).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.wire import snappy
from pipeline.wire.protobuf import encode_bytes, fields
from pipeline.wire.remote_write import EXEMPLAR, HISTOGRAM, LABEL, SAMPLE, TIMESERIES


@dataclass(frozen=True, slots=True)
class Piece:
    """One record's payload, or a part of it.

    `source` says which record of the request it is from. `in_doubt` marks what may have reached the store before a
    crash or a lost answer: for it alone a refusal as duplicate counts as delivered.
    """

    payload: bytes
    items: int
    source: int = 0
    in_doubt: bool = False

    def part(self, content: bytes, items: int) -> "Piece":
        """Make a piece of some of this one's top-level fields."""
        return Piece(snappy.compress(content), items, self.source, self.in_doubt)


def halves(piece: Piece) -> tuple[Piece, Piece] | None:
    """Split a piece in two parts that can be sent in either order; None where it is one series.

    All samples of a series stay together and in order. Fields that are no series (metadata) go with the first part.
    Raises MalformedError where the payload cannot be read.
    """
    request = snappy.decompress(piece.payload)
    groups: dict[bytes, list[bytes]] = {}
    counts: dict[bytes, int] = {}
    others: list[bytes] = []
    start = 0
    for tag, _, at, behind in fields(request):
        if tag == TIMESERIES:
            identity, items = _identity(request, at, behind)
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
        piece.part(
            b"".join([*others, *(series for i in first for series in groups[i])]), sum(counts[i] for i in first)
        ),
        piece.part(b"".join(series for i in second for series in groups[i]), sum(counts[i] for i in second)),
    )


def sample_halves(piece: Piece) -> tuple[Piece, Piece] | None:
    """Split a piece of one series into earlier and later samples, to be sent in that order; None if it has one."""
    request = snappy.decompress(piece.payload)
    labels = b""
    values: list[bytes] = []
    exemplars: list[bytes] = []
    for tag, _, at, behind in fields(request):
        if tag != TIMESERIES:
            continue
        labels, start = b"", at
        for inner, _, _, end in fields(request, at, behind):
            if inner == LABEL:
                labels += request[start:end]
            elif inner in (SAMPLE, HISTOGRAM):
                values.append(request[start:end])
            elif inner == EXEMPLAR:
                exemplars.append(request[start:end])
            start = end
    if len(values) < 2:
        return None
    middle = len(values) // 2
    first = encode_bytes(TIMESERIES, labels + b"".join(values[:middle]))
    second = encode_bytes(TIMESERIES, labels + b"".join(values[middle:] + exemplars))
    return piece.part(first, middle), piece.part(second, len(values) - middle)


def count_items(payload: bytes) -> int:
    """Count the samples and histograms of a payload; raises MalformedError."""
    request = snappy.decompress(payload)
    return sum(_identity(request, at, behind)[1] for tag, _, at, behind in fields(request) if tag == TIMESERIES)


def join(pieces: Sequence[Piece]) -> bytes:
    """Return one payload with everything of these pieces, in order, without decompressing any."""
    return snappy.join([piece.payload for piece in pieces])


def _identity(request: bytes, start: int, end: int) -> tuple[bytes, int]:
    """Return a series' encoded labels and how many samples and histograms it has."""
    labels, items, at = b"", 0, start
    for tag, _, _, behind in fields(request, start, end):
        if tag == LABEL:
            labels += request[at:behind]
        elif tag in (SAMPLE, HISTOGRAM):
            items += 1
        at = behind
    return labels, items
