"""Reading a push request by stream, and writing what is left of one.

Nearly every entry has one shape: a timestamp of both its fields, and a line. Those are read at their places; any other
is taken apart field by field.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from pipeline.store.index import labels_of
from pipeline.store.logs.entry import MAX_NS, clamped
from pipeline.wire import loki
from pipeline.wire.loki import Pairs
from pipeline.wire.protobuf import decode_varint, fields
from pipeline.wire.remote_write import encode_labels

# 0x0A length 0x08, the seconds in five bytes of varint (from 1978 to 3058), 0x10, the nanoseconds.
_SECONDS_AT: Final = 3
_NANOS_TAG_AT: Final = 8


class New(NamedTuple):
    """An entry as it comes; as a value it is what makes two entries of a stream the same one."""

    time_ns: int
    line: str
    metadata: Pairs


def parse(request: bytes) -> dict[bytes, list[New]]:
    """Return the entries of each stream (by its encoded labels) in order; raises MalformedError.

    Bytes that are not UTF-8 become U+FFFD.
    """
    found: dict[bytes, list[New]] = {}
    for tag, _, start, end in fields(request):
        if tag == loki.STREAM:
            labels, entries = "", list[New]()
            for inner, _, at, behind in fields(request, start, end):
                if inner == loki.ENTRY:
                    entries.append(_plain(request, at, behind) or _any(request, at, behind))
                elif inner == loki.STREAM_LABELS:
                    labels = request[at:behind].decode("utf-8", "replace")
            found.setdefault(_key(labels), []).extend(entries)
    return {key: entries for key, entries in found.items() if entries}


def encode(streams: Mapping[bytes, Sequence[New]]) -> bytes:
    """Write a request that `parse` reads as this."""
    return b"".join(
        loki.encode_stream(
            loki.encode_labels(labels_of(key)),
            b"".join(loki.encode_entry(e.time_ns, e.line.encode(), e.metadata) for e in entries),
        )
        for key, entries in streams.items()
    )


def _plain(data: bytes, start: int, end: int) -> New | None:
    """Read an entry of the usual shape; None where it has another."""
    if end - start < _NANOS_TAG_AT + 4 or data[start] != loki.TIMESTAMP or data[start + 2] != 0x08:
        return None
    line_tag_at = start + 2 + data[start + 1]
    if data[start + _NANOS_TAG_AT] != 0x10 or line_tag_at + 2 > end or data[line_tag_at] != loki.LINE:
        return None
    seconds_ns = _seconds_ns(data[start + _SECONDS_AT : start + _NANOS_TAG_AT])
    nanos, behind = decode_varint(data, start + _NANOS_TAG_AT + 1)
    length, at = data[line_tag_at + 1], line_tag_at + 2
    if length > 127:
        length, at = decode_varint(data, line_tag_at + 1)
    if seconds_ns is None or nanos >= loki.NS or behind != line_tag_at or at + length != end:
        return None
    return New(seconds_ns + nanos, data[at:end].decode("utf-8", "replace"), ())


def _any(data: bytes, start: int, end: int) -> New:
    entry = loki.decode_entry(data, start, end)
    return New(clamped(entry.time_ns), entry.line.decode("utf-8", "replace"), entry.metadata)


@lru_cache(256)
def _seconds_ns(varint: bytes) -> int | None:
    """Return seconds in nanoseconds; None where the bytes are no varint of this length, or too far in the future."""
    if varint[-1] > 127 or min(varint[:-1]) < 128:
        return None
    time_ns = decode_varint(varint, 0)[0] * loki.NS
    return time_ns if time_ns < MAX_NS - loki.NS else None


@lru_cache(4096)
def _key(labels: str) -> bytes:
    return encode_labels(loki.parse_labels(labels))
