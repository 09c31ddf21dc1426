"""One family of a protobuf page, read into lines (see `pipeline.wire.exposition.delimited`).

What becomes of a metric is what prometheus/model/textparse (protobufparse.go) makes of it. `_delimited.pyx` does the
same with what nearly every metric looks like, and leaves the rest to `read_metric`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct
from typing import Final, NamedTuple

from pipeline.wire.errors import MalformedError
from pipeline.wire.protobuf import decode_varint, fields
from pipeline.wire.remote_write import pack_double, unpack_double

HEAD, NATIVE, NATIVE_GAUGE = 0x23, 0x68, 0x67
PLAIN, COUNT, SUM, BUCKET, QUANTILE = 0x76, 0x63, 0x73, 0x62, 0x71
"""Kinds of lines."""
COUNTER, GAUGE, SUMMARY, UNTYPED, HISTOGRAM, GAUGE_HISTOGRAM = range(6)
"""io.prometheus.client.MetricType."""

SIZE: Final = Struct("<I")
TIME: Final = Struct("<q")
NO_TIME: Final = b"\0" * 8
TAIL_BYTES: Final = 20
"""Of a line with neither exemplar nor histogram: value, timestamp, size."""
PLAIN_END: Final = NO_TIME + SIZE.pack(TAIL_BYTES)

_METRIC, _LABEL, _TIMESTAMP, _BUCKET = 0x22, 0x0A, 0x30, 0x1A
_VALUE_TAGS: Final = {COUNTER: 0x1A, GAUGE: 0x12, SUMMARY: 0x22, UNTYPED: 0x2A, HISTOGRAM: 0x3A, GAUGE_HISTOGRAM: 0x3A}
MAX_METRIC_BYTES: Final = 16 << 20
"""What the lines of one metric may take: each has all of its labels."""
_SLICE_METRICS: Final = 1_000
_SLICE_BYTES: Final = 4 << 20
_ZERO: Final = pack_double(0.0)
_PLUS_INF: Final = pack_double(float("inf"))


class Wanted(NamedTuple):
    """Which histograms are let through: native ones, or what they hold as classic; of those that are both, both."""

    native: bool = True
    classic_too: bool = False


@dataclass(frozen=True, slots=True)
class Family:
    """What a family's metrics have in common: `named` is its name with its length in front."""

    kind: int
    named: bytes

    @property
    def value_tag(self) -> int:
        """The tag of the field that holds a metric's value."""
        return _VALUE_TAGS[self.kind]


def read_family(raw: bytes, wanted: Wanted, lines: list[bytes]) -> Iterator[None]:
    """Append a family's lines, in slices; raises MalformedError, and IndexError where the message ends in a field."""
    family, metrics = read_head(raw, lines)
    if family is None:
        return
    begin, value_tag = bytes([PLAIN]) + family.named, family.value_tag
    compound, held_bytes = family.kind not in (COUNTER, GAUGE, UNTYPED), 0
    for number, (start, end) in enumerate(metrics, 1):
        if number % _SLICE_METRICS == 0 or held_bytes > _SLICE_BYTES:
            yield
            held_bytes = 0
        if compound:
            held_bytes += read_metric(raw, start, end, family, wanted, lines)
            continue
        at = start
        while at < end and raw[at] == _LABEL:
            length = raw[at + 1]
            if length < 128:
                at += 2 + length
            else:
                length, at = decode_varint(raw, at + 1)
                at += length
        # Nearly every metric ends with its value: a message of one double.
        if end - at == 11 and raw[at] == value_tag and raw[at + 1] == 9 and raw[at + 2] == 9:
            lines.append(begin + raw[start:at] + raw[at + 3 : end] + PLAIN_END)
        else:
            read_metric(raw, start, end, family, wanted, lines)


def read_head(raw: bytes, lines: list[bytes]) -> tuple[Family | None, list[tuple[int, int]]]:
    """Append the line of a family's head; return what its metrics share, None if it has none, and where each stands."""
    metrics, head, name, kind = list[tuple[int, int]](), list[bytes](), b"", COUNTER
    position, end = 0, len(raw)
    while position < end:
        if raw[position] == _METRIC:
            length, at = raw[position + 1], position + 2
            if length > 127:
                length, at = decode_varint(raw, position + 1)
            position = at + length
            if position > end:
                raise MalformedError("a metric reaches beyond its family", at)
            metrics.append((at, position))
            continue
        tag, value, at, behind = next(fields(raw, position, end))
        head.append(raw[position:behind])
        if tag == 0x0A:
            name = raw[at:behind]
        elif tag == 0x18:
            kind = value
        position = behind
    if not metrics:
        return None, metrics
    if kind not in _VALUE_TAGS:
        raise MalformedError(f"unknown metric type for metric {name.decode(errors='replace')!r}: {kind}")
    lines.append(b"#" + b"".join(head))
    return Family(kind, SIZE.pack(len(name)) + name), metrics


