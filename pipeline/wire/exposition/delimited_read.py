"""Reading the lines of protobuf pages (see `pipeline.wire.exposition.delimited`).

What Prometheus makes of them: prometheus/model/textparse (protobufparse.go) and prometheus/scrape/scrape.go.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from pipeline.wire.errors import MalformedError
from pipeline.wire.exposition import delimited_family as delimited
from pipeline.wire.exposition.delimited_family import (
    BUCKET,
    COUNT,
    HEAD,
    NATIVE_GAUGE,
    QUANTILE,
    SIZE,
    SUM,
    TAIL_BYTES,
    TIME,
)
from pipeline.wire.exposition.entries import Head, MetricType, PageExemplar, Sample
from pipeline.wire.exposition.numbers import format_openmetrics
from pipeline.wire.histogram import STALE_HISTOGRAM, BucketLimitError, Shape
from pipeline.wire.histogram_read import convert_exposed
from pipeline.wire.protobuf import fields
from pipeline.wire.remote_write import Labels, signed, unpack_double

_TYPES: Final = {
    delimited.COUNTER: MetricType.COUNTER,
    delimited.GAUGE: MetricType.GAUGE,
    delimited.SUMMARY: MetricType.SUMMARY,
    delimited.UNTYPED: MetricType.UNKNOWN,
    delimited.HISTOGRAM: MetricType.HISTOGRAM,
    delimited.GAUGE_HISTOGRAM: MetricType.GAUGEHISTOGRAM,
}
_SUFFIXES: Final = {COUNT: "_count", SUM: "_sum", BUCKET: "_bucket"}
_BOUNDS: Final = {BUCKET: "le", QUANTILE: "quantile"}
_NATIVE: Final = (delimited.NATIVE, NATIVE_GAUGE)
_LIMIT: Final = "histogram bucket limit exceeded"
_BUCKET_TAG, _EXEMPLARS_TAG = 3 << 3 | 2, 16 << 3 | 2


Convert = Callable[[bytes, int, int, bool, Shape], bytes]


class Tail(NamedTuple):
    """What a line says beside its series. `value` is a double's eight bytes, or longer: a native histogram.

    The latter is encoded as prometheus.Histogram, without its time.
    """

    value: bytes
    timestamp_ms: int | None
    exemplars: tuple[PageExemplar, ...]


@dataclass(slots=True)
class DelimitedLines:
    """Reads lines; `problem` is what is wrong with the page as a whole, told when all of it was read.

    `convert` is `convert_exposed` or its compiled twin.
    """

    shape: Shape = field(default_factory=Shape)
    convert: Convert = convert_exposed
    problem: str = ""

    def read(self, line: bytes) -> Sample | Head:
        """Read one line; raises MalformedError."""
        if line[0] == HEAD:
            return _read_head(line)
        size = len(line) - SIZE.unpack(line[-4:])[0]
        tail = self.read_tail(line, size)
        return Sample(line[:size], _read_labels(line, size), *tail)

    def read_tail(self, line: bytes, size: int) -> Tail:
        """Read what follows a series, whose text is `size` bytes long; raises MalformedError."""
        if line[0] in _NATIVE:
            timestamp_ms = TIME.unpack_from(line, size)[0] or None
            value = self._histogram(line, size + 8, gauge=line[0] == NATIVE_GAUGE)
            return Tail(value, timestamp_ms, _native_exemplars(line, size + 8, len(line) - 4))
        timestamp_ms = TIME.unpack_from(line, size + 8)[0] or None
        exemplars: tuple[PageExemplar, ...] = ()
        if len(line) > size + TAIL_BYTES:
            exemplars = (_read_exemplar(line, size + 16, len(line) - 4),)
        return Tail(line[size : size + 8], timestamp_ms, exemplars)

    def _histogram(self, line: bytes, start: int, *, gauge: bool) -> bytes:
        try:
            return self.convert(line, start, len(line) - 4, gauge, self.shape)
        except BucketLimitError:
            self.problem = _LIMIT
            return STALE_HISTOGRAM  # never sent: the page will be refused
        except MalformedError as error:
            raise type(error)(f"histogram {_name_of(line)[0]!r}: {error}") from error


def _read_head(line: bytes) -> Head:
    texts, kind = {0x0A: b"", 0x12: b"", 0x2A: b""}, 0
    for tag, value, at, behind in fields(line, 1):
        if tag == 0x18:
            kind = value
        elif tag in texts:
            texts[tag] = line[at:behind]
    name = _decode(texts[0x0A], "metric name")
    if not name:
        raise MalformedError("invalid metric name: it is empty")
    help_text = _decode(texts[0x12], f"help for metric {name!r}")
    return Head(name, help_text, _TYPES[kind], _decode(texts[0x2A], f"unit for metric {name!r}"))


def _name_of(line: bytes) -> tuple[str, int]:
    """Return the family's name, and where the labels begin."""
    at = 5 + SIZE.unpack_from(line, 1)[0]
    return _decode(line[5:at], "metric name"), at


