"""Native histograms: a value, what bounds its resolution, and how remote write carries it.

Sources: prometheus/prompb/types.proto; for what is valid and what bounds it, prometheus/model/histogram and
prometheus/scrape/target.go. A histogram comes in integers or in floats, and its buckets are sparse:

    schema     -4 to 8: each power of two is divided into 2**schema buckets
    spans      runs of buckets: (gap to the last span, length); the first gap is an index
    deltas     integers: each bucket's count less that of the one before; floats have counts instead
"""

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from pipeline.wire.errors import MalformedError
from pipeline.wire.protobuf import encode_bytes, encode_varint
from pipeline.wire.remote_write import STALE_NAN, pack_double, unpack_double

MIN_SCHEMA: Final = -4
MAX_SCHEMA: Final = 8
CUSTOM_SCHEMA: Final = -53
"""Of histograms with custom buckets: what classic ones are converted to."""
MAX_RESERVED_SCHEMA: Final = 52
"""Higher resolutions than MAX_SCHEMA are foreseen; they can be reduced, not stored."""
GAUGE_HINT: Final = 3
"""prometheus.Histogram.ResetHint of a gauge histogram; 0 leaves it to the store to look for resets."""

STALE_HISTOGRAM: Final = b"\x08\x00\x19" + STALE_NAN + b"\x30\x00"
"""The value that ends a series of native histograms: an empty one whose sum is the staleness marker."""
TIMESTAMP: Final = b"\x78"
"""The tag of a histogram's time, which stands behind all that `Histogram.encode` writes."""

Buckets = list[tuple[int, float]]
"""(index, count), in the order of indices. Counts of a histogram in integers are integers."""


class InvalidHistogramError(MalformedError):
    """A histogram can be read, but no store takes it."""


class BucketLimitError(Exception):
    """A histogram has more buckets than allowed, even at the lowest resolution."""


class Shape(NamedTuple):
    """What bounds a scraped histogram: `native_histogram_bucket_limit` (0 is none), and the highest schema."""

    bucket_limit: int = 0
    max_schema: int = MAX_SCHEMA


def schema_for(min_bucket_factor: float) -> int:
    """Return the highest schema whose buckets grow by at least this factor (`native_histogram_min_bucket_factor`)."""
    if min_bucket_factor <= 1:
        return MAX_SCHEMA
    floor = math.floor(-math.log2(math.log2(min_bucket_factor)))
    return min(MAX_SCHEMA, max(MIN_SCHEMA, floor))


