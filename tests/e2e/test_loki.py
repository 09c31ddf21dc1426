"""From Kafka to Loki: an ingester that is killed with -9 again and again, and every line once all the same."""

import asyncio
import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from pipeline.log.config import LogConfig
from pipeline.log.interface import Log, Partition
from pipeline.log.open import open_log
from pipeline.telemetry import LogMetrics
from tests.e2e.processes import Fleet, until
from tests.ingester.parts import append
from tests.ingester.sinks.test_loki import LogLane
from tests.pipeline.send.loki.pushes import HOUR, stream
from tests.servers.kafka import Kafka
from tests.servers.loki import Loki

pytestmark = [pytest.mark.kafka, pytest.mark.loki]

LANES = 3
BATCHES = 40
LINES = 500
UNLIMITED = {"ingestion_rate_mb": 1000, "ingestion_burst_size_mb": 1000, "per_stream_rate_limit": "1GB"}


@pytest.fixture
async def fleet(tmp_path: Path, kafka: Kafka) -> AsyncIterator[Fleet]:
    async with Fleet(tmp_path, [kafka.address], prefix=f"{tmp_path.name}.", partitions=LANES) as fleet:
        yield fleet


async def _fill(log: Log, prefix: str, lanes: list[LogLane], batches: int) -> None:
    for _ in range(batches):
        for lane in lanes:
            now_ns, first = time.time_ns(), lane.items
            # Longer than Loki's blocks in all, so that Loki itself does not notice what comes twice.
            lines = ((now_ns + n, f"lane {lane.lane} {first + n:06d} " + "x" * 200) for n in range(LINES))
            batch = lane.batch(stream(f"app{lane.lane}", lines, cluster=lane.cluster))
            await append(log, Partition(f"{prefix}logs", lane.lane), batch)


async def test_a_killed_ingester_loses_nothing_and_counts_nothing_twice(
    tmp_path: Path, kafka: Kafka, fleet: Fleet
) -> None:
    async with Loki(tmp_path / "loki", limits=UNLIMITED) as loki:
        ingester = fleet.add_ingester("ingester", sinks=[{"name": "loki", "loki": {"url": loki.push_url}}])
        given = {"brokers": fleet.brokers, "topic_prefix": fleet.prefix, "partitions": LANES, "replication": 1}
        config = LogConfig.model_validate({"kafka": {**given, "min_in_sync": 1}})
        log = open_log(config, LogMetrics(CollectorRegistry()))
        await log.start()
        lanes = [LogLane("c1", lane=number) for number in range(LANES)]
        try:
            await log.ensure_topic(config.topic("logs"))
            await fleet.start()
            filling = asyncio.create_task(_fill(log, fleet.prefix, lanes, BATCHES))
            for _ in range(5):
                await until(partial(_more, fleet, await _delivered(fleet)), "the ingester delivers")
                await ingester.process.kill()
                await ingester.start()
            await loki.kill()
            await loki.restart()
            await filling
            wanted = LANES * BATCHES * LINES
            await until(partial(_more, fleet, wanted - 1), "everything is delivered", deadline_s=120.0)
        finally:
            await log.close()
        now_ns = time.time_ns()
        found = await loki.entries('{app=~"app.*"}', start_ns=now_ns - HOUR, end_ns=now_ns + HOUR)
        expected = sorted(f"lane {n} {i:06d} " + "x" * 200 for n in range(LANES) for i in range(BATCHES * LINES))
        assert sorted(entry.line for entry in found) == expected
        # Unlike a query of entries, one that counts does not hide what is stored twice.
        assert await loki.count('{app=~"app.*"}', end_ns=now_ns + HOUR, window_s=7200) == wanted
        counts = await _counts(fleet)
        assert (counts["rejected"], counts["missing"], counts["duplicated"]) == (0, 0, 0)


async def _counts(fleet: Fleet) -> dict[str, Any]:
    for cluster in (await fleet.status())["clusters"]:
        counts: dict[str, Any] = cluster["signals"]["logs"]["sinks"]["loki"]
        return counts
    return {"delivered": 0}


async def _delivered(fleet: Fleet) -> int:
    return int((await _counts(fleet))["delivered"])


async def _more(fleet: Fleet, than: int) -> bool:
    return await _delivered(fleet) > than
