"""Records of metrics as bulk bodies, byte by byte."""

import json
import math
import struct
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingester.sinks.elasticsearch.metrics import MetricDocuments
from pipeline.send.request import Piece
from pipeline.wire import snappy
from pipeline.wire.envelope import METRICS_ENCODING, Signal
from pipeline.wire.errors import MalformedError
from pipeline.wire.histogram import Histogram
from pipeline.wire.protobuf import encode_bytes, encode_varint
from pipeline.wire.remote_write import (
    EXEMPLAR,
    HISTOGRAM,
    SAMPLE,
    STALE_NAN,
    decode,
    encode_labels,
    encode_metadata,
    encode_sample,
    encode_series,
)
from tests.ingester.sinks.elasticsearch.parts import CREATED_MS, piece_of, section

Sample = tuple[int, float]


def documents(**more: Any) -> MetricDocuments:
    return MetricDocuments(section(index_prefix="pronoia", signal="metrics", **more))


def series(name: str, *samples: Sample, **labels: str) -> bytes:
    pairs = sorted({"__name__": name, **labels}.items())
    return encode_series(
        encode_labels(pairs) + b"".join(encode_sample(struct.pack("<d", value), at) for at, value in samples)
    )


def record(*parts: bytes, **envelope: Any) -> Piece:
    return piece_of(snappy.compress(b"".join(parts)), 1, Signal.METRICS, encoding=METRICS_ENCODING, **envelope)


def sources(piece: Piece) -> list[dict[str, Any]]:
    return [json.loads(document.split(b"\n")[1]) for document in documents().build(piece).documents]


def histogram(at_ms: int, found: Histogram) -> bytes:
    return encode_bytes(HISTOGRAM, found.encode() + b"\x78" + encode_varint(at_ms))


def test_a_record_is_this_body() -> None:
    piece = record(
        encode_metadata(1, "load", "help", ""),
        series("load", (1_500, 0.5), (2_000, 1e300), i='"a"'),
        series("up", (1_500, 1.0), i='"a"'),
        series("nan", (1_500, math.inf), i='"a"'),
        series("up", (1_500, 0.0), i="b"),
        first_item=4095,
    )
    built = documents().build(piece)
    assert built.indices == {"pronoia-metrics-default-2026.09.21"}
    start = b'{"create":{"_index":"pronoia-metrics-default-2026.09.21","_id":"JS0AFkgBI4J_9wAAAAAAAAAA'
    head = b'{"orchestrator.cluster.name":"c1","event.dataset":"default","labels":{"i":'
    assert list(built.documents) == [
        start
        + b'AA__"}}\n'
        + head
        + rb'"\"a\""},"@timestamp":"1970-01-01T00:00:01.500Z","metrics":{"load":0.5,"up":1.0},"special":{"nan":"+Inf"}}'
        + b"\n",
        start
        + b'ABAA"}}\n'
        + head
        + rb'"\"a\""},"@timestamp":"1970-01-01T00:00:02.000Z","metrics":{"load":1e300}}'
        + b"\n",
        start + b'ABAB"}}\n' + head + b'"b"},"@timestamp":"1970-01-01T00:00:01.500Z","metrics":{"up":0.0}}\n',
    ]


def test_the_first_sample_of_a_series_at_a_time_counts() -> None:
    piece = record(series("up", (1, 1.0), (1, 2.0), i="a"), series("up", (1, 3.0), i="a"))
    assert [source["metrics"] for source in sources(piece)] == [{"up": 1.0}]


def test_a_native_histogram_is_its_count_its_sum_and_its_buckets() -> None:
    found = Histogram(
        is_float=True, count=3.5, sum=struct.pack("<d", math.nan), schema=-53, positive=[(0, 1.5), (2, 2.0)],
        negative=[(-1, 1.0)], zero_threshold=0.1, zero_count=1.0, custom=(1.0, 5.0),
    )  # fmt: skip
    labels = encode_labels([("__name__", "rpc"), ("i", "a")])
    stale = Histogram(sum=STALE_NAN)
    (first, second) = sources(record(encode_series(labels + histogram(5, found) + histogram(6, stale))))
    assert first["metrics"] == {"rpc_count": 3.5}
    assert first["special"] == {"rpc_sum": "NaN"}
    assert first["histograms"]["rpc"] == {
        "count": 3.5,
        "sum": "NaN",
        "schema": -53,
        "zero_threshold": 0.1,
        "zero_count": 1.0,
        "negative": {"-1": 1.0},
        "positive": {"0": 1.5, "2": 2.0},
        "custom_values": [1.0, 5.0],
    }
    assert second["special"] == {"rpc": "stale"} and "metrics" not in second


