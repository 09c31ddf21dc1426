"""Prometheus' protobuf pages, taken apart into *lines*: one for each family's head and for each series.

Source: io/prometheus/client/metrics.proto (client_model), each MetricFamily behind its length; what becomes of a metric
is what prometheus/model/textparse (protobufparse.go) makes of it. A line begins with its kind:

    '#'              the family's fields but for its metrics
    'h', 'g'         name, labels │ timestamp, io.prometheus.client.Histogram, size of the tail
    any other        name, labels, bound │ value, timestamp, io.prometheus.client.Exemplar, size of the tail

What stands before the bar tells the series: the name with its length in front, then the label fields as the page has
them, then the bound of a bucket or quantile. Values and bounds are eight bytes, a double little-endian; timestamps are
Unix milliseconds in eight bytes, 0 for none, and the size is in four. So two pages are compared line by line, as text.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from struct import Struct
from typing import Final

from pipeline.wire.errors import MalformedError
from pipeline.wire.protobuf import decode_varint, fields
from pipeline.wire.remote_write import pack_double, unpack_double

HEAD, NATIVE, NATIVE_GAUGE = 0x23, 0x68, 0x67
PLAIN, COUNT, SUM, BUCKET, QUANTILE = 0x76, 0x63, 0x73, 0x62, 0x71
COUNTER, GAUGE, SUMMARY, UNTYPED, HISTOGRAM, GAUGE_HISTOGRAM = range(6)
"""io.prometheus.client.MetricType."""

SIZE: Final = Struct("<I")
TIME: Final = Struct("<q")
NO_TIME: Final = b"\0" * 8
TAIL_BYTES: Final = 20
"""Of a line with neither exemplar nor histogram: value, timestamp, size."""
PLAIN_END: Final = NO_TIME + SIZE.pack(TAIL_BYTES)

_METRIC, _LABEL, _TIMESTAMP = 0x22, 0x0A, 0x30
_VALUE_TAGS: Final = {COUNTER: 0x1A, GAUGE: 0x12, SUMMARY: 0x22, UNTYPED: 0x2A, HISTOGRAM: 0x3A, GAUGE_HISTOGRAM: 0x3A}
_ZERO: Final = pack_double(0.0)
_PLUS_INF: Final = pack_double(float("inf"))
_BATCH_BYTES: Final = 128 << 10
_KNOWN_BY_BYTES: Final = 64
"""A family begins with its name: so many bytes tell which one it is, and a wrong guess costs only time."""


@dataclass(slots=True)
class Delimited:
    """Takes pages apart. A family that is byte for byte as on the last page gives the very same lines.

    `native` lets native histograms through (else what they hold is read as classic), `classic_too` the classic one of
    a histogram that is both.
    """

    native: bool = True
    classic_too: bool = False
    _known: dict[bytes, tuple[bytes, list[bytes]]] = field(default_factory=dict)

    def lines(self, page: bytes | bytearray, size: int) -> Iterator[list[bytes]]:
        """Yield the lines of the first `size` bytes of a page, some at a time; raises MalformedError.

        What stands in front of the mistake has been yielded by then.
        """
        known: dict[bytes, tuple[bytes, list[bytes]]] = {}
        out: list[bytes] = []
        view = memoryview(page)
        position = batch = 0
        try:
            while position < size:
                length, start = decode_varint(page, position)
                if start - position > 5 or start + length > size:
                    raise MalformedError(f"a metric family of {length} bytes reaches beyond the page", position)
                position = start + length
                raw = bytes(view[start:position])
                name = raw[:_KNOWN_BY_BYTES]
                before = self._known.get(name)
                if before is None or before[0] != raw:
                    lines: list[bytes] = []
                    try:
                        _Family(raw, self.native, self.classic_too, lines).read()
                    except IndexError:
                        raise MalformedError("the message ends inside a field", start) from None
                    finally:
                        out += lines
                    before = raw, lines
                else:
                    out += before[1]
                known[name] = before
                if position - batch > _BATCH_BYTES:
                    yield out
                    out, batch = [], position
        except MalformedError:
            yield out
            raise
        finally:
            self._known = known
        yield out


def key_of(line: bytes) -> bytes:
    """Return what tells a line's series; of a family's head, all of it."""
    return line if line[0] == HEAD else line[: -SIZE.unpack(line[-4:])[0]]


@dataclass(slots=True)
class _Family:
    """One MetricFamily, being read into lines."""

    raw: bytes
    native: bool
    classic_too: bool
    lines: list[bytes]
    kind: int = COUNTER
    named: bytes = b""
    """The name with its length in front."""

    def read(self) -> None:
        raw, metrics, head = self.raw, [], []
        name, position, end = b"", 0, len(self.raw)
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
                self.kind = value
            position = behind
        if not metrics:
            return
        if self.kind not in _VALUE_TAGS:
            raise MalformedError(f"unknown metric type for metric {name.decode(errors='replace')!r}: {self.kind}")
        self.named = SIZE.pack(len(name)) + name
        self.lines.append(b"#" + b"".join(head))
        if self.kind in (COUNTER, GAUGE, UNTYPED):
            self._read_plain(metrics)
        else:
            for start, behind in metrics:
                self._read_compound(_Metric(raw, start, behind, _VALUE_TAGS[self.kind]))

    def _read_plain(self, metrics: list[tuple[int, int]]) -> None:
        raw, lines, value_tag = self.raw, self.lines, _VALUE_TAGS[self.kind]
        begin = bytes([PLAIN]) + self.named
        for start, end in metrics:
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
                continue
            metric = _Metric(raw, start, end, value_tag)
            value, exemplar = _ZERO, b""
            for tag, _, at, behind in fields(metric.content):
                if tag == 0x09:
                    value = metric.content[at:behind]
                elif tag == 0x12 and self.kind == COUNTER:
                    exemplar += metric.content[at:behind]
            lines.append(begin + metric.labels + _tail(value, metric.time, exemplar))

    def _read_compound(self, metric: "_Metric") -> None:
        if self.kind == SUMMARY:
            self._read_summary(metric)
            return
        histogram = _Classic(metric.content)
        if not self.native or not histogram.is_native:
            self._add_classic(metric, histogram)
            return
        kind = NATIVE_GAUGE if self.kind == GAUGE_HISTOGRAM else NATIVE
        tail = metric.time + metric.content
        self.lines.append(bytes([kind]) + self.named + metric.labels + tail + SIZE.pack(len(tail) + 4))
        if self.classic_too and histogram.buckets:
            self._add_classic(metric, histogram)

    def _read_summary(self, metric: "_Metric") -> None:
        count, total, quantiles, content = 0, _ZERO, list[tuple[bytes, bytes]](), metric.content
        for tag, number, at, behind in fields(content):
            if tag == 0x08:
                count = number
            elif tag == 0x11:
                total = content[at:behind]
            elif tag == 0x1A:
                found = {tag: content[start:end] for tag, _, start, end in fields(content, at, behind)}
                quantiles.append((found.get(0x09, _ZERO), found.get(0x11, _ZERO)))
        self._add(COUNT, metric, b"", pack_double(float(count)))
        self._add(SUM, metric, b"", total)
        for bound, value in quantiles:
            self._add(QUANTILE, metric, bound, value)

    def _add_classic(self, metric: "_Metric", histogram: "_Classic") -> None:
        self._add(COUNT, metric, b"", histogram.count)
        self._add(SUM, metric, b"", histogram.sum)
        for bound, count, exemplar in histogram.buckets:
            self._add(BUCKET, metric, bound, count, exemplar)
            if bound == _PLUS_INF:
                return
        self._add(BUCKET, metric, _PLUS_INF, histogram.count)

    def _add(self, kind: int, metric: "_Metric", bound: bytes, value: bytes, exemplar: bytes = b"") -> None:
        self.lines.append(bytes([kind]) + self.named + metric.labels + bound + _tail(value, metric.time, exemplar))


class _Metric:
    """One Metric, whatever the order of its fields: label fields as they are, time, and the message with the value."""

    __slots__ = ("content", "labels", "time")

    def __init__(self, raw: bytes, start: int, end: int, value_tag: int) -> None:
        labels, contents, self.time, position = list[bytes](), list[bytes](), NO_TIME, start
        for tag, number, at, behind in fields(raw, start, end):
            if tag == _LABEL:
                labels.append(raw[position:behind])
            elif tag == value_tag:
                contents.append(raw[at:behind])
            elif tag == _TIMESTAMP:
                self.time = number.to_bytes(8, "little")
            position = behind
        # Messages of one field that follow one another are one message (protobuf, "Last One Wins").
        self.labels, self.content = b"".join(labels), b"".join(contents)


class _Classic:
    """The classic part of a Histogram, and whether there is a native one."""

    __slots__ = ("buckets", "count", "is_native", "sum")

    def __init__(self, content: bytes) -> None:
        self.buckets: list[tuple[bytes, bytes, bytes]] = []
        self.sum, self.is_native = _ZERO, False
        count, count_float, position, end = 0, _ZERO, 0, len(content)
        while position < end:
            tag = content[position]
            length = content[position + 1] if tag == 0x1A else 128
            if length < 128:
                at, position = position + 2, position + 2 + length
                self.buckets.append(_bucket(content, at, position))
                continue
            tag, number, at, position = next(fields(content, position, end))
            if tag == 0x1A:
                self.buckets.append(_bucket(content, at, position))
            elif tag == 0x08:
                count = number
            elif tag == 0x21:
                count_float = content[at:position]
            elif tag == 0x11:
                self.sum = content[at:position]
            elif tag in (0x4A, 0x62) or (tag == 0x38 and number):
                self.is_native = True
            elif tag == 0x31:
                self.is_native = self.is_native or unpack_double(content[at:position])[0] > 0
        self.count = _count(count, count_float)


def _bucket(content: bytes, start: int, end: int) -> tuple[bytes, bytes, bytes]:
    """Read a Bucket: bound and count as doubles, exemplar."""
    if end - start > 10 and content[start] == 0x08 and content[end - 9] == 0x11:
        count, at = decode_varint(content, start + 1)
        if at == end - 9:
            return content[at + 1 : end], pack_double(float(count)), b""
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
    """Return a count as a double: the one in floats overrides the integer unless it is 0."""
    return count_float if unpack_double(count_float)[0] != 0 else pack_double(float(count))


def _tail(value: bytes, time: bytes, exemplar: bytes) -> bytes:
    return value + time + exemplar + SIZE.pack(TAIL_BYTES + len(exemplar))
