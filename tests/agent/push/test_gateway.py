"""What goes to a gateway while the buffer evicts: each batch or the gap in its place, and never both."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client import CollectorRegistry

from agent.buffer import Buffer, BufferFile, Identity
from agent.part import Part
from agent.push.gateway import GATEWAY, GatewayPush
from agent.push.lanes import WINDOW_BATCHES
from pipeline.errors import TransientError
from pipeline.log.sqlite import SqliteLog
from pipeline.telemetry import AgentMetrics, LogMetrics
from pipeline.wire.envelope import from_headers
from pipeline.wire.push_pb2 import Ack, Batch
from tests.e2e.processes import until

COUNT = 4 * WINDOW_BATCHES


@dataclass
class Gateway:
    """Stands in for a gateway that answers a window of batches just when the agent's buffer evicts behind them."""

    buffer: Buffer
    now_s: float = 1000.0
    sent: list[tuple[int, int]] = field(default_factory=list)
    answers: "asyncio.Queue[Ack]" = field(default_factory=asyncio.Queue)

    @asynccontextmanager
    async def session(self) -> AsyncIterator["Gateway"]:
        yield self

    async def send(self, batch: Batch) -> None:
        envelope = from_headers([(header.name, header.value) for header in batch.headers])
        last = envelope.sequence if envelope.gap_to is None else envelope.gap_to
        self.sent.append((envelope.sequence, last))
        if len(self.sent) == WINDOW_BATCHES:
            self.now_s += 1000.0
            await self.buffer.evict_old()
        if len(self.sent) >= WINDOW_BATCHES:
            self.answers.put_nowait(Ack(lane=0, sequence=envelope.sequence, status=Ack.ACCEPTED))
            await until(lambda: self._is_behind(last), "the answer is taken")

    async def _is_behind(self, sequence: int) -> bool:
        return self.buffer.acknowledged(GATEWAY)[0] > sequence

    async def flush(self) -> None:
        pass

    async def acks(self) -> AsyncIterator[Ack]:
        while True:
            yield await self.answers.get()


async def test_a_lane_goes_on_behind_what_was_evicted_for_another_destination(tmp_path: Path) -> None:
    registry = CollectorRegistry()
    metrics = AgentMetrics(registry)
    now_s = [1000.0]
    log = SqliteLog(tmp_path, LogMetrics(registry), clock=lambda: now_s[0])
    buffer = Buffer(BufferFile(log, Identity("c1", "a1", 1)), [GATEWAY, "down"], metrics, 100, clock=lambda: now_s[0])
    gateway = Gateway(buffer)
    await buffer.start()
    await buffer.put(0, [Part(b"x", 10, 1, 1, 2) for _ in range(COUNT)])
    buffer.acknowledge(GATEWAY, 0, WINDOW_BATCHES + 4)
    now_s[0] += 1000.0
    await buffer.evict_old()
    await buffer.put(0, [Part(b"y", 10, 1, 1, 2) for _ in range(3)])
    pushing = asyncio.create_task(GatewayPush(buffer, gateway, metrics).run())
    try:
        await until(lambda: _are([(COUNT + n, COUNT + n) for n in range(3)], gateway.sent), "the rest is sent")
    finally:
        pushing.cancel()
        await asyncio.gather(pushing, return_exceptions=True)
        await buffer.close()


async def _are(wanted: list[tuple[int, int]], sent: list[tuple[int, int]]) -> bool:
    return sent == wanted


@dataclass
class Away:
    """Stands in for the way to a gateway that is not there."""

    tries: int = 0

    @asynccontextmanager
    async def session(self) -> AsyncIterator["Gateway"]:
        self.tries += 1
        if self.tries:
            raise TransientError("nobody is there")
        yield NotImplemented

    async def was_tried(self) -> bool:
        return self.tries > 0


async def test_who_has_nothing_to_send_asks_for_no_session_and_misses_none(tmp_path: Path) -> None:
    registry = CollectorRegistry()
    metrics = AgentMetrics(registry)
    buffer = Buffer(
        BufferFile(SqliteLog(tmp_path, LogMetrics(registry)), Identity("c1", "a1", 1)), [GATEWAY], metrics, 100
    )
    away = Away()
    await buffer.start()
    push = GatewayPush(buffer, away, metrics)
    pushing = asyncio.create_task(push.run())
    up = {"destination": GATEWAY}
    try:
        for _ in range(10):
            buffer.tell_changed()
            await asyncio.sleep(0)
        assert (away.tries, push.trouble()) == (0, None)
        assert registry.get_sample_value("pronoia_agent_destination_up", up) is None
        await buffer.put(0, [Part(b"x", 10, 1, 1, 2)])
        await until(away.was_tried, "what there is is sent")
        assert push.trouble() == "nobody is there"
        assert registry.get_sample_value("pronoia_agent_destination_up", up) == 0
    finally:
        pushing.cancel()
        await asyncio.gather(pushing, return_exceptions=True)
        await buffer.close()


async def test_what_was_evicted_while_it_was_about_to_go_goes_as_a_gap_and_the_lane_goes_on(tmp_path: Path) -> None:
    registry = CollectorRegistry()
    metrics = AgentMetrics(registry)
    gateway: Gateway
    log = SqliteLog(tmp_path, LogMetrics(registry), clock=lambda: 1000.0)
    buffer = Buffer(BufferFile(log, Identity("c1", "a1", 1)), [GATEWAY], metrics, 100, clock=lambda: gateway.now_s)
    gateway = Gateway(buffer)
    await buffer.start()
    await buffer.put(0, [Part(b"x", 10, 1, 1, 2) for _ in range(COUNT)])
    pushing = asyncio.create_task(GatewayPush(buffer, gateway, metrics).run())
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(10):
                await buffer.all_acknowledged()
    finally:
        pushing.cancel()
        await asyncio.gather(pushing, return_exceptions=True)
        await buffer.close()
    assert gateway.sent == [(n, n) for n in range(WINDOW_BATCHES)] + [(WINDOW_BATCHES, COUNT - 1)]