@dataclass(slots=True)
class Histogram:
    """A native histogram. `sum` are a double's eight bytes: the NaN of a marker must survive.

    `reset_hint` is prometheus.Histogram.ResetHint; `custom` are the bounds of one with custom buckets.
    """

    is_float: bool = False
    count: float = 0
    sum: bytes = b"\0" * 8
    schema: int = 0
    zero_threshold: float = 0.0
    zero_count: float = 0
    negative: Buckets = field(default_factory=list)
    positive: Buckets = field(default_factory=list)
    reset_hint: int = 0
    custom: tuple[float, ...] = ()

    def compact(self) -> None:
        """Leave out empty buckets, as Prometheus does with what it scrapes."""
        self.negative = [bucket for bucket in self.negative if bucket[1]]
        self.positive = [bucket for bucket in self.positive if bucket[1]]

    def fit(self, shape: Shape) -> None:
        """Reduce the resolution until the histogram is within its bounds; raises BucketLimitError."""
        # Without a bound of one's own, what is beyond the highest schema is left for the store to refuse.
        if shape.max_schema < min(self.schema, MAX_SCHEMA) and self.schema <= MAX_RESERVED_SCHEMA:
            self.reduce(shape.max_schema)
        while shape.bucket_limit and len(self.positive) + len(self.negative) > shape.bucket_limit:
            if not MIN_SCHEMA < self.schema <= MAX_SCHEMA:
                raise BucketLimitError
            self.reduce(self.schema - 1)

    def reduce(self, schema: int) -> None:
        """Merge buckets into those of a lower schema."""
        shift = self.schema - schema
        self.negative, self.positive = _merge(self.negative, shift), _merge(self.positive, shift)
        self.schema = schema

    def check(self) -> None:
        """Raise InvalidHistogramError where an exponential histogram contradicts itself; call it when it fits."""
        if not MIN_SCHEMA <= self.schema <= MAX_SCHEMA:
            raise InvalidHistogramError(
                f"histogram has an invalid schema, which must be between {MIN_SCHEMA} and {MAX_SCHEMA}: {self.schema}"
            )
        for side, buckets in (("negative", self.negative), ("positive", self.positive)):
            for number, (_, count) in enumerate(buckets, 1):
                if count < 0:
                    raise InvalidHistogramError(f"{side} side: bucket number {number} has observation count of {count}")
        if self.count < 0 or self.zero_count < 0:
            raise InvalidHistogramError("histogram has a negative observation count")
        found = sum(count for _, count in self.negative) + sum(count for _, count in self.positive) + self.zero_count
        # Of floats the sum is never exact, and observations of NaN are in no bucket.
        nan = math.isnan(unpack_double(self.sum)[0])
        if not self.is_float and (found > self.count if nan else found != self.count):
            raise InvalidHistogramError(f"{found} observations found in buckets, but the Count field is {self.count}")

    def encode(self) -> bytes:
        """Encode as prometheus.Histogram, without TIMESTAMP and a varint of Unix milliseconds, its last field."""
        zero = self.zero_count
        if self.is_float:
            out = [b"\x11", pack_double(self.count), b"\x19", self.sum]
        else:
            out = [b"\x08", encode_varint(int(self.count)), b"\x19", self.sum]
        if self.schema:
            out += (b"\x20", encode_varint(zigzag(self.schema)))
        if self.zero_threshold:
            out += (b"\x29", pack_double(self.zero_threshold))
        out += (b"\x39", pack_double(zero)) if self.is_float else (b"\x30", encode_varint(int(zero)))
        for buckets, tags in ((self.negative, (0x42, 0x4A, 0x52)), (self.positive, (0x5A, 0x62, 0x6A))):
            if buckets:
                out += _encode_side(buckets, self.is_float, *tags)
        if self.reset_hint:
            out += (b"\x70", encode_varint(self.reset_hint))
        if self.custom:
            content = struct.pack(f"<{len(self.custom)}d", *self.custom)
            out += (b"\x82\x01", encode_varint(len(content)), content)
        return b"".join(out)


def spans(buckets: Buckets) -> Iterator[tuple[int, int]]:
    """Yield the spans that these buckets fill: (gap, length)."""
    start = behind = 0
    first = buckets[0][0] if buckets else 0
    for index, _ in buckets:
        if index != first + behind:
            yield first - start, behind
            start, first, behind = first + behind, index, 0
        behind += 1
    if behind:
        yield first - start, behind


def zigzag(number: int) -> int:
    """Return the unsigned number that stands for a signed one in a varint (sint32, sint64)."""
    return number << 1 if number >= 0 else ~(number << 1)


def _encode_side(buckets: Buckets, is_float: bool, span_tag: int, delta_tag: int, count_tag: int) -> list[bytes]:
    out = []
    for gap, length in spans(buckets):
        out.append(encode_bytes(span_tag, b"\x08" + encode_varint(zigzag(gap)) + b"\x10" + encode_varint(length)))
    if is_float:
        out.append(encode_bytes(count_tag, struct.pack(f"<{len(buckets)}d", *[count for _, count in buckets])))
        return out
    deltas, before = [], 0
    for _, count in buckets:
        deltas.append(encode_varint(zigzag(int(count) - before)))
        before = int(count)
    out.append(encode_bytes(delta_tag, b"".join(deltas)))
    return out


def _merge(buckets: Buckets, shift: int) -> Buckets:
    """Return the buckets of a resolution that is `shift` schemas lower (model/histogram, targetIdx)."""
    merged: dict[int, float] = {}
    for index, count in buckets:
        target = ((index - 1) >> shift) + 1
        merged[target] = merged.get(target, 0) + count
    return list(merged.items())
