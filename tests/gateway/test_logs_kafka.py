"""Logs through the gateway into a real Kafka: both signals on one stream, and a broker that is killed under way."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import grpc.aio
import pytest
from prometheus_client import CollectorRegistry

from gateway.config import GatewayConfig
from gateway.service import Gateway
from pipeline.log.config import LogConfig
from pipeline.log.interface import Log, Partition, Record
from pipeline.log.open import open_log
from pipeline.telemetry import LogMetrics
from pipeline.wire import snappy
from pipeline.wire.envelope import Envelope, Origin, from_headers
from pipeline.wire.push_pb2 import Ack
from tests.gateway.logs import lines_of, logs_batch, own_line
from tests.gateway.running import BEARER, batch, own, stream
from tests.servers.kafka import Kafka

pytestmark = pytest.mark.kafka

PARTITIONS = 3
PROTOBUF = {"Content-Type": "application/x-protobuf"}


@asynccontextmanager
async def over(kafka: Kafka) -> AsyncIterator[tuple[Gateway, Log, LogConfig]]:
    """Run a gateway over topics of its own."""
    log_config = LogConfig(kafka=kafka.config(partitions=PARTITIONS))
    values = {
        "log": log_config,
        "clusters": [{"name": "c1", "tokens": ["secret-1"]}],
        "listen": {"http": "127.0.0.1:0", "grpc": "127.0.0.1:0"},
        "name": "gw",
    }
    registry = CollectorRegistry()
    log = open_log(log_config, LogMetrics(registry))
    await log.start()
    gateway = Gateway(GatewayConfig.model_validate(values), log, registry)
    try:
        await gateway.start()
        assert gateway.ready() is None
        yield gateway, log, log_config
    finally:
        await gateway.drain()
        await log.close()


async def records(log: Log, config: LogConfig, signal: str) -> list[tuple[Envelope, Record]]:
    """Return what a signal's topic holds, partition by partition."""
    out, topic = [], config.topic(signal).name
    for number in range(PARTITIONS):
        offset = 0
        while found := await log.read(Partition(topic, number), offset, max_bytes=1 << 24):
            out += [(from_headers(record.headers), record) for record in found]
            offset = found[-1].offset + 1
    return out


async def push_loki(gateway: Gateway, session: aiohttp.ClientSession, raw: bytes) -> int:
    url = f"http://127.0.0.1:{gateway.http_port}/loki/api/v1/push"
    async with session.post(url, data=snappy.compress(raw), headers={**BEARER, **PROTOBUF}) as answer:
        return answer.status


async def test_both_signals_come_over_one_stream_into_their_topics(kafka: Kafka) -> None:
    async with over(kafka) as (gateway, log, config), aiohttp.ClientSession() as session:
        async with stream(gateway.grpc_port) as call:
            for sequence in range(50):
                await call.write(batch(own(sequence), sequence))
                await call.write(logs_batch(own_line(sequence), sequence))
            await call.done_writing()
            acks = [ack async for ack in call]
        assert {(ack.signal, ack.status) for ack in acks} == {("metrics", Ack.ACCEPTED), ("logs", Ack.ACCEPTED)}
        for number in range(20):
            assert await push_loki(gateway, session, own_line(number)) == 204
        assert [envelope.sequence for envelope, _ in await records(log, config, "metrics")] == list(range(50))
        found = await records(log, config, "logs")
        agents = [(envelope.sequence, *lines_of(record)) for envelope, record in found if envelope.agent == "node-1"]
        foreign = [(envelope.sequence, *lines_of(record)) for envelope, record in found if envelope.agent == "gw"]
        assert agents == [(n, ('{cluster="c1"}', f"line {n}")) for n in range(50)]
        assert foreign == [(n, ('{cluster="c1"}', f"line {n}")) for n in range(20)]


async def send_as_agent(gateway: Gateway, count: int, reached: asyncio.Event) -> None:
    """Send a lane's batches as an agent does: a window ahead, again from the lowest that is not acknowledged."""
    acknowledged = 0
    while acknowledged < count:
        async with stream(gateway.grpc_port) as call:
            try:
                window = range(acknowledged, min(count, acknowledged + 20))
                for sequence in window:
                    await call.write(logs_batch(own_line(sequence), sequence, lane_items=sequence))
                await call.done_writing()
                async for ack in call:
                    assert ack.status in (Ack.ACCEPTED, Ack.RETRY), ack
                    if ack.status == Ack.RETRY:
                        await asyncio.sleep(min(0.2, ack.retry_after_ms / 1000))
                        break
                    acknowledged = ack.sequence + 1
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                continue
        if acknowledged > count // 4:
            reached.set()


async def send_as_promtail(gateway: Gateway, count: int) -> None:
    """Push numbered lines one after the other, each until it is taken."""
    async with aiohttp.ClientSession() as session:
        for number in range(count):
            while (status := await push_loki(gateway, session, own_line(10_000 + number))) != 204:
                assert status == 503
                await asyncio.sleep(0.05)


async def test_no_line_is_lost_and_none_unrecognised_while_the_broker_is_killed(tmp_path: Path) -> None:
    count = 2_000
    async with Kafka(tmp_path / "kafka") as kafka, over(kafka) as (gateway, log, config):
        reached = asyncio.Event()
        async with asyncio.TaskGroup() as senders, asyncio.timeout(120):
            senders.create_task(send_as_agent(gateway, count, reached))
            senders.create_task(send_as_promtail(gateway, count // 4))
            await reached.wait()
            await kafka.kill()
            await kafka.restart()
        found = await records(log, config, "logs")
        agents: dict[int, Any] = {}
        foreign: dict[str, Any] = {}
        last: dict[tuple[str, int, int], int] = {}
        for envelope, record in found:
            place = (envelope.agent, envelope.lane, envelope.epoch)
            # A place of a lane is never left out, however often one comes again.
            assert envelope.sequence <= last.get(place, -1) + 1, place
            last[place] = max(envelope.sequence, last.get(place, -1))
            if envelope.origin is Origin.AGENT:
                assert agents.setdefault(envelope.sequence, lines_of(record)) == lines_of(record)
            else:
                assert foreign.setdefault(envelope.digest, lines_of(record)) == lines_of(record)
        assert [line for _, line in (agents[n][0] for n in sorted(agents))] == [f"line {n}" for n in range(count)]
        assert sorted(line for ((_, line),) in foreign.values()) == sorted(
            f"line {10_000 + n}" for n in range(count // 4)
        )
