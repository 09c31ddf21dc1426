"""Reading native histograms: off protobuf pages, and off remote write.

Both messages say the same under other numbers (io/prometheus/client/metrics.proto of client_model,
prometheus/prompb/types.proto). Lists of numbers come packed or one by one: client_golang writes them one by one.
"""

import struct
from dataclasses import dataclass, field
from enum import IntEnum, auto
from itertools import accumulate
from typing import Final

from pipeline.wire.errors import MalformedError
from pipeline.wire.histogram import GAUGE_HINT, Buckets, Histogram, InvalidHistogramError, Shape
from pipeline.wire.protobuf import FIXED64, LENGTH, VARINT, decode_varint, fields
from pipeline.wire.remote_write import signed, unpack_double

MAX_SPAN_BUCKETS: Final = 1 << 20
"""Prometheus has no such bound, but a span of a few bytes could ask for 2**32 buckets."""


class _Role(IntEnum):
    """What a field says."""

    COUNT = auto()
    COUNT_FLOAT = auto()
    SUM = auto()
    SCHEMA = auto()
    ZERO_THRESHOLD = auto()
    ZERO_COUNT = auto()
    ZERO_COUNT_FLOAT = auto()
    NEGATIVE_SPAN = auto()
    NEGATIVE_DELTA = auto()
    NEGATIVE_COUNT = auto()
    POSITIVE_SPAN = auto()
    POSITIVE_DELTA = auto()
    POSITIVE_COUNT = auto()
    RESET_HINT = auto()
    TIMESTAMP = auto()
    CUSTOM = auto()


_EXPOSED: Final = {
    1: _Role.COUNT,
    2: _Role.SUM,
    4: _Role.COUNT_FLOAT,
    5: _Role.SCHEMA,
    6: _Role.ZERO_THRESHOLD,
    7: _Role.ZERO_COUNT,
    8: _Role.ZERO_COUNT_FLOAT,
    9: _Role.NEGATIVE_SPAN,
    10: _Role.NEGATIVE_DELTA,
    11: _Role.NEGATIVE_COUNT,
    12: _Role.POSITIVE_SPAN,
    13: _Role.POSITIVE_DELTA,
    14: _Role.POSITIVE_COUNT,
}
_WRITTEN: Final = {
    1: _Role.COUNT,
    2: _Role.COUNT_FLOAT,
    3: _Role.SUM,
    4: _Role.SCHEMA,
    5: _Role.ZERO_THRESHOLD,
    6: _Role.ZERO_COUNT,
    7: _Role.ZERO_COUNT_FLOAT,
    8: _Role.NEGATIVE_SPAN,
    9: _Role.NEGATIVE_DELTA,
    10: _Role.NEGATIVE_COUNT,
    11: _Role.POSITIVE_SPAN,
    12: _Role.POSITIVE_DELTA,
    13: _Role.POSITIVE_COUNT,
    14: _Role.RESET_HINT,
    15: _Role.TIMESTAMP,
    16: _Role.CUSTOM,
}
_WIRE_TYPES: Final = {
    **dict.fromkeys((_Role.COUNT, _Role.SCHEMA, _Role.ZERO_COUNT, _Role.RESET_HINT, _Role.TIMESTAMP), (VARINT,)),
    **dict.fromkeys((_Role.COUNT_FLOAT, _Role.SUM, _Role.ZERO_THRESHOLD, _Role.ZERO_COUNT_FLOAT), (FIXED64,)),
    **dict.fromkeys((_Role.NEGATIVE_SPAN, _Role.POSITIVE_SPAN), (LENGTH,)),
    **dict.fromkeys((_Role.NEGATIVE_DELTA, _Role.POSITIVE_DELTA), (VARINT, LENGTH)),
    **dict.fromkeys((_Role.NEGATIVE_COUNT, _Role.POSITIVE_COUNT, _Role.CUSTOM), (FIXED64, LENGTH)),
}
_SPANS: Final = (_Role.NEGATIVE_SPAN, _Role.POSITIVE_SPAN)
_DELTAS: Final = (_Role.NEGATIVE_DELTA, _Role.POSITIVE_DELTA)


def read_exposed(data: bytes, start: int, end: int, *, gauge: bool) -> Histogram:
    """Read the native part of an io.prometheus.client.Histogram; raises MalformedError.

    It is one in floats if one of these counts is above 0; fields of the other kind then say nothing.
    """
    raw = _read(data, start, end, _EXPOSED)
    is_float = raw.double(_Role.COUNT_FLOAT) > 0 or raw.double(_Role.ZERO_COUNT_FLOAT) > 0
    histogram = _histogram(raw, is_float)
    histogram.reset_hint = GAUGE_HINT if gauge else 0
    return histogram


def convert_exposed(data: bytes, start: int, end: int, gauge: bool, shape: Shape) -> bytes:
    """Turn an io.prometheus.client.Histogram into a prometheus.Histogram without its time, as Prometheus stores it.

    Raises MalformedError, InvalidHistogramError where it contradicts itself, BucketLimitError. `_histogram` has the
    same, compiled.
    """
    histogram = read_exposed(data, start, end, gauge=gauge)
    histogram.compact()
    histogram.fit(shape)
    histogram.check()
    return histogram.encode()


