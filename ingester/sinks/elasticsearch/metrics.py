"""Metrics as documents: one for all samples of a record that have the same time and, but for the name, the same labels.

    {"orchestrator.cluster.name": "c1", "event.dataset": "default", "labels": {"job": "node", "cpu": "0"},
     "@timestamp": "2026-01-31T12:00:00.000Z", "metrics": {"node_load1": 0.5}, "special": {"node_x": "NaN"},
     "histograms": {"rpc_seconds": {"count": 3, "sum": 1.5, "schema": 3, …}}}

JSON has no NaN and no infinity, and doubles in the store neither: such values, and the markers that end a series, are
words in `special`. A native histogram's count and sum are metrics beside, `…_count` and `…_sum`; the buckets are kept
and not indexed. The first sample of a series at a time counts, as in Prometheus.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import isfinite, isnan
from typing import Any, Final, NamedTuple

from ingester.sinks.elasticsearch.config import ElasticsearchConfig
from ingester.sinks.elasticsearch.documents import Built, Owner, Part, second, to_json
from ingester.sinks.elasticsearch.naming import id_prefix, index_of, ordinals
from pipeline.send.request import Piece
from pipeline.wire import snappy
from pipeline.wire.errors import MalformedError
from pipeline.wire.histogram import Buckets
from pipeline.wire.histogram_read import read_written
from pipeline.wire.protobuf import decode_varint, fields
from pipeline.wire.remote_write import (
    HISTOGRAM,
    LABEL,
    SAMPLE,
    STALE_NAN,
    TIMESERIES,
    decode_series,
    encode_series,
    signed,
    unpack_double,
)

_MAX_KNOWN_BYTES: Final = 32 * 2**20
_USUAL: Final = re.compile(rb"\x12[\x0b-\x11]\x09(.{8})\x10([\x80-\xff]{0,5}[\x00-\x7f])", re.DOTALL)
"""A sample as everybody encodes it: its value and its time."""


class _Series(NamedTuple):
    """A series: its name in JSON, and what its documents begin with up to the time."""

    name: str
    dataset: str
    source: bytes


class _Item(NamedTuple):
    """A sample (its eight bytes) or a histogram (its message), and where its field stands."""

    at_ms: int
    value: bytes
    is_histogram: bool
    start: int
    end: int


@dataclass(slots=True)
class _Document:
    """What a document is made of; the first of each name stays."""

    series: _Series
    at_ms: int
    metrics: dict[str, float] = field(default_factory=dict)
    special: dict[str, str] = field(default_factory=dict)
    histograms: dict[str, Any] = field(default_factory=dict)

    def add(self, name: str, item: _Item) -> None:
        if item.is_histogram:
            self._add_histogram(name, item.value)
        else:
            self._add_value(name, item.value)

    def source(self) -> bytes:
        whole, ms = divmod(self.at_ms, 1000)
        parts = {"metrics": self.metrics, "special": self.special, "histograms": self.histograms}
        more = to_json({name: part for name, part in parts.items() if part})
        return b'%b%b.%03dZ",%b\n' % (self.series.source, second(whole), ms, more[1:])

    def _add_value(self, name: str, value: bytes) -> None:
        (number,) = unpack_double(value)
        if isfinite(number):
            self.metrics.setdefault(name, number)
        elif value == STALE_NAN:
            self.special.setdefault(name, "stale")
        else:
            self.special.setdefault(name, _words(number))

    def _add_histogram(self, name: str, message: bytes) -> None:
        found, _ = read_written(message)
        (total,) = unpack_double(found.sum)
        if found.sum == STALE_NAN:
            self.special.setdefault(name, "stale")
            return
        self.metrics.setdefault(f"{name}_count", float(found.count))
        self._add_value(f"{name}_sum", found.sum)
        whole = {
            "count": found.count,
            "sum": total if isfinite(total) else _words(total),
            "schema": found.schema,
            "zero_threshold": found.zero_threshold,
            "zero_count": found.zero_count,
            "negative": _buckets(found.negative),
            "positive": _buckets(found.positive),
            "custom_values": list(found.custom),
        }
        self.histograms.setdefault(name, {key: part for key, part in whole.items() if part not in ([], {})})


@dataclass(slots=True)
class MetricDocuments:
    """A `Documents` of metrics."""

    config: ElasticsearchConfig
    _known: dict[tuple[Owner, bytes], _Series] = field(default_factory=dict)
    _known_bytes: int = 0

    def build(self, piece: Piece) -> Built:
        """Make the documents, in the order in which their first samples come."""
        envelope = piece.envelope
        assert envelope is not None
        created_ms = None if self.config.data_stream else envelope.created_ms
        made: dict[tuple[bytes, int], _Document] = {}
        raw = snappy.decompress(piece.payload)
        for series, _, items in self._walk(raw, Owner.of(envelope)):
            for item in items:
                document = made.get((series.source, item.at_ms))
                if document is None:
                    document = made[series.source, item.at_ms] = _Document(series, item.at_ms)
                document.add(series.name, item)
        prefix, numbers = id_prefix(envelope, piece.payload), ordinals(envelope.first_item)
        out: list[bytes] = []
        indices: dict[str, bytes] = {}
        for document, number in zip(made.values(), numbers, strict=False):
            action = indices.get(document.series.dataset)
            if action is None:
                index = index_of(self.config.index_prefix, "metrics", document.series.dataset, created_ms)
                action = indices[document.series.dataset] = b'{"create":{"_index":"%b","_id":"%b' % (
                    index.encode(),
                    prefix,
                )
            out.append(b'%b%b"}}\n%b' % (action, number, document.source()))
        names = (index_of(self.config.index_prefix, "metrics", dataset, created_ms) for dataset in indices)
        return Built(out, frozenset(names))

    def part(self, piece: Piece, numbers: Sequence[int]) -> Part:
        """Return the samples that these documents were made of, each in its series."""
        assert piece.envelope is not None
        raw, wanted, items_in = snappy.decompress(piece.payload), frozenset(numbers), 0
        number_of: dict[tuple[bytes, int], int] = {}
        out: list[bytes] = []
        for series, labels, items in self._walk(raw, Owner.of(piece.envelope)):
            chosen = [
                raw[item.start : item.end]
                for item in items
                if number_of.setdefault((series.source, item.at_ms), len(number_of)) in wanted
            ]
            if chosen:
                out.append(encode_series(labels + b"".join(chosen)))
                items_in += len(chosen)
        return Part(snappy.compress(b"".join(out)), items_in)

    def _walk(self, raw: bytes, owner: Owner) -> Iterator[tuple[_Series, bytes, Iterator[_Item]]]:
        for tag, _, start, end in fields(raw):
            if tag != TIMESERIES:
                continue
            at = start
            while at < end and raw[at] == LABEL:
                size, at = decode_varint(raw, at + 1)
                at += size
            labels = raw[start:at]
            series = self._known.get((owner, labels)) or self._learn(owner, labels)
            yield series, labels, _items(raw, at, end)

    def _learn(self, owner: Owner, labels: bytes) -> _Series:
        pairs = dict(decode_series(labels, 0, len(labels)).labels)
        name = pairs.pop("__name__", "")
        dataset = self.config.dataset_of(pairs)
        source = owner.head(dataset, pairs)
        if self._known_bytes > _MAX_KNOWN_BYTES:
            self._known.clear()
            self._known_bytes = 0
        self._known_bytes += len(labels) + len(source) + len(name) + 400
        series = self._known[owner, labels] = _Series(name, dataset, source)
        return series


def _items(raw: bytes, at: int, end: int) -> Iterator[_Item]:
    """Read a series' samples and histograms, of which each usual sample costs one match."""
    while at < end:
        found = _USUAL.match(raw, at, end)
        if found is not None and found.end() - at - 2 == raw[at + 1]:
            value, time = found.groups()
            yield _Item(decode_varint(time, 0)[0], value, False, at, found.end())
            at = found.end()
            continue
        tag, _, start, behind = next(fields(raw, at, end))
        if tag == SAMPLE:
            value, at_ms = _sample(raw, start, behind)
            yield _Item(at_ms, value, False, at, behind)
        elif tag == HISTOGRAM:
            message = raw[start:behind]
            yield _Item(read_written(message)[1], message, True, at, behind)
        elif tag == LABEL:
            raise MalformedError("a label behind the samples of its series", at)
        at = behind


def _sample(raw: bytes, start: int, end: int) -> tuple[bytes, int]:
    value, at_ms = b"\0" * 8, 0
    for tag, number, at, behind in fields(raw, start, end):
        if tag == 0x09:
            value = raw[at:behind]
        elif tag == 0x10:
            at_ms = signed(number)
    return value, at_ms


def _words(number: float) -> str:
    return "NaN" if isnan(number) else "+Inf" if number > 0 else "-Inf"


def _buckets(buckets: Buckets) -> dict[str, float]:
    """Write buckets by their index; see Prometheus' documentation of native histograms for what an index means."""
    return {str(index): count for index, count in buckets}