def _read_labels(line: bytes, size: int) -> Labels:
    kind = line[0]
    name, at = _name_of(line)
    pairs = [("__name__", name + _SUFFIXES.get(kind, ""))]
    if kind in _BOUNDS:
        size -= 8
        pairs.append((_BOUNDS[kind], format_openmetrics(unpack_double(line[size : size + 8])[0])))
    pairs += (_read_pair(line, start, end) for _, _, start, end in fields(line, at, size))
    # Only by name: of two labels with one name the first stays the first.
    pairs.sort(key=lambda pair: pair[0])
    return tuple(pairs)


def _read_pair(data: bytes, start: int, end: int, *, strict: bool = True) -> tuple[str, str]:
    name = value = b""
    for tag, _, at, behind in fields(data, start, end):
        if tag == 0x0A:
            name = data[at:behind]
            # As in Prometheus a name that is not there at all is found out later, and by others.
            if strict and not name:
                raise MalformedError("invalid label name: it is empty")
        elif tag == 0x12:
            value = data[at:behind]
    return _decode(name, "label name"), _decode(value, "label value")


def _native_exemplars(data: bytes, start: int, end: int) -> tuple[PageExemplar, ...]:
    """Return a native histogram's exemplars, oldest first: its own, or else those of its classic buckets.

    One without a timestamp is none: it could not be told from a new one with the same value.
    """
    if data.find(b"\x82\x01", start, end) < 0 and data.find(b"\x1a", start, end) < 0:
        return ()
    own, of_buckets = [], []
    for tag, _, at, behind in fields(data, start, end):
        if tag == _EXEMPLARS_TAG:
            own.append(_read_exemplar(data, at, behind))
        elif tag == _BUCKET_TAG:
            of_buckets += [_read_exemplar(data, *found[2:]) for found in fields(data, at, behind) if found[0] == 0x1A]
    timed = [exemplar for exemplar in own or of_buckets if exemplar.timestamp_ms is not None]
    return tuple(sorted(timed, key=lambda one: (one.timestamp_ms or 0, unpack_double(one.value)[0], one.labels)))


def _read_exemplar(data: bytes, start: int, end: int) -> PageExemplar:
    pairs, value, timestamp_ms = list[tuple[str, str]](), b"\0" * 8, None
    for tag, _, at, behind in fields(data, start, end):
        if tag == 0x0A:
            pairs.append(_read_pair(data, at, behind, strict=False))
        elif tag == 0x11:
            value = data[at:behind]
        elif tag == 0x1A:
            timestamp_ms = _read_timestamp(data, at, behind)
    return PageExemplar(tuple(sorted(pairs)), value, timestamp_ms)


def _read_timestamp(data: bytes, start: int, end: int) -> int:
    """Read a google.protobuf.Timestamp as Unix milliseconds."""
    found = {tag: signed(value) for tag, value, _, _ in fields(data, start, end)}
    seconds, nanos = found.get(0x08, 0), found.get(0x10, 0)
    return seconds * 1000 + int(nanos / 1_000_000)


def _decode(text: bytes, what: str) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        raise MalformedError(f"invalid {what}: {text[:80]!r} is not UTF-8") from error
