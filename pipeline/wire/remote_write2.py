"""Remote write 2.0 (`io.prometheus.write.v2.Request`) to 1.0 (`prometheus.WriteRequest`) and back, as bytes.

Source: prometheus/prompb/io/prometheus/write/v2/types.proto; Remote-Write 2.0 specification. A 2.0 request has a table
of symbols in front and cannot be joined with another as bytes, so the pipeline carries 1.0 (ARCHITECTURE 1):

    Request     4 symbols, 5 timeseries
    TimeSeries  1 labels_refs (packed: name, value, name, ...), 2 samples, 3 histograms, 4 exemplars, 5 metadata
    Sample      1 value, 2 timestamp as in 1.0, 3 start_timestamp
    Histogram   1 to 16 as in 1.0, 17 start_timestamp
    Exemplar    1 labels_refs (packed), 2 value, 3 timestamp
    Metadata    1 type, 3 help_ref, 4 unit_ref

What 1.0 cannot say is lost on the way there:
- start timestamps of samples and histograms;
- which series a type, help and unit belong to: 1.0 has them once a metric family, whose name is taken to be the series'
  name (without `_bucket`, `_count` and `_sum` where the type has these); the last of several in a request counts;
- fields that the specification does not have.
What 2.0 cannot say is lost on the way back:
- metadata of families without a series in the same request;
- exemplars of a series that has neither sample nor histogram in the same request: 2.0 forbids such a series.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from pipeline.wire import remote_write as v1
from pipeline.wire.errors import MalformedError
from pipeline.wire.protobuf import LENGTH, VARINT, decode_varint, encode_bytes, encode_varint, fields

SYMBOL: Final = 0x22
TIMESERIES: Final = 0x2A
LABEL_REFS: Final = 0x0A
SAMPLE: Final = 0x12
HISTOGRAM: Final = 0x1A
EXEMPLAR: Final = 0x22
METADATA: Final = 0x2A

_REF: Final = 0x08  # labels_refs, unpacked: parsers have to take both
_HISTOGRAM, _GAUGE_HISTOGRAM, _SUMMARY = 3, 4, 5
_SUFFIXES: Final = {
    _HISTOGRAM: (b"_bucket", b"_count", b"_sum"),
    _GAUGE_HISTOGRAM: (b"_bucket", b"_gcount", b"_gsum"),
    _SUMMARY: (b"_count", b"_sum"),
}
_START_TIMESTAMP: Final = encode_varint(3 << 3 | VARINT)
_HISTOGRAM_START_TIMESTAMP: Final = encode_varint(17 << 3 | VARINT)


class TooLargeError(MalformedError):
    """The request would be larger in 1.0 than is allowed: a symbol may stand for many bytes in many places."""


def to_v1(request: bytes, *, max_bytes: int | None = None) -> bytes:
    """Return the same request in 1.0; raises MalformedError with the position, TooLargeError beyond `max_bytes`.

    Both are uncompressed.
    """
    symbols: list[bytes] = []
    series: list[tuple[int, int]] = []
    for tag, _, start, end in fields(request):
        if tag == SYMBOL:
            symbols.append(request[start:end])
        elif tag == TIMESERIES:
            series.append((start, end))
        elif tag >> 3 in (1, 2, 3):
            raise MalformedError("a field of prometheus.WriteRequest, not of io.prometheus.write.v2.Request", start)
    reader = _Reader(request, symbols, max_bytes)
    return b"".join([*(reader.series(start, end) for start, end in series), *reader.families.values()])


def from_v1(request: bytes) -> bytes:
    """Return the same request in 2.0; raises MalformedError with the position. Both are uncompressed."""
    writer = _Writer(request)
    for tag, _, start, end in fields(request):
        if tag == v1.METADATA:
            writer.read_metadata(start, end)
    found = [writer.read(start, end) for tag, _, start, end in fields(request) if tag == v1.TIMESERIES]
    series = [writer.write(one) for one in found]
    symbols = (encode_bytes(SYMBOL, symbol) for symbol in writer.symbols)
    return b"".join([*symbols, *series])


@dataclass(slots=True)
class _Reader:
    """Turns a 2.0 request's series into 1.0's; `families` collects their metadata, encoded."""

    data: bytes
    symbols: list[bytes]
    max_bytes: int | None
    families: dict[bytes, bytes] = field(default_factory=dict)
    _size: int = 0
    _labels: dict[tuple[int, int], bytes] = field(default_factory=dict)

    def series(self, start: int, end: int) -> bytes:
        data = self.data
        refs: list[int] = []
        rest: list[bytes] = []
        metadata: tuple[int, int] | None = None
        for tag, value, at, behind in fields(data, start, end):
            if tag == LABEL_REFS:
                refs += _unpack(data, at, behind)
            elif tag == _REF:
                refs.append(value)
            elif tag == SAMPLE:
                rest.append(encode_bytes(v1.SAMPLE, _without(data, at, behind, _START_TIMESTAMP)))
            elif tag == HISTOGRAM:
                rest.append(encode_bytes(v1.HISTOGRAM, _without(data, at, behind, _HISTOGRAM_START_TIMESTAMP)))
            elif tag == EXEMPLAR:
                rest.append(encode_bytes(v1.EXEMPLAR, self._exemplar(at, behind)))
            elif tag == METADATA:
                metadata = (at, behind)
        if metadata is not None:
            self._metadata(*metadata, self._name(refs, start))
        return v1.encode_series(b"".join([self._label_fields(refs, start), *rest]))

    def _label_fields(self, refs: list[int], position: int) -> bytes:
        """Encode labels, each pair of references once a request."""
        if len(refs) % 2:
            raise MalformedError(f"an odd number of label references: {len(refs)}", position)
        known, out = self._labels, []
        for pair in zip(refs[::2], refs[1::2], strict=True):
            encoded = known.get(pair)
            if encoded is None:
                name, value = self._symbol(pair[0], position), self._symbol(pair[1], position)
                encoded = encode_bytes(v1.LABEL, encode_bytes(0x0A, name) + encode_bytes(0x12, value))
                known[pair] = encoded
            out.append(encoded)
            self._grow(len(encoded), position)
        return b"".join(out)

    def _grow(self, size: int, position: int) -> None:
        self._size += size
        if self.max_bytes is not None and self._size > self.max_bytes:
            raise TooLargeError(f"more than {self.max_bytes} bytes as remote write 1.0", position)

    def _exemplar(self, start: int, end: int) -> bytes:
        refs, rest = [], []
        for tag, value, at, behind in fields(self.data, start, end):
            if tag == LABEL_REFS:
                refs += _unpack(self.data, at, behind)
            elif tag == _REF:
                refs.append(value)
            elif tag == 0x11:
                rest.append(b"\x11" + self.data[at:behind])
            elif tag == 0x18:
                rest.append(b"\x18" + self.data[at:behind])
        return b"".join([self._label_fields(refs, start), *rest])

    def _metadata(self, start: int, end: int, name: bytes) -> None:
        kind = help_ref = unit_ref = 0
        for tag, value, _, _ in fields(self.data, start, end):
            if tag == 0x08:
                kind = value
            elif tag == 0x18:
                help_ref = value
            elif tag == 0x20:
                unit_ref = value
        help_text, unit = self._symbol(help_ref, start), self._symbol(unit_ref, start)
        if not name or not (kind or help_text or unit):
            return
        family = family_of(name, kind)
        try:
            texts = family.decode(), help_text.decode(), unit.decode()
        except UnicodeDecodeError:
            raise MalformedError("metadata that is not UTF-8", start) from None
        self.families[family] = v1.encode_metadata(kind, *texts)
        self._grow(len(self.families[family]), start)

    def _name(self, refs: list[int], position: int) -> bytes:
        for name, value in zip(refs[::2], refs[1::2], strict=False):
            if self._symbol(name, position) == b"__name__":
                return self._symbol(value, position)
        return b""

    def _symbol(self, ref: int, position: int) -> bytes:
        if ref >= len(self.symbols):
            if ref == 0:
                return b""
            raise MalformedError(f"symbol {ref} of {len(self.symbols)}", position)
        return self.symbols[ref]


class _Series(NamedTuple):
    """A series of 2.0: its packed label references, its metric name, its other fields encoded."""

    refs: bytes
    name: bytes
    samples: list[bytes]
    histograms: list[bytes]
    exemplars: list[bytes]


@dataclass(slots=True)
class _Writer:
    """Turns a 1.0 request's series into 2.0's; `symbols` collects their texts."""

    data: bytes
    symbols: dict[bytes, int] = field(default_factory=lambda: {b"": 0})
    families: dict[bytes, tuple[int, bytes, bytes]] = field(default_factory=dict)
    _refs: dict[bytes, tuple[bytes, bytes]] = field(default_factory=dict)
    _loose: dict[bytes, list[bytes]] = field(default_factory=dict)

    def read_metadata(self, start: int, end: int) -> None:
        kind, texts = 0, {0x12: b"", 0x22: b"", 0x2A: b""}
        for tag, value, at, behind in fields(self.data, start, end):
            if tag == 0x08:
                kind = value
            elif tag in texts:
                texts[tag] = self.data[at:behind]
        self.families[texts[0x12]] = (kind, texts[0x22], texts[0x2A])

    def write(self, series: "_Series") -> bytes:
        """Return a series; two where it has samples and histograms, which 2.0 keeps apart."""
        exemplars = series.exemplars
        if series.samples or series.histograms:
            exemplars = exemplars + self._loose.pop(series.refs, [])
        head = encode_bytes(LABEL_REFS, series.refs)
        tail = self._metadata(series.name)
        out = []
        for values in (series.samples, series.histograms):
            if values:
                out.append(encode_bytes(TIMESERIES, b"".join([head, *values, *exemplars, tail])))
                exemplars = []
        return b"".join(out)

    def read(self, start: int, end: int) -> "_Series":
        """Return a series with its fields as 2.0's. Exemplars alone wait for the same series' samples."""
        data, refs, name = self.data, [], b""
        samples: list[bytes] = []
        histograms: list[bytes] = []
        exemplars: list[bytes] = []
        known = self._refs
        for tag, at, behind in _delimited(data, start, end):
            if tag == v1.LABEL:
                content = data[at:behind]
                ref, metric = known.get(content) or self._label(content)
                refs.append(ref)
                name = metric or name
            elif tag == v1.SAMPLE:
                samples.append(encode_bytes(SAMPLE, data[at:behind]))
            elif tag == v1.HISTOGRAM:
                histograms.append(encode_bytes(HISTOGRAM, data[at:behind]))
            elif tag == v1.EXEMPLAR:
                exemplars.append(encode_bytes(EXEMPLAR, self._exemplar(at, behind)))
        series = _Series(b"".join(refs), name, samples, histograms, exemplars)
        if exemplars and not samples and not histograms:
            self._loose.setdefault(series.refs, []).extend(exemplars)
        return series

    def _label(self, content: bytes) -> tuple[bytes, bytes]:
        """Return a label's two references, packed, and the metric name that it is; read once a request."""
        found = self._refs.get(content)
        if found is None:
            name, value = _label_of(content)
            metric = value if name == b"__name__" else b""
            found = self._refs[content] = (self._ref(name) + self._ref(value), metric)
        return found

    def _exemplar(self, start: int, end: int) -> bytes:
        refs, rest = [], []
        for tag, _, at, behind in fields(self.data, start, end):
            if tag == v1.LABEL:
                refs.append(self._label(self.data[at:behind])[0])
            elif tag in (0x11, 0x18):
                rest.append(bytes([tag]) + self.data[at:behind])
        return b"".join([encode_bytes(LABEL_REFS, b"".join(refs)) if refs else b"", *rest])

    def _metadata(self, name: bytes) -> bytes:
        if not self.families:
            return b""
        for family, kinds in _families_of(name):
            found = self.families.get(family)
            if found is not None and (kinds is None or found[0] in kinds):
                kind, help_text, unit = found
                content = b"\x08" + encode_varint(kind) if kind else b""
                content += b"\x18" + self._ref(help_text) if help_text else b""
                content += b"\x20" + self._ref(unit) if unit else b""
                return encode_bytes(METADATA, content)
        return b""

    def _ref(self, text: bytes) -> bytes:
        return encode_varint(self.symbols.setdefault(text, len(self.symbols)))


