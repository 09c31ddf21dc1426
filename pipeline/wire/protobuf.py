"""The parts of the protobuf wire format that hot paths need without building messages.

Source: Protocol Buffers, "Encoding" (varints, tags, length-delimited records). A tag is
`field number << 3 | wire type`.
"""

from collections.abc import Iterator

from pipeline.wire.errors import MalformedError

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5

_SHORT = [bytes([n]) for n in range(128)]


def encode_varint(number: int) -> bytes:
    """Encode an unsigned integer below 2**64; encode a negative one as its 64-bit two's complement."""
    if 0 <= number < 128:
        return _SHORT[number]
    number &= 0xFFFF_FFFF_FFFF_FFFF
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def decode_varint(data: bytes | bytearray | memoryview, position: int) -> tuple[int, int]:
    """Return the unsigned integer at `position` and the position behind it; raises MalformedError."""
    start, number, shift = position, 0, 0
    try:
        while True:
            byte = data[position]
            position += 1
            number |= (byte & 127) << shift
            if byte < 128:
                break
            shift += 7
            if shift > 63:
                raise MalformedError("a varint of more than ten bytes", start)
    except IndexError:
        raise MalformedError("the message ends inside a varint", start) from None
    if number > 0xFFFF_FFFF_FFFF_FFFF:
        raise MalformedError("a varint of more than 64 bits", start)
    return number, position


def encode_bytes(tag: int, content: bytes) -> bytes:
    """Encode one length-delimited field; `tag` is below 128 (field numbers 1 to 15)."""
    return _SHORT[tag] + encode_varint(len(content)) + content


def fields(data: bytes | memoryview, start: int = 0, end: int | None = None) -> Iterator[tuple[int, int, int, int]]:
    """Walk a message: `(tag, value, content start, content end)` of each field; raises MalformedError at its byte.

    For varints and fixed widths `value` is the unsigned integer, for length-delimited fields it is the length.
    The walk ends exactly at `end`: a field that reaches beyond it is malformed, groups are refused.
    """
    position, end = start, len(data) if end is None else end
    while position < end:
        at = position
        tag, position = decode_varint(data, position)
        kind = tag & 7
        if tag >> 3 == 0:
            raise MalformedError("field number 0", at)
        if kind == VARINT:
            value, behind = decode_varint(data, position)
        elif kind == LENGTH:
            value, position = decode_varint(data, position)
            behind = position + value
        elif kind in (FIXED64, FIXED32):
            behind = position + (8 if kind == FIXED64 else 4)
            value = int.from_bytes(data[position:behind], "little")
        else:
            raise MalformedError(f"wire type {kind}", at)
        if behind > end:
            raise MalformedError("a field reaches beyond the end of its message", at)
        yield tag, value, position, behind
        position = behind
