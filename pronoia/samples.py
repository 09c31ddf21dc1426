"""What a scrape sends, decoded again for people and programs to read: a line for each sample."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from agent.part import Part
from pipeline.wire import snappy
from pipeline.wire.exposition import MetricType
from pipeline.wire.histogram_read import read_written
from pipeline.wire.protobuf import fields
from pipeline.wire.remote_write import METADATA, Exemplar, Labels, decode, unpack_double
from pronoia import histograms
from pronoia.histograms import format_value

_SUFFIXES = {
    MetricType.COUNTER: ("_total", "_created"),
    MetricType.HISTOGRAM: ("_bucket", "_sum", "_count", "_created"),
    MetricType.GAUGEHISTOGRAM: ("_bucket", "_gsum", "_gcount"),
    MetricType.SUMMARY: ("_sum", "_count", "_created"),
    MetricType.INFO: ("_info",),
}
"""What a sample's name has behind its family's, by type (OpenMetrics 1.0, "Suffixes")."""


def samples(parts: Iterable[Part]) -> Iterator[dict[str, Any]]:
    """Yield each sample of a scrape: labels, value as text, timestamp (Unix milliseconds), type, exemplar or None.

    A native histogram has `histogram` instead of a value, and all of its `exemplars`.
    """
    requests = [snappy.decompress(part.payload) for part in parts]
    types = {name: kind for request in requests for name, kind in _types(request)}
    decoded = [series for request in requests for series in decode(request)]
    exemplars: dict[Labels, list[Exemplar]] = {}
    for series in decoded:
        exemplars.setdefault(series.labels, []).extend(series.exemplars)
    for series in decoded:
        kind = type_of(dict(series.labels).get("__name__", ""), types)
        waiting = exemplars[series.labels]
        for encoded in series.histograms:
            histogram, timestamp_ms = read_written(encoded)
            yield {
                "labels": dict(series.labels),
                "histogram": histograms.as_json(histogram),
                "timestamp": timestamp_ms,
                "type": kind.name.lower(),
                "exemplars": [_exemplar(exemplar) for exemplar in waiting],
            }
        for value, timestamp_ms in series.samples:
            yield {
                "labels": dict(series.labels),
                "value": format_value(unpack_double(value)[0]),
                "timestamp": timestamp_ms,
                "type": kind.name.lower(),
                "exemplar": _exemplar(waiting.pop(0)) if waiting else None,
            }


def _exemplar(exemplar: Exemplar) -> dict[str, Any]:
    return {
        "labels": dict(exemplar.labels),
        "value": format_value(unpack_double(exemplar.value)[0]),
        "timestamp": exemplar.timestamp_ms,
    }


def _types(request: bytes) -> Iterator[tuple[str, MetricType]]:
    for tag, _, start, end in fields(request):
        if tag == METADATA:
            kind, name = 0, ""
            for inner, number, at, behind in fields(request, start, end):
                if inner == 0x08:
                    kind = number
                elif inner == 0x12:
                    name = request[at:behind].decode()
            yield name, MetricType(kind)


def type_of(metric: str, types: dict[str, MetricType]) -> MetricType:
    """Return a metric's type: that of the family of its name, or of the family it is a part of."""
    if metric in types:
        return types[metric]
    for kind, suffixes in _SUFFIXES.items():
        for suffix in suffixes:
            if metric.endswith(suffix) and types.get(metric.removesuffix(suffix)) is kind:
                return kind
    return MetricType.UNKNOWN


def as_text(sample: dict[str, Any]) -> str:
    """Write a sample the way exposition pages do, with its type behind."""
    labels = dict(sample["labels"])
    name = labels.pop("__name__", "")
    pairs = ",".join(f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in labels.items())
    shown = f"{name}{{{pairs}}}" if pairs else name
    value = sample["value"] if "value" in sample else histograms.as_text(sample["histogram"])
    return f"{shown} {value} {sample['timestamp']} # {sample['type']}"
