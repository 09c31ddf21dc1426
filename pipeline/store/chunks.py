"""How the samples of one series are packed: a column of timestamps and a column of values, each as a few bytes.

Series that are scraped together share their timestamps, so a block stores each distinct column of timestamps once and
the cost of a sample is that of its value. Values of metrics are mostly whole numbers or decimals of a few digits: those
are packed as differences of scaled integers; all others by XOR with their predecessor (after Gorilla, Pelkonen et al.
2015). Both are then split into byte planes and deflated, by operations that run in C over the whole column.

    values: 0xFF eight bytes                                  every value has the same eight bytes
            0xFE count(u32) body                              XOR of doubles, byte planes
            exponent(u8) width(u8) count(u32) first(i64) body differences of round(value * 10**exponent), byte planes
    times:  as values with exponent 0
    body:   0x00 plain, or 0x01 raw deflate

All integers are little-endian. The eight bytes of every double come back as they were, NaN payloads included.
"""

import operator
import struct
import sys
import zlib
from array import array
from collections.abc import Sequence
from itertools import accumulate
from typing import Final

from pipeline.wire.errors import MalformedError

_CONSTANT: Final = 0xFF
_XOR: Final = 0xFE
_EXPONENTS: Final = (0, 2, 3, 6, 9)
_EXACT: Final = float(2**53)
_NEGATIVE_ZERO: Final = struct.pack("<d", -0.0)
_WIDTHS: Final = ((1, "b"), (2, "h"), (4, "i"), (8, "q"))
_TYPECODES: Final = dict(_WIDTHS)
_CONSTANT_HEAD: Final = struct.Struct("<BQ")
_XOR_HEAD: Final = struct.Struct("<BI")
_SCALED_HEAD: Final = struct.Struct("<BBIq")

if sys.byteorder != "little":  # pragma: no cover
    raise ImportError("the embedded store packs columns in the machine's byte order and needs it to be little-endian")


def encode_times(times: "array[int]") -> bytes:
    """Pack a column of timestamps (int64, Unix milliseconds); at least one."""
    return _encode_integers(0, list(times))


def decode_times(data: bytes) -> "array[int]":
    """Unpack a column of timestamps; raises MalformedError."""
    try:
        exponent, width, count, first = _SCALED_HEAD.unpack_from(data)
        if exponent != 0:
            raise MalformedError(f"a column of timestamps with exponent {exponent}")
        return array("q", _decode_integers(width, count, first, data))
    except (struct.error, zlib.error, ValueError, KeyError, OverflowError) as error:
        raise MalformedError(f"a column of timestamps: {error}") from error


def encode_values(values: "array[float]") -> bytes:
    """Pack a column of doubles; at least one."""
    raw = values.tobytes()
    if raw == raw[:8] * len(values):
        return _CONSTANT_HEAD.pack(_CONSTANT, int.from_bytes(raw[:8], "little"))
    if _NEGATIVE_ZERO not in raw:
        for exponent in _EXPONENTS:
            scaled = _scale(values, 10**exponent)
            if scaled is not None:
                return _encode_integers(exponent, scaled)
    bits = int.from_bytes(raw, "little")
    mixed = (bits ^ bits << 64) & ((1 << 8 * len(raw)) - 1)
    return _XOR_HEAD.pack(_XOR, len(values)) + _pack(mixed.to_bytes(len(raw), "little"), 8)


def decode_values(data: bytes, count: int) -> "array[float]":
    """Unpack a column of `count` doubles; raises MalformedError."""
    try:
        kind = data[0]
        if kind == _CONSTANT:
            return array("d", _CONSTANT_HEAD.unpack(data)[1].to_bytes(8, "little") * count)
        if kind == _XOR:
            column = _decode_xor(data)
        else:
            exponent, width, stored, first = _SCALED_HEAD.unpack_from(data)
            scale = 10**exponent
            column = array("d", [number / scale for number in _decode_integers(width, stored, first, data)])
    except (IndexError, struct.error, zlib.error, ValueError, KeyError, OverflowError) as error:
        raise MalformedError(f"a column of values: {error}") from error
    if len(column) != count:
        raise MalformedError(f"a column of {len(column)} values beside {count} timestamps")
    return column


def _scale(values: Sequence[float], scale: int) -> list[int] | None:
    """Return the values as whole numbers of 1/scale where that is exact for each of them."""
    out = []
    for value in values:
        scaled = value * scale
        if not -_EXACT < scaled < _EXACT:  # also where it is NaN
            return None
        number = round(scaled)
        if number / scale != value:
            return None
        out.append(number)
    return out


def _encode_integers(exponent: int, numbers: list[int]) -> bytes:
    steps = list(map(operator.sub, numbers[1:], numbers))
    least, most = (min(steps), max(steps)) if steps else (0, 0)
    fitting = ((w, c) for w, c in _WIDTHS if -(1 << 8 * w - 1) <= least and most < 1 << 8 * w - 1)
    width, code = next(fitting, _WIDTHS[-1])
    if width == 8:
        steps = list(map(_wrapped, steps))
    return _SCALED_HEAD.pack(exponent, width, len(numbers), numbers[0]) + _pack(array(code, steps).tobytes(), width)


def _decode_integers(width: int, count: int, first: int, data: bytes) -> list[int]:
    steps = array(_TYPECODES[width])
    steps.frombytes(_unpack(data, _SCALED_HEAD.size, width))
    if len(steps) != count - 1:
        raise MalformedError(f"{len(steps)} differences for {count} numbers")
    out = list(accumulate(steps, initial=first))
    return list(map(_wrapped, out)) if width == 8 else out


def _wrapped(number: int) -> int:
    """Return a number modulo 2^64, as an int64: the way from one int64 to another may be longer than one."""
    return (number + (1 << 63) & (1 << 64) - 1) - (1 << 63)


def _decode_xor(data: bytes) -> "array[float]":
    _, count = _XOR_HEAD.unpack_from(data)
    raw = _unpack(data, _XOR_HEAD.size, 8)
    bits, mask, shift = int.from_bytes(raw, "little"), (1 << 8 * len(raw)) - 1, 64
    while shift < 64 * count:
        # A prefix XOR in log2(count) steps: after each, every value holds the XOR of twice as many before it.
        bits = (bits ^ bits << shift) & mask
        shift *= 2
    return array("d", bits.to_bytes(len(raw), "little"))


def _pack(plain: bytes, width: int) -> bytes:
    planes = b"".join(plain[n::width] for n in range(width))
    deflater = zlib.compressobj(6, zlib.DEFLATED, -15)
    deflated = deflater.compress(planes) + deflater.flush()
    return b"\x01" + deflated if len(deflated) < len(planes) else b"\x00" + planes


def _unpack(data: bytes, start: int, width: int) -> bytes:
    planes = zlib.decompress(data[start + 1 :], -15) if data[start] else data[start + 1 :]
    if width == 1:
        return planes
    out = bytearray(len(planes))
    each = len(planes) // width
    for n in range(width):
        out[n::width] = planes[n * each : (n + 1) * each]
    return bytes(out)