def family_of(name: bytes, kind: int) -> bytes:
    """Return the metric family's name of a series' name, as 1.0's metadata has it."""
    for suffix in _SUFFIXES.get(kind, ()):
        if name.endswith(suffix):
            return name[: -len(suffix)]
    return name


def _families_of(name: bytes) -> Iterator[tuple[bytes, tuple[int, ...] | None]]:
    """Yield the families that a series may belong to, and the types for which it then does."""
    yield name, None
    for suffix in {suffix for suffixes in _SUFFIXES.values() for suffix in suffixes}:
        if name.endswith(suffix):
            yield name[: -len(suffix)], tuple(kind for kind, known in _SUFFIXES.items() if suffix in known)


def _unpack(data: bytes, start: int, end: int) -> list[int]:
    out, number, shift = [], 0, 0
    for byte in data[start:end]:
        if byte > 127:
            number |= (byte & 127) << shift
            shift += 7
        else:
            out.append(number | byte << shift)
            number = shift = 0
    if shift:
        raise MalformedError("the message ends inside a varint", end)
    return out


def _without(data: bytes, start: int, end: int, tag_bytes: bytes) -> bytes:
    """Return a message's fields but for one varint field."""
    if tag_bytes not in data[start:end]:
        return data[start:end]
    wanted, _ = decode_varint(tag_bytes, 0)
    out, at = [], start
    for tag, _, _, behind in fields(data, start, end):
        if tag != wanted:
            out.append(data[at:behind])
        at = behind
    return b"".join(out)


def _delimited(data: bytes, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Walk a message whose fields are all length-delimited, with short tags: (tag, content start, content end)."""
    while start < end:
        tag = data[start]
        try:
            length, at = data[start + 1], start + 2
        except IndexError:
            raise MalformedError("the message ends inside a varint", start + 1) from None
        if length > 127:
            length, at = decode_varint(data, start + 1)
        if tag & 7 != LENGTH or tag > 127:
            raise MalformedError(f"a field with tag {tag}", start)
        behind = at + length
        if behind > end:
            raise MalformedError("a field reaches beyond the end of its message", start)
        yield tag, at, behind
        start = behind


def _label_of(content: bytes) -> tuple[bytes, bytes]:
    """Return a label's name and value."""
    if len(content) > 3 and content[0] == 0x0A and (middle := content[1] + 2) < min(len(content) - 1, 130):
        # As nearly every encoder writes it: the name, then the value, both short.
        size = content[middle + 1]
        if content[middle] == 0x12 and size < 128 and middle + 2 + size == len(content):
            return content[2:middle], content[middle + 2 :]
    name = value = b""
    for tag, _, at, end in fields(content):
        if tag == 0x0A:
            name = content[at:end]
        elif tag == 0x12:
            value = content[at:end]
    return name, value