def test_a_classic_histograms_own_count_stays() -> None:
    native = encode_labels([("__name__", "rpc")]) + histogram(5, Histogram(count=2, positive=[(0, 2)]))
    (source,) = sources(record(series("rpc_count", (5, 9.0)), encode_series(native)))
    assert source["metrics"] == {"rpc_count": 9.0, "rpc_sum": 0.0}


def test_samples_in_any_encoding_are_read() -> None:
    labels = encode_labels([("__name__", "up")])
    value = b"\x09" + struct.pack("<d", 2.0)
    odd = [
        encode_bytes(SAMPLE, b"\x10\x07" + value),
        encode_bytes(SAMPLE, value + b"\x10\x88\x00"),
        encode_bytes(SAMPLE, value),
        encode_bytes(SAMPLE, b"\x10\x09"),
        encode_bytes(SAMPLE, value + b"\x10" + encode_varint(-1)),
        encode_bytes(SAMPLE, value + b"\x10\x0a\x7a\x01x"),
        encode_bytes(EXEMPLAR, b""),
    ]
    found = sources(record(encode_series(labels + b"".join(odd))))
    assert [(source["@timestamp"][-13:], source["metrics"]["up"]) for source in found] == [
        ("00:00:00.007Z", 2.0),
        ("00:00:00.008Z", 2.0),
        ("00:00:00.000Z", 2.0),
        ("00:00:00.009Z", 0.0),
        ("23:59:59.999Z", 2.0),
        ("00:00:00.010Z", 2.0),
    ]


@pytest.mark.parametrize(
    "raw",
    [
        b"\x0a\x05",
        encode_series(encode_bytes(SAMPLE, b"\x09abc")),
        encode_series(encode_labels([("a", "b")]) + encode_bytes(HISTOGRAM, b"\x09")),
        encode_series(encode_sample(b"\0" * 8, 1) + encode_labels([("a", "b")])),
        encode_series(encode_bytes(0x0A, b"\x0a\x01a\x12\x01\xff")),
    ],
)
def test_what_is_no_request_is_malformed(raw: bytes) -> None:
    with pytest.raises(MalformedError):
        documents().build(record(raw))


NAMES, TIMES = st.sampled_from(["a", "b", "c.d"]), st.sampled_from([0, CREATED_MS, CREATED_MS + 1, -1])
LABELS = st.dictionaries(st.sampled_from(["i", "j"]), st.sampled_from(["x", "y"]))
VALUES = st.floats() | st.just(struct.unpack("<d", STALE_NAN)[0])
RECORDS = st.lists(st.tuples(NAMES, LABELS, st.lists(st.tuples(TIMES, VALUES), max_size=4)), max_size=8)


@given(RECORDS)
def test_documents_say_what_the_codec_reads(parts: list[tuple[str, dict[str, str], list[Sample]]]) -> None:
    piece = record(*(series(name, *samples, **labels) for name, labels, samples in parts))
    expected: dict[tuple[str, int], set[str]] = {}
    for found in decode(snappy.decompress(piece.payload)):
        labels = dict(found.labels)
        name = labels.pop("__name__")
        for _, at_ms in found.samples:
            expected.setdefault((json.dumps(labels), at_ms), set()).add(name)
    names = [{*source.get("metrics", {}), *source.get("special", {})} for source in sources(piece)]
    assert names == list(expected.values())


@given(RECORDS, st.sets(st.integers(0, 12)))
def test_parts_hold_each_sample_once(parts: list[tuple[str, dict[str, str], list[Sample]]], chosen: set[int]) -> None:
    piece = record(*(series(name, *samples, **labels) for name, labels, samples in parts))
    made = documents()
    count = len(made.build(piece).documents)
    wanted = sorted(number for number in chosen if number < count)
    others = sorted({*range(count)} - {*wanted})
    both = [made.part(piece, numbers) for numbers in (wanted, others)]
    there: Counter[Any] = Counter()
    for part in both:
        found = [(s.labels, sample) for s in decode(snappy.decompress(part.payload)) for sample in s.samples]
        assert len(found) == part.items
        there.update(found)
    every = [(s.labels, sample) for s in decode(snappy.decompress(piece.payload)) for sample in s.samples]
    assert there == Counter(every)
    assert len(made.build(record(snappy.decompress(both[0].payload))).documents) == len(wanted)