def read_written(data: bytes) -> tuple[Histogram, int]:
    """Read a prometheus.Histogram: what it holds, and its time in Unix milliseconds; raises MalformedError."""
    raw = _read(data, 0, len(data), _WRITTEN)
    histogram = _histogram(raw, _Role.COUNT_FLOAT in raw.numbers)
    histogram.reset_hint = raw.numbers.get(_Role.RESET_HINT, 0)
    histogram.custom = tuple(raw.counts.get(_Role.CUSTOM, ()))
    return histogram, signed(raw.numbers.get(_Role.TIMESTAMP, 0))


@dataclass(slots=True)
class _Raw:
    """What a message says, by role. `numbers` are unsigned, of doubles their bits."""

    numbers: dict[_Role, int] = field(default_factory=dict)
    spans: dict[_Role, list[tuple[int, int]]] = field(default_factory=dict)
    deltas: dict[_Role, list[int]] = field(default_factory=dict)
    counts: dict[_Role, list[float]] = field(default_factory=dict)

    def double(self, role: _Role) -> float:
        return float(unpack_double(self.numbers.get(role, 0).to_bytes(8, "little"))[0])


def _read(data: bytes, start: int, end: int, roles: dict[int, _Role]) -> _Raw:
    raw = _Raw()
    for tag, value, at, behind in fields(data, start, end):
        role = roles.get(tag >> 3)
        if role is None:
            continue
        kind = tag & 7
        if kind not in _WIRE_TYPES[role]:
            raise MalformedError(f"a histogram's field {tag >> 3} has wire type {kind}", at)
        if role in _SPANS:
            raw.spans.setdefault(role, []).append(_read_span(data, at, behind))
        elif role in _DELTAS:
            found = [value] if kind == VARINT else _unpack(data, at, behind)
            raw.deltas.setdefault(role, []).extend([number >> 1 ^ -(number & 1) for number in found])
        elif LENGTH in _WIRE_TYPES[role]:
            if (behind - at) % 8:
                raise MalformedError("a list of doubles ends inside one", at)
            raw.counts.setdefault(role, []).extend(struct.unpack(f"<{(behind - at) // 8}d", data[at:behind]))
        else:
            raw.numbers[role] = value
    return raw


def _histogram(raw: _Raw, is_float: bool) -> Histogram:
    schema = raw.numbers.get(_Role.SCHEMA, 0) & 0xFFFF_FFFF
    return Histogram(
        is_float=is_float,
        count=raw.double(_Role.COUNT_FLOAT) if is_float else raw.numbers.get(_Role.COUNT, 0),
        sum=raw.numbers.get(_Role.SUM, 0).to_bytes(8, "little"),
        schema=schema >> 1 ^ -(schema & 1),
        zero_threshold=raw.double(_Role.ZERO_THRESHOLD),
        zero_count=raw.double(_Role.ZERO_COUNT_FLOAT) if is_float else raw.numbers.get(_Role.ZERO_COUNT, 0),
        negative=_side("negative", raw, is_float, _Role.NEGATIVE_SPAN, _Role.NEGATIVE_DELTA, _Role.NEGATIVE_COUNT),
        positive=_side("positive", raw, is_float, _Role.POSITIVE_SPAN, _Role.POSITIVE_DELTA, _Role.POSITIVE_COUNT),
    )


def _side(name: str, raw: _Raw, is_float: bool, span: _Role, delta: _Role, count: _Role) -> Buckets:
    """Give each count its index."""
    found = raw.spans.get(span, [])
    counts: list[float] = raw.counts.get(count, []) if is_float else list(accumulate(raw.deltas.get(delta, ())))
    needed = sum(length for _, length in found)
    if needed != len(counts):
        raise MalformedError(f"{name} side: spans require {needed} buckets, have {len(counts)}")
    indices: list[int] = []
    behind = gap = 0
    for offset, length in found:
        gap += offset
        if not length:
            continue
        if indices and gap < 0:
            raise InvalidHistogramError(f"{name} side: a span with offset {gap}")
        indices.extend(range(behind + gap, behind + gap + length))
        behind, gap = behind + gap + length, 0
    return list(zip(indices, counts, strict=True))


def _read_span(data: bytes, start: int, end: int) -> tuple[int, int]:
    offset = length = 0
    for tag, number, _, _ in fields(data, start, end):
        if tag == 0x08:
            offset = (number & 0xFFFF_FFFF) >> 1 ^ -(number & 1)
        elif tag == 0x10:
            length = number & 0xFFFF_FFFF
    if length > MAX_SPAN_BUCKETS:
        raise MalformedError(f"a span of {length} buckets", start)
    return offset, length


def _unpack(data: bytes, at: int, end: int) -> list[int]:
    out = []
    while at < end:
        number = data[at]
        if number < 128:
            at += 1
        else:
            number, at = decode_varint(data, at)
        out.append(number)
    if at != end:
        raise MalformedError("a list of numbers ends inside one", at)
    return out
