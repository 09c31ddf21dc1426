"""Metrics in a real Elasticsearch and a real OpenSearch."""

import struct
from typing import Any

import pytest

from pipeline.send.request import Piece
from pipeline.wire import snappy
from pipeline.wire.envelope import METRICS_ENCODING, Signal
from pipeline.wire.histogram import Histogram
from pipeline.wire.protobuf import encode_bytes, encode_varint
from pipeline.wire.remote_write import (
    HISTOGRAM,
    STALE_NAN,
    decode,
    encode_labels,
    encode_sample,
    encode_series,
)
from tests.ingester.sinks.elasticsearch.parts import CREATED_MS, DAY, piece_of, running, section
from tests.servers.search import SearchServer

Value = float | bytes


@pytest.fixture(
    params=[
        pytest.param("elasticsearch", marks=pytest.mark.elasticsearch),
        pytest.param("opensearch", marks=pytest.mark.opensearch),
    ]
)
def server(request: pytest.FixtureRequest) -> SearchServer:
    found: SearchServer = request.getfixturevalue(request.param)
    return found


def series(name: str, *samples: tuple[int, Value], **labels: str) -> bytes:
    pairs = sorted({"__name__": name, **labels}.items())
    values = [(at, value if isinstance(value, bytes) else struct.pack("<d", value)) for at, value in samples]
    return encode_series(encode_labels(pairs) + b"".join(encode_sample(value, at) for at, value in values))


def record(*parts: bytes, items: int, **envelope: Any) -> Piece:
    payload = snappy.compress(b"".join(parts))
    return piece_of(payload, items, Signal.METRICS, encoding=METRICS_ENCODING, **envelope)


async def test_samples_that_share_labels_and_time_are_one_document_however_often_they_come(
    server: SearchServer,
) -> None:
    piece = record(
        series("load", (CREATED_MS, 0.5), (CREATED_MS + 1000, 1e300), instance="a"),
        series("up", (CREATED_MS, 1), instance="a"),
        series("up", (CREATED_MS, 1), instance="b"),
        items=4,
    )
    async with running(section(server.url, signal="metrics")) as run:
        for _ in range(2):
            assert (await run.deliver(piece)).delivered == 4
        found = await server.documents(run.indices)
        query = {"size": 0, "aggs": {"load": {"avg": {"field": "metrics.load"}}}}
        answer = await server.request("POST", f"/{run.indices}/_search", query)
    assert {document["_index"] for document in found} == {f"{run.config.index_prefix}-metrics-default-{DAY}"}
    sources = sorted((d["_source"] for d in found), key=lambda s: (s["labels"]["instance"], s["@timestamp"]))
    common = {"orchestrator.cluster.name": "c1", "event.dataset": "default"}
    first, second = "2026-09-21T14:13:20.000Z", "2026-09-21T14:13:21.000Z"
    assert sources == [
        {**common, "labels": {"instance": "a"}, "@timestamp": first, "metrics": {"load": 0.5, "up": 1.0}},
        {**common, "labels": {"instance": "a"}, "@timestamp": second, "metrics": {"load": 1e300}},
        {**common, "labels": {"instance": "b"}, "@timestamp": first, "metrics": {"up": 1.0}},
    ]
    assert answer["aggregations"]["load"]["value"] == 5e299


async def test_values_that_json_cannot_carry_are_words_and_histograms_are_kept(server: SearchServer) -> None:
    histogram = Histogram(count=3, sum=struct.pack("<d", 1.5), schema=3, positive=[(0, 1), (4, 2)])
    message = histogram.encode() + b"\x78" + encode_varint(CREATED_MS)
    native = encode_series(encode_labels([("__name__", "rpc"), ("i", "a")]) + encode_bytes(HISTOGRAM, message))
    piece = record(
        series("nan", (CREATED_MS, float("nan")), i="a"),
        series("above", (CREATED_MS, float("inf")), i="a"),
        series("below", (CREATED_MS, float("-inf")), i="a"),
        series("gone", (CREATED_MS, STALE_NAN), i="a"),
        native,
        items=5,
    )
    async with running(section(server.url, signal="metrics")) as run:
        assert (await run.deliver(piece)).delivered == 5
        (document,) = await server.documents(run.indices)
        assert await server.documents(run.indices, {"term": {"special.gone": "stale"}})
    source = document["_source"]
    assert source["special"] == {"nan": "NaN", "above": "+Inf", "below": "-Inf", "gone": "stale"}
    assert source["metrics"] == {"rpc_count": 3.0, "rpc_sum": 1.5}
    assert source["histograms"]["rpc"]["positive"] == {"0": 1, "4": 2}


async def test_a_sample_that_the_store_refuses_is_given_back_with_those_of_its_document(server: SearchServer) -> None:
    year_10000_ms = 253_402_300_800_000
    piece = record(
        series("a", (CREATED_MS, 1), (year_10000_ms, 2), i="x"),
        series("b", (year_10000_ms, 3), i="x"),
        series("c", (year_10000_ms, 4), (CREATED_MS, 5), i="y"),
        items=5,
    )
    async with running(section(server.url, signal="metrics")) as run:
        tally = await run.deliver(piece)
        assert (tally.delivered, tally.refused) == (2, 3)
        assert await server.count(run.indices) == 2
    ((letter, refusal),) = run.refused
    assert refusal.status == 400 and "@timestamp" in refusal.reason
    back = [(dict(s.labels)["__name__"], s.samples) for s in decode(snappy.decompress(letter.payload))]
    assert back == [
        ("a", [(struct.pack("<d", 2), year_10000_ms)]),
        ("b", [(struct.pack("<d", 3), year_10000_ms)]),
        ("c", [(struct.pack("<d", 4), year_10000_ms)]),
    ]


@pytest.mark.elasticsearch
async def test_names_with_dots_and_names_beyond_the_bound_are_kept(elasticsearch: SearchServer) -> None:
    dotted = [series("http.server", (CREATED_MS, 1), i="a"), series("http.server.duration", (CREATED_MS, 2), i="a")]
    many = [series(f"m{n}", (CREATED_MS, n), i="a") for n in range(200)]
    async with running(section(elasticsearch.url, signal="metrics", max_fields=100)) as run:
        assert (await run.deliver(record(*dotted, *many, items=202))).delivered == 202
        (document,) = await elasticsearch.documents(run.indices)
        assert len(document["_source"]["metrics"]) == 202
        mapping = await elasticsearch.request("GET", f"/{run.indices}/_mapping")
        ((_, index),) = mapping.items()
        assert len(index["mappings"]["properties"]["metrics"]["properties"]) < 100


@pytest.mark.opensearch
async def test_opensearch_refuses_documents_with_names_beyond_the_bound(opensearch: SearchServer) -> None:
    many = [series(f"m{n}", (CREATED_MS, n), i=f"i{n // 50}") for n in range(200)]
    async with running(section(opensearch.url, signal="metrics", max_fields=100)) as run:
        tally = await run.deliver(record(*many, items=200))
    assert (tally.delivered, tally.refused) == (50, 150)
    assert all("fields" in refusal.reason for _, refusal in run.refused)
