"""io.prometheus.client (client_model, metrics.proto) through the official protobuf runtime: pages that others encoded.

page = encode(family("up", GAUGE, {"label": [{"name": "a", "value": "b"}], "gauge": {"value": 1.0}}))
"""

from collections.abc import Iterable
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from google.protobuf.message import Message

COUNTER, GAUGE, SUMMARY, UNTYPED, HISTOGRAM, GAUGE_HISTOGRAM = range(6)
CONTENT_TYPE: Final = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"

_FIELDS: Final = {
    "Timestamp": "1 seconds int64, 2 nanos int32",
    "LabelPair": "1 name string, 2 value string",
    "Exemplar": "1 label *LabelPair, 2 value double, 3 timestamp Timestamp",
    "Gauge": "1 value double",
    "Counter": "1 value double, 2 exemplar Exemplar, 3 start_timestamp Timestamp",
    "Quantile": "1 quantile double, 2 value double",
    "Summary": "1 sample_count uint64, 2 sample_sum double, 3 quantile *Quantile, 4 start_timestamp Timestamp",
    "Untyped": "1 value double",
    "Bucket": "1 cumulative_count uint64, 2 upper_bound double, 3 exemplar Exemplar, 4 cumulative_count_float double",
    "BucketSpan": "1 offset sint32, 2 length uint32",
    "Histogram": "1 sample_count uint64, 2 sample_sum double, 3 bucket *Bucket, 4 sample_count_float double,"
    "5 schema sint32, 6 zero_threshold double, 7 zero_count uint64, 8 zero_count_float double,"
    "9 negative_span *BucketSpan, 10 negative_delta *sint64, 11 negative_count *double,"
    "12 positive_span *BucketSpan, 13 positive_delta *sint64, 14 positive_count *double,"
    "15 start_timestamp Timestamp, 16 exemplars *Exemplar",
    "Metric": "1 label *LabelPair, 2 gauge Gauge, 3 counter Counter, 4 summary Summary, 5 untyped Untyped,"
    "7 histogram Histogram, 6 timestamp_ms int64",
    "MetricFamily": "1 name string, 2 help string, 3 type uint32, 4 metric *Metric, 5 unit string",
}
"""By message: number, name and type of each field; a star repeats it."""


def _messages(syntax: str) -> dict[str, type[Message]]:
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name=f"client_model_{syntax}.proto", package=syntax, syntax=syntax)
    for name, fields in _FIELDS.items():
        message = file.message_type.add(name=name)
        for number, field, kind in (text.split() for text in fields.split(",")):
            added = message.field.add(name=field, number=int(number))
            added.label = kinds.LABEL_REPEATED if kind.startswith("*") else kinds.LABEL_OPTIONAL
            kind = kind.removeprefix("*")
            if kind in _FIELDS:
                added.type, added.type_name = kinds.TYPE_MESSAGE, f".{syntax}.{kind}"
            else:
                added.type = kinds.Type.Value(f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{syntax}.{name}")) for name in _FIELDS}


# client_golang writes proto2: repeated numbers one by one, zeros in full. Others write proto3.
MESSAGES: Final = {syntax: _messages(syntax) for syntax in ("proto2", "proto3")}


def family(name: str, kind: int, *metrics: dict[str, Any], syntax: str = "proto3", **more: Any) -> Message:
    """Return a MetricFamily; metrics are written as protobuf's JSON has them, with the names of metrics.proto."""
    content = {"name": name, "type": kind, "metric": list(metrics), **more}
    return json_format.ParseDict(content, MESSAGES[syntax]["MetricFamily"]())


def labels(**pairs: str) -> list[dict[str, str]]:
    """Return what `label` of a metric holds."""
    return [{"name": name, "value": value} for name, value in pairs.items()]


def encode(*families: Message) -> bytes:
    """Return a page."""
    return b"".join(delimited(one.SerializeToString()) for one in families)


def delimited(content: bytes) -> bytes:
    """Return a message behind its length."""
    out, size = bytearray(), len(content)
    while size > 127:
        out.append(size & 127 | 128)
        size >>= 7
    return bytes([*out, size]) + content


def decode(page: bytes) -> Iterable[Message]:
    """Yield the families of a page."""
    at = 0
    while at < len(page):
        size = shift = 0
        while True:
            byte, at = page[at], at + 1
            size |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        yield MESSAGES["proto3"]["MetricFamily"].FromString(page[at : at + size])
        at += size