def read_metric(raw: bytes, start: int, end: int, family: Family, wanted: Wanted, lines: list[bytes]) -> int:
    """Append the lines of one metric, whatever it looks like; return how many bytes they take."""
    metric = _Metric(raw, start, end, family, lines)
    if family.kind == SUMMARY:
        _read_summary(metric)
    elif family.kind in (HISTOGRAM, GAUGE_HISTOGRAM):
        _read_histogram(metric, family.kind, wanted)
    else:
        content, value, exemplar = metric.content, _ZERO, b""
        for tag, _, at, behind in fields(content):
            if tag == 0x09:
                value = content[at:behind]
            elif tag == 0x12 and family.kind == COUNTER:
                exemplar += content[at:behind]
        metric.add(PLAIN, value, exemplar=exemplar)
    return metric.size


class _Metric:
    """One Metric, whatever the order of its fields, and the lines that it gives; `size` is theirs."""

    __slots__ = ("_family", "_labels", "_lines", "_time", "content", "size")

    def __init__(self, raw: bytes, start: int, end: int, family: Family, lines: list[bytes]) -> None:
        labels, contents, position = list[bytes](), list[bytes](), start
        self._family, self._lines, self._time, self.size = family, lines, NO_TIME, 0
        for tag, number, at, behind in fields(raw, start, end):
            if tag == _LABEL:
                labels.append(raw[position:behind])
            elif tag == family.value_tag:
                contents.append(raw[at:behind])
            elif tag == _TIMESTAMP:
                self._time = number.to_bytes(8, "little")
            position = behind
        # Messages in one field are one message (Protocol Buffers, "Encoding", last one wins).
        self._labels, self.content = b"".join(labels), b"".join(contents)

    def add(self, kind: int, value: bytes, bound: bytes = b"", exemplar: bytes = b"") -> None:
        """Append the line of a number."""
        tail = self._time + exemplar + SIZE.pack(TAIL_BYTES + len(exemplar))
        self._append(bytes([kind]) + self._family.named + self._labels + bound + value + tail)

    def add_native(self, kind: int) -> None:
        """Append the line of a native histogram."""
        tail = self._time + self.content + SIZE.pack(8 + len(self.content) + 4)
        self._append(bytes([kind]) + self._family.named + self._labels + tail)

    def _append(self, line: bytes) -> None:
        self.size += len(line)
        # One line is never too much: it is on the page as it is.
        if self.size > MAX_METRIC_BYTES and self.size > len(line):
            raise MalformedError(f"a metric whose series take more than {MAX_METRIC_BYTES} bytes")
        self._lines.append(line)


def _read_summary(metric: _Metric) -> None:
    count, total, quantiles, content = 0, _ZERO, list[tuple[bytes, bytes]](), metric.content
    for tag, number, at, behind in fields(content):
        if tag == 0x08:
            count = number
        elif tag == 0x11:
            total = content[at:behind]
        elif tag == 0x1A:
            found = {tag: content[start:end] for tag, _, start, end in fields(content, at, behind)}
            quantiles.append((found.get(0x09, _ZERO), found.get(0x11, _ZERO)))
    metric.add(COUNT, pack_double(float(count)))
    metric.add(SUM, total)
    for bound, value in quantiles:
        metric.add(QUANTILE, value, bound)


def _read_histogram(metric: _Metric, kind: int, wanted: Wanted) -> None:
    content, buckets = metric.content, list[tuple[bytes, bytes, bytes]]()
    count, count_float, total, is_native = 0, _ZERO, _ZERO, False
    for tag, number, at, behind in fields(content):
        if tag == _BUCKET:
            buckets.append(_read_bucket(content, at, behind))
        elif tag == 0x08:
            count = number
        elif tag == 0x21:
            count_float = content[at:behind]
        elif tag == 0x11:
            total = content[at:behind]
        elif tag in (0x4A, 0x62) or (tag == 0x38 and number):  # spans, observations of zero
            is_native = True
        elif tag == 0x31:  # the zero bucket's width
            is_native = is_native or unpack_double(content[at:behind])[0] > 0
    if is_native and wanted.native:
        metric.add_native(NATIVE_GAUGE if kind == GAUGE_HISTOGRAM else NATIVE)
        if not (wanted.classic_too and buckets):
            return
    observations = _count(count, count_float)
    metric.add(COUNT, observations)
    metric.add(SUM, total)
    for bound, value, exemplar in buckets:
        metric.add(BUCKET, value, bound, exemplar)
        if bound == _PLUS_INF:
            return
    metric.add(BUCKET, observations, _PLUS_INF)


def _read_bucket(content: bytes, start: int, end: int) -> tuple[bytes, bytes, bytes]:
    """Read a Bucket: bound and count as doubles, exemplar."""
    count, count_float, bound, exemplar = 0, _ZERO, _ZERO, b""
    for tag, number, at, behind in fields(content, start, end):
        if tag == 0x08:
            count = number
        elif tag == 0x21:
            count_float = content[at:behind]
        elif tag == 0x11:
            bound = content[at:behind]
        elif tag == 0x1A:
            exemplar += content[at:behind]
    return bound, _count(count, count_float), exemplar


def _count(count: int, count_float: bytes) -> bytes:
    """Return a count as a double: one in floats overrides the integer unless it is 0."""
    return count_float if unpack_double(count_float)[0] != 0 else pack_double(float(count))
