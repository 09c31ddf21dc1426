"""Logs and metrics from Kafka through an ingester's process into Elasticsearch and OpenSearch, each line once."""

from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from pipeline.log.config import LogConfig
from pipeline.log.interface import Partition
from pipeline.log.open import open_log
from pipeline.send.request import Piece
from pipeline.telemetry import LogMetrics
from pipeline.wire.envelope import to_headers
from tests.e2e.processes import Fleet, until
from tests.ingester.sinks.elasticsearch.parts import CREATED_MS, LogLane
from tests.ingester.sinks.elasticsearch.test_real_metrics import record, series
from tests.servers.elasticsearch import Elasticsearch
from tests.servers.kafka import Kafka
from tests.servers.opensearch import OpenSearch

pytestmark = [pytest.mark.kafka, pytest.mark.elasticsearch, pytest.mark.opensearch]

LANES, BATCHES, LINES = 6, 40, 100


async def write(kafka: Kafka, prefix: str, signal: str, pieces: list[Piece]) -> None:
    """Append records as a gateway does, a lane to a partition."""
    config = LogConfig(kafka=kafka.config(topic_prefix=prefix, partitions=LANES))
    log = open_log(config, LogMetrics(CollectorRegistry()))
    await log.start()
    try:
        await log.ensure_topic(config.topic(signal))
        for piece in pieces:
            assert piece.envelope is not None
            at = Partition(prefix + signal, piece.envelope.lane % LANES)
            await (await log.append(at, to_headers(piece.envelope), piece.payload))
    finally:
        await log.close()


def sink(name: str, url: str, **more: Any) -> dict[str, Any]:
    section = {"hosts": [url], "index_prefix": "e2e", "replicas": 0, **more}
    return {"name": name, "window": 2000, "request_items": 500, "elasticsearch": section}


def counts(status: dict[str, Any], signal: str, name: str) -> dict[str, Any]:
    for cluster in status["clusters"]:
        if cluster["name"] == "c1" and name in cluster["signals"].get(signal, {}).get("sinks", {}):
            return dict(cluster["signals"][signal]["sinks"][name])
    return {}


async def test_lines_are_in_both_stores_once_though_the_ingester_is_killed(
    kafka: Kafka, elasticsearch: Elasticsearch, opensearch: OpenSearch, tmp_path: Path
) -> None:
    lanes = [LogLane(lane=number) for number in range(LANES)]
    pieces: list[Piece] = []
    expected: set[str] = set()
    for batch in range(BATCHES):
        for lane in lanes:
            lines = [b"lane %d line %06d" % (lane.lane, batch * LINES + n) for n in range(LINES)]
            expected.update(line.decode() for line in lines)
            pieces.append(lane.lines(lines))
    pieces.append(lanes[0].batch([({"cluster": "c1"}, [(-1, b"before 1970"), (CREATED_MS * 10**6, b"last")])]))
    expected.add("last")
    total = LANES * BATCHES * LINES + 2
    await write(kafka, "elastic.", "logs", pieces)
    stores = {"elastic": elasticsearch, "open": opensearch}
    async with Fleet(tmp_path, [kafka.address], partitions=LANES, prefix="elastic.") as fleet:
        ingester = fleet.add_ingester("ingester", sinks=[sink(name, store.url) for name, store in stores.items()])
        for lines_there in (2000, 8000):
            await ingester.start()

            async def some_are_there(enough: int = lines_there) -> bool:
                return await elasticsearch.count("e2e-logs-*") >= enough

            await until(some_are_there, f"{lines_there} lines in Elasticsearch")
            await ingester.process.kill()
        await ingester.start()

        async def all_settled() -> bool:
            status = await fleet.status()
            return all(counts(status, "logs", name).get("delivered", 0) >= total - 1 for name in stores)

        await until(all_settled, "every line settled", 120)
        status = await fleet.status()
        for name, store in stores.items():
            found = counts(status, "logs", name)
            assert {key: found[key] for key in ("delivered", "rejected", "missing", "duplicated")} == {
                "delivered": total - 1,
                "rejected": 1,
                "missing": 0,
                "duplicated": 0,
            }, fleet.tails()
            assert await store.count("e2e-logs-*") == len(expected)
            there: set[str] = set()
            for number in range(LANES):
                query = {"match": {"message": {"query": f"lane {number} line", "operator": "and"}}}
                there |= {document["_source"]["message"] for document in await store.documents("e2e-logs-*", query)}
            last = await store.documents("e2e-logs-*", {"term": {"message": "last"}})
            assert there | {document["_source"]["message"] for document in last} == expected
        status_code, text = await ingester.get("/api/v1/dead-letters")
        assert status_code == 200 and text.count('"status": 400') == 2 and "@timestamp" in text


async def test_metrics_arrive_from_kafka(kafka: Kafka, elasticsearch: Elasticsearch, tmp_path: Path) -> None:
    pieces = [
        record(*(series(f"m{n}", (CREATED_MS + at * 1000, n), i="a") for n in range(50)), items=50, sequence=at,
               lane_items=at * 50)
        for at in range(20)
    ]  # fmt: skip
    await write(kafka, "elastic-m.", "metrics", pieces)
    async with Fleet(tmp_path, [kafka.address], partitions=LANES, prefix="elastic-m.") as fleet:
        fleet.add_ingester("ingester", sinks=[sink("elastic", elasticsearch.url, signal="metrics")])
        await fleet.start()

        async def all_there() -> bool:
            return bool(counts(await fleet.status(), "metrics", "elastic").get("delivered") == 1000)

        await until(all_there, "every sample delivered")
        documents = await elasticsearch.documents("e2e-metrics-*")
        assert len(documents) == 20
        assert all(len(document["_source"]["metrics"]) == 50 for document in documents)
