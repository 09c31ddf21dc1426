"""Reading a remote write request against the series that are known, at about a microsecond a sample.

A sender encodes a series' labels the same way each time. So the bytes before its one sample are looked up as they are,
and only a series that is new, or has several samples, is taken apart field by field.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from pipeline.store.index import SeriesHead
from pipeline.wire.errors import MalformedError
from pipeline.wire.protobuf import decode_varint, fields
from pipeline.wire.remote_write import METADATA, TIMESERIES, Series, decode_series, encode_labels

# A sample with a value and a timestamp between 2004 and 2109: 0x12, its 16 bytes, 0x09 value, 0x10 six bytes of varint.
_SAMPLE_BYTES: Final = 18
_SAMPLE_START: Final = b"\x12\x10\x09"

Sample = tuple[SeriesHead, int, bytes]
"""A series, a timestamp in Unix milliseconds, and the eight bytes of the value."""


@dataclass(slots=True)
class Metadata:
    """What is known of a metric family; `kind` is prometheus.MetricMetadata.MetricType."""

    kind: int = 0
    help: str = ""
    unit: str = ""


@dataclass(slots=True)
class Parsed:
    """What a request holds."""

    samples: list[Sample] = field(default_factory=list)
    metadata: dict[str, Metadata] = field(default_factory=dict)
    exemplars: int = 0
    histograms: int = 0
    """Native histograms, which the embedded store does not keep."""


def parse(request: bytes, known: Mapping[bytes, SeriesHead], create: Callable[[bytes], SeriesHead]) -> Parsed:
    """Read a request; `create` makes a series for labels that are not known, from their canonical encoding.

    Raises MalformedError for a broken request, and for labels that are not a set with a name.
    """
    out = Parsed()
    samples = out.samples
    stamp, timestamp_ms = b"", 0
    for tag, _, start, end in fields(request):
        if tag == TIMESERIES:
            split = end - _SAMPLE_BYTES
            if split > start and request[split : split + 3] == _SAMPLE_START and request[split + 11] == 0x10:
                series = known.get(request[start:split])
                if series is not None:
                    # Known labels end where a field begins, so the rest is one sample and nothing else.
                    if request[end - 6 : end] != stamp:
                        stamp = request[end - 6 : end]
                        timestamp_ms = _timestamp(stamp, end - 6)
                    samples.append((series, timestamp_ms, request[split + 3 : split + 11]))
                    continue
            samples.extend(_parse_series(decode_series(request, start, end), known, create, out, start))
        elif tag == METADATA:
            family, metadata = _parse_metadata(request, start, end)
            out.metadata[family] = metadata
    return out


def _timestamp(stamp: bytes, position: int) -> int:
    number, behind = decode_varint(stamp, 0)
    if behind != len(stamp):
        raise MalformedError("a timestamp that does not fill its sample", position)
    return number


def _parse_series(
    decoded: Series,
    known: Mapping[bytes, SeriesHead],
    create: Callable[[bytes], SeriesHead],
    out: Parsed,
    position: int,
) -> Iterator[Sample]:
    labels = tuple(sorted((name, value) for name, value in decoded.labels if value))
    names = [name for name, _ in labels]
    if "__name__" not in names:
        raise MalformedError("a series without a name", position)
    if len(set(names)) != len(names):
        raise MalformedError("a series that has a label twice", position)
    out.histograms += len(decoded.histograms)
    out.exemplars += len(decoded.exemplars)
    if not decoded.samples:
        return
    key = encode_labels(labels)
    series = known.get(key) or create(key)
    for value, timestamp_ms in decoded.samples:
        yield series, timestamp_ms, value


def _parse_metadata(data: bytes, start: int, end: int) -> tuple[str, Metadata]:
    family, metadata = "", Metadata()
    try:
        for tag, number, at, behind in fields(data, start, end):
            if tag == 0x08:
                metadata.kind = number
            elif tag == 0x12:
                family = data[at:behind].decode()
            elif tag == 0x22:
                metadata.help = data[at:behind].decode()
            elif tag == 0x2A:
                metadata.unit = data[at:behind].decode()
    except UnicodeDecodeError as error:
        raise MalformedError("metadata that is not UTF-8", start) from error
    return family, metadata
