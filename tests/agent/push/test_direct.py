"""What a receiver gets straight from the buffer, and what is said of it after the agent was killed."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from agent.buffer import Buffer, BufferFile, Identity
from agent.part import Part
from agent.push.direct import DirectPush
from agent.push.lanes import WINDOW_BATCHES
from pipeline.log.sqlite import SqliteLog
from pipeline.send.config import RemoteWriteConfig
from pipeline.send.remote_write import RemoteWrite
from pipeline.telemetry import AgentMetrics, LogMetrics
from pipeline.wire import snappy
from tests.e2e.processes import until
from tests.ingester.parts import labels, payload_of
from tests.servers.prometheus import Prometheus

LANE, NAME = 0, "receiver"


@contextlib.asynccontextmanager
async def buffer_at(folder: Path, *others: str, max_age_s: float = 3600) -> AsyncIterator[Buffer]:
    registry = CollectorRegistry()
    log = SqliteLog(folder, LogMetrics(registry))
    buffer = Buffer(BufferFile(log, Identity("c1", "a1", 1)), [NAME, *others], AgentMetrics(registry), max_age_s)
    await buffer.start()
    yield buffer
    await buffer.close()


def batch(number: int) -> Part:
    at_ms = int(time.time() * 1000) - 600_000 + 1000 * number
    payload = payload_of([(labels("m", cluster="c1"), at_ms, float(number))])
    return Part(payload, 1, snappy.decompressed_bytes(payload), at_ms, at_ms)


async def push_all(buffer: Buffer, url: str) -> None:
    """Push until everything is acknowledged, and end without writing that down: as a killed agent would."""
    client = RemoteWrite(RemoteWriteConfig(url=url), user_agent="test")
    pushing = asyncio.create_task(DirectPush(NAME, buffer, client, buffer.metrics).run())
    buffer.changed(NAME).set()
    try:
        async with asyncio.timeout(60):
            await until(lambda: _is_done(buffer), "everything is acknowledged")
    finally:
        pushing.cancel()
        await asyncio.gather(pushing, return_exceptions=True)


async def _is_done(buffer: Buffer) -> bool:
    return buffer.acknowledged(NAME) == buffer.ends()


@pytest.mark.prometheus
async def test_a_lane_goes_on_behind_what_was_evicted_for_another_destination(
    tmp_path: Path, prometheus: Prometheus
) -> None:
    count = 5 * WINDOW_BATCHES
    async with buffer_at(tmp_path / "buffer", "down", max_age_s=0) as buffer:
        await buffer.put(LANE, [batch(n) for n in range(count)])
        buffer.acknowledge(NAME, LANE, WINDOW_BATCHES + 4)
        await until(lambda: _evicted(buffer, count - WINDOW_BATCHES), "what may go is evicted")
        await buffer.put(LANE, [batch(count), batch(count + 1)])
        await push_all(buffer, prometheus.write_url)
    stored = await prometheus.samples("m", end_s=time.time(), window_s=3600)
    assert [value for _, value in next(iter(stored.values()))] == [count, count + 1]


async def _evicted(buffer: Buffer, samples: int) -> bool:
    await buffer.evict_old()
    return bool(buffer.metrics.evicted._value.get() == samples)


@pytest.mark.prometheus
async def test_what_a_killed_agent_had_delivered_is_not_said_to_be_lost(tmp_path: Path) -> None:
    async with Prometheus(tmp_path / "prometheus") as prometheus:
        async with buffer_at(tmp_path / "buffer") as buffer:
            await buffer.put(LANE, [batch(n) for n in range(5 * WINDOW_BATCHES)])
            await push_all(buffer, prometheus.write_url)
        async with buffer_at(tmp_path / "buffer") as buffer:
            assert buffer.acknowledged(NAME)[LANE] >= 4 * WINDOW_BATCHES
            await push_all(buffer, prometheus.write_url)
            assert buffer.metrics.refused.labels(NAME)._value.get() == 0
        stored = await prometheus.samples("m", end_s=time.time(), window_s=3600)
        assert [value for _, value in next(iter(stored.values()))] == [float(n) for n in range(5 * WINDOW_BATCHES)]
