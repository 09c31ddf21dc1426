"""Encoding entries fast: see `pipeline.wire.loki.encode_entry`, which says what they look like."""

from typing import Final

from pipeline.wire.loki import ENTRY, LINE, NS, TIMESTAMP
from pipeline.wire.protobuf import encode_varint

_LENGTHS: Final = [encode_varint(number) for number in range(4096)]
_ENTRY, _TIMESTAMP, _LINE = bytes([ENTRY]), bytes([TIMESTAMP]), bytes([LINE])
_FIVE_BYTES: Final = 1 << 28


def encode_second(seconds: int) -> bytes:
    """Encode the part of an entry's time that it shares with others of its second."""
    return b"\x08" + encode_varint(seconds) if seconds else b""


def encode(second: bytes, nanos: int, line: bytes, metadata: bytes) -> bytes:
    """Encode an entry, from its encoded second, the nanoseconds beyond it, and its encoded metadata."""
    if nanos >= _FIVE_BYTES:
        low, high = nanos & 0x3FFF, nanos >> 14
        second += b"\x10%c%c%c%c%c" % (
            low & 127 | 128, low >> 7 | 128, high & 127 | 128, high >> 7 & 127 | 128, high >> 14
        )  # fmt: skip
    elif nanos:
        second += b"\x10" + encode_varint(nanos)
    length = _length(len(line))
    size = 3 + len(second) + len(length) + len(line) + len(metadata)
    parts = (_ENTRY, _length(size), _TIMESTAMP, _LENGTHS[len(second)], second, _LINE, length, line, metadata)
    return b"".join(parts)


def encode_at(time_ns: int, line: bytes, metadata: bytes) -> bytes:
    """Encode an entry with a time in Unix nanoseconds."""
    seconds, nanos = divmod(time_ns, NS)
    return encode(encode_second(seconds), nanos, line, metadata)


def _length(number: int) -> bytes:
    return _LENGTHS[number] if number < 4096 else encode_varint(number)
