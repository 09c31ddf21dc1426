"""Prometheus remote write 1.0: `prometheus.WriteRequest` as bytes.

Source: prometheus/prompb/remote.proto and types.proto; Remote-Write 1.0 specification. A request is a sequence of
top-level fields, so requests joined as bytes are a request (ARCHITECTURE 1):

    WriteRequest  1 timeseries, 3 metadata
    TimeSeries    1 labels (name 1, value 2), 2 samples (value 1 double, timestamp 2 varint, Unix milliseconds),
                  3 exemplars, 4 histograms
"""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from pipeline.wire.errors import MalformedError
from pipeline.wire.protobuf import encode_bytes, encode_varint, fields

TIMESERIES: Final = 0x0A
METADATA: Final = 0x1A
LABEL: Final = 0x0A
SAMPLE: Final = 0x12
EXEMPLAR: Final = 0x1A
HISTOGRAM: Final = 0x22

STALE_NAN_BITS: Final = 0x7FF0000000000002
"""The value that ends a series (Prometheus model/value: StaleNaN)."""
STALE_NAN: Final = STALE_NAN_BITS.to_bytes(8, "little")
QUIET_NAN: Final = (0x7FF8000000000001).to_bytes(8, "little")
"""The NaN that Prometheus writes for every ordinary NaN (model/value: NormalNaN)."""

Labels = tuple[tuple[str, str], ...]
"""A label set: pairs sorted by name, no name twice, no empty value."""

pack_double = struct.Struct("<d").pack
unpack_double = struct.Struct("<d").unpack


@dataclass(slots=True)
class Exemplar:
    """One exemplar; `value` is the eight bytes of the double as sent."""

    labels: Labels
    value: bytes
    timestamp_ms: int


@dataclass(slots=True)
class Series:
    """One decoded series. Values are eight bytes each, so that NaN payloads survive."""

    labels: Labels
    samples: list[tuple[bytes, int]] = field(default_factory=list)
    exemplars: list[Exemplar] = field(default_factory=list)
    histograms: list[bytes] = field(default_factory=list)


def encode_labels(labels: Iterable[tuple[str, str]]) -> bytes:
    """Encode labels as the leading fields of a TimeSeries; the caller sorts them by name."""
    out = []
    for name, value in labels:
        content = encode_bytes(0x0A, name.encode()) + encode_bytes(0x12, value.encode())
        out.append(encode_bytes(LABEL, content))
    return b"".join(out)


def encode_sample(value: bytes, timestamp_ms: int) -> bytes:
    """Encode one sample as a field of a TimeSeries; `value` is the double's eight bytes, little-endian."""
    return encode_bytes(SAMPLE, b"\x09" + value + b"\x10" + encode_varint(timestamp_ms))


def encode_exemplar(labels: bytes, value: bytes, timestamp_ms: int) -> bytes:
    """Encode one exemplar as a field of a TimeSeries; `labels` as made by `encode_labels`."""
    return encode_bytes(EXEMPLAR, labels + b"\x11" + value + b"\x18" + encode_varint(timestamp_ms))


def encode_series(content: bytes) -> bytes:
    """Encode a TimeSeries, from its fields, as a field of a WriteRequest."""
    return encode_bytes(TIMESERIES, content)


def encode_metadata(kind: int, family: str, help_text: str, unit: str) -> bytes:
    """Encode one MetricMetadata as a field of a WriteRequest; `kind` is prometheus.MetricMetadata.MetricType."""
    content = b"\x08" + encode_varint(kind) if kind else b""
    content += encode_bytes(0x12, family.encode())
    if help_text:
        content += encode_bytes(0x22, help_text.encode())
    if unit:
        content += encode_bytes(0x2A, unit.encode())
    return encode_bytes(METADATA, content)


def decode(request: bytes) -> Iterator[Series]:
    """Decode every series of a request, for tools and tests; raises MalformedError with the position."""
    for tag, _, start, end in fields(request):
        if tag == TIMESERIES:
            yield decode_series(request, start, end)


def decode_series(data: bytes, start: int, end: int) -> Series:
    """Decode the TimeSeries between two positions."""
    labels: list[tuple[str, str]] = []
    series = Series(())
    for tag, _, at, behind in fields(data, start, end):
        if tag == LABEL:
            labels.append(_decode_label(data, at, behind))
        elif tag == SAMPLE:
            series.samples.append(_decode_sample(data, at, behind))
        elif tag == EXEMPLAR:
            series.exemplars.append(_decode_exemplar(data, at, behind))
        elif tag == HISTOGRAM:
            series.histograms.append(data[at:behind])
    series.labels = tuple(labels)
    return series


def _decode_label(data: bytes, start: int, end: int) -> tuple[str, str]:
    name = value = b""
    for tag, _, at, behind in fields(data, start, end):
        if tag == 0x0A:
            name = data[at:behind]
        elif tag == 0x12:
            value = data[at:behind]
    try:
        return name.decode(), value.decode()
    except UnicodeDecodeError as error:
        raise MalformedError("a label that is not UTF-8", start) from error


def _decode_sample(data: bytes, start: int, end: int) -> tuple[bytes, int]:
    value, timestamp_ms = b"\0" * 8, 0
    for tag, number, at, behind in fields(data, start, end):
        if tag == 0x09:
            value = data[at:behind]
        elif tag == 0x10:
            timestamp_ms = signed(number)
    return value, timestamp_ms


def _decode_exemplar(data: bytes, start: int, end: int) -> Exemplar:
    labels, value, timestamp_ms = [], b"\0" * 8, 0
    for tag, number, at, behind in fields(data, start, end):
        if tag == LABEL:
            labels.append(_decode_label(data, at, behind))
        elif tag == 0x11:
            value = data[at:behind]
        elif tag == 0x18:
            timestamp_ms = signed(number)
    return Exemplar(tuple(labels), value, timestamp_ms)


def signed(number: int) -> int:
    """Read a varint's value as the int64 it encodes."""
    return number - (1 << 64) if number >> 63 else number
