"""A request as its streams: where each stands, and what of it has to go apart from the others. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pipeline.delivery import PartLeft
from pipeline.send.codec import LOGS
from pipeline.send.loki.refused import Sent
from pipeline.send.request import Request
from pipeline.wire import snappy
from pipeline.wire.errors import MalformedError
from pipeline.wire.loki import ENTRY, STREAM, STREAM_LABELS, decode_entry
from pipeline.wire.protobuf import decode_varint, encode_bytes, fields


class Field(NamedTuple):
    """One `streams` field of a request: its labels, where it stands, its entries, and whose record it is from."""

    labels: bytes
    start: int
    entries: int
    end: int
    source: int


@dataclass(frozen=True, slots=True)
class Parcel:
    """A request, decompressed, and its streams in order."""

    raw: bytes
    fields: Sequence[Field]

    def payload(self, chosen: Iterable[Field]) -> bytes:
        """Return the payload of some of its streams."""
        return snappy.compress(b"".join([self.raw[field.start : field.end] for field in chosen]))

    def merged(self, labels: bytes, chosen: Iterable[Field]) -> bytes:
        """Return the payload of fields that are all of one stream, as one stream."""
        content = encode_bytes(STREAM_LABELS, labels) + b"".join([self.raw[one.entries : one.end] for one in chosen])
        return snappy.compress(encode_bytes(STREAM, content))

    def sent(self, chosen: Iterable[Field]) -> dict[bytes, list[Sent]]:
        """Return the entries of some of its streams, by labels; raises MalformedError."""
        out: dict[bytes, list[Sent]] = {}
        for one in chosen:
            out.setdefault(one.labels, []).extend(self._entries(one))
        return out

    def left(self, chosen: Iterable[Field]) -> tuple[PartLeft, ...]:
        """Return some of its streams as what is left of their records; raises MalformedError."""
        sources: dict[int, list[Field]] = {}
        for one in chosen:
            sources.setdefault(one.source, []).append(one)
        payloads = ((source, self.payload(group)) for source, group in sources.items())
        return tuple(PartLeft(source, payload, LOGS.count(payload)) for source, payload in payloads)

    def _entries(self, one: Field) -> Iterator[Sent]:
        start = one.entries
        for tag, _, at, end in fields(self.raw, one.entries, one.end):
            if tag == ENTRY:
                yield Sent(one.source, self.raw[start:end], decode_entry(self.raw, at, end))
            start = end


def unpack(request: Request) -> Parcel:
    """Decompress a request and find its streams; raises MalformedError."""
    raw = snappy.decompress(request.payload)
    out: list[Field] = []
    start = 0
    for piece in request.pieces:
        behind = start + snappy.decompressed_bytes(piece.payload)
        while start < behind:
            tag, position = raw[start], start + 1
            size, content = _length(raw, position)
            end = content + size
            if end > behind:
                raise MalformedError("a field reaches beyond the end of its record", start)
            if tag != STREAM:
                raise MalformedError("a request of anything but streams", start)
            labels, entries = labels_of(raw, content, end)
            out.append(Field(labels, start, entries, end, piece.source))
            start = end
    return Parcel(raw, out)


def _length(raw: bytes, position: int) -> tuple[int, int]:
    """Return a length and the position behind it; nearly all of them take one, two or three bytes."""
    try:
        first = raw[position]
        if first < 128:
            return first, position + 1
        second = raw[position + 1]
        if second < 128:
            return first & 127 | second << 7, position + 2
    except IndexError:
        pass
    return decode_varint(raw, position)


def labels_of(raw: bytes, start: int, end: int) -> tuple[bytes, int]:
    """Return a stream's labels and the position behind them; raises MalformedError where they do not stand first.

    Every encoder writes fields in their order.
    """
    if start >= end or raw[start] != STREAM_LABELS:
        raise MalformedError("a stream that does not begin with its labels", start)
    size, position = _length(raw, start + 1)
    if position + size > end:
        raise MalformedError("labels reach beyond the end of their stream", start)
    return raw[position : position + size], position + size


def payload_of(labels: bytes, entries: Iterable[Sent]) -> bytes:
    """Return a payload of some entries of one stream."""
    content = encode_bytes(STREAM_LABELS, labels) + b"".join([sent.field for sent in entries])
    return snappy.compress(encode_bytes(STREAM, content))
