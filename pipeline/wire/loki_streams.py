"""What the identity scan of logs leads to: streams relabelled, cleaned or left out, and requests taken apart.

Requests that were scanned go in; what comes out is made of their own bytes, but for the labels that were set, and for
U+FFFD in lines that are not UTF-8: stores would refuse or replace them one by one, and each in its own way. Entries
without a time that can be kept are left out.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

from pipeline.wire.errors import MalformedError
from pipeline.wire.loki import (
    ENTRY,
    LINE,
    MAX_TIME_NS,
    MIN_TIME_NS,
    NANOS,
    NS,
    STREAM,
    STREAM_LABELS,
    TIMESTAMP,
    decode_time_ns,
    encode_labels,
    encode_stream,
    parse_labels,
)
from pipeline.wire.protobuf import decode_varint, encode_bytes, fields
from pipeline.wire.scan_found import Exceptional, Kind, Refused, Repaired

_SHOWN = 500


def repair_streams(
    data: bytes, exceptions: Sequence[Exceptional], label: bytes, value: bytes, *, overwrite: bool
) -> Repaired:
    """Set the label where it is missing (and, with `overwrite`, where it is another's); leave the rest out."""
    out, behind = [], 0
    left_out = _LeftOut()
    for start, end, kind, labels_start, labels_end in exceptions:
        out.append(data[behind:start])
        behind = end
        _, content = decode_varint(data, start + 1)
        if kind is Kind.UNREADABLE or (kind is Kind.FOREIGN and not overwrite):
            left_out.add(kind, count_entries(data[content:end]), data[content:end])
        elif labels_end:
            text = _set_label(data[decode_varint(data, labels_start + 1)[1] : labels_end], label, value)
            out.append(encode_stream(text, data[content:labels_start] + data[labels_end:end]))
        else:
            text, entries = _split_stream(data[content:end])
            kept = [_clean(entry) for entry in entries if _is_timed(entry)]
            if len(kept) < len(entries):
                left_out.add(Kind.MISTIMED, len(entries) - len(kept), data[content:end])
            if kept:
                out.append(encode_stream(_set_label(text, label, value), b"".join(kept)))
    out.append(data[behind:])
    return Repaired(b"".join(out), left_out.refused())


class _LeftOut:
    """Streams, or entries of them, that were left out, by the reason."""

    def __init__(self) -> None:
        self._streams: Counter[Kind] = Counter()
        self._items: Counter[Kind] = Counter()
        self._examples: dict[Kind, str] = {}

    def add(self, kind: Kind, items: int, stream: bytes) -> None:
        """Count so many entries of a stream, given its fields."""
        self._streams[kind] += 1
        self._items[kind] += items
        self._examples.setdefault(kind, show_stream(stream))

    def refused(self) -> tuple[Refused, ...]:
        """Return what was counted."""
        return tuple(
            Refused(kind, self._streams[kind], self._items[kind], example) for kind, example in self._examples.items()
        )


def streams_by_label(data: bytes, label: bytes, default: bytes) -> dict[bytes, bytes]:
    """Take a request apart by the value that its streams have for a label; those without are the default's."""
    parts: dict[bytes, list[bytes]] = {}
    known: dict[bytes, bytes] = {}
    for start, at, end in _streams(data):
        text, _ = _split_stream(data[at:end])
        value = known.get(text)
        if value is None:
            value = known[text] = _value_of(text, label) or default
        parts.setdefault(value, []).append(data[start:end])
    return {value: b"".join(streams) for value, streams in parts.items()} or {default: b""}


def first_stream_value(data: bytes | memoryview, label: bytes) -> bytes:
    """Return the value that the first stream has for a label, empty where there is none; raises MalformedError."""
    for tag, _, start, end in fields(data):
        if tag == STREAM:
            text, _ = _split_stream(bytes(data[start:end]))
            return _value_of(text, label)
    return b""


def stream_halves(data: bytes) -> tuple[bytes, bytes] | None:
    """Split a request between two streams near its middle, or one stream between two entries; None for one entry."""
    streams = list(_streams(data))
    if len(streams) > 1:
        cut = _nearest([end for *_, end in streams[:-1]], len(data))
        return data[:cut], data[cut:]
    text, entries = _split_stream(data[streams[0][1] :]) if streams else (b"", [])
    if len(entries) < 2:
        return None
    ends, size = [], 0
    for entry in entries:
        size += len(entry)
        ends.append(size)
    first = ends.index(_nearest(ends[:-1], size)) + 1
    labels = encode_bytes(STREAM_LABELS, text)
    return (
        encode_bytes(STREAM, labels + b"".join(entries[:first])),
        encode_bytes(STREAM, labels + b"".join(entries[first:])),
    )


def count_entries(stream: bytes) -> int:
    """Count the entries of a stream, given its fields."""
    return sum(1 for tag, *_ in fields(stream) if tag == ENTRY)


def show_stream(stream: bytes) -> str:
    """Write a stream as its sender named it, given its fields."""
    return _split_stream(stream)[0].decode(errors="replace")[:_SHOWN] or "{}"


def show_request(data: bytes) -> str:
    """Write a request's first stream as its sender named it."""
    return next((show_stream(data[at:end]) for _, at, end in _streams(data)), "{}")


def _streams(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Walk a request: where each stream's field starts, where its content does, and where both end."""
    start = 0
    for _, _, at, end in fields(data):
        yield start, at, end
        start = end


def _split_stream(stream: bytes) -> tuple[bytes, list[bytes]]:
    """Return a stream's labels' text, and its entries as they are encoded, each with its tag."""
    text, entries, start = b"", [], 0
    for tag, _, at, end in fields(stream):
        if tag == STREAM_LABELS:
            text = stream[at:end]
        elif tag == ENTRY:
            entries.append(stream[start:end])
        start = end
    return text, entries


def _nearest(ends: Sequence[int], size: int) -> int:
    return min(ends, key=lambda end: abs(2 * end - size))


def _set_label(text: bytes, label: bytes, value: bytes) -> bytes:
    labels = dict(parse_labels(text.decode(), empty=True))
    labels[label.decode()] = value.decode()
    return encode_labels(labels.items())


def _value_of(text: bytes, label: bytes) -> bytes:
    try:
        labels = dict(parse_labels(text.decode(), empty=True))
    except (MalformedError, UnicodeDecodeError):
        return b""  # the scan says what is wrong with it
    return labels.get(label.decode(), "").encode()


def _is_timed(entry: bytes) -> bool:
    """Tell whether an encoded entry has a time that can be kept."""
    _, content = decode_varint(entry, 1)
    for tag, _, at, end in fields(entry, content):
        if tag == TIMESTAMP:
            # Too many nanoseconds would carry over into a time that looks right.
            nanos = next((value for inner, value, _, _ in fields(entry, at, end) if inner == NANOS), 0)
            return nanos < NS and MIN_TIME_NS <= decode_time_ns(entry, at, end) <= MAX_TIME_NS
    return False


def _clean(entry: bytes) -> bytes:
    """Return an encoded entry with U+FFFD for what is not UTF-8 in its line."""
    _, content = decode_varint(entry, 1)
    out, start = [], content
    for tag, _, at, end in fields(entry, content):
        if tag == LINE:
            out.append(encode_bytes(LINE, entry[at:end].decode(errors="replace").encode()))
        else:
            out.append(entry[start:end])
        start = end
    return encode_bytes(ENTRY, b"".join(out))
