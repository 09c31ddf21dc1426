"""What inputs put is on disk whole, in order, with its state, and never lost: not for want of room either."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from pathlib import Path

from prometheus_client import CollectorRegistry

from agent.buffer import Buffer, BufferFile, Identity
from agent.logs.batcher import BATCH_BYTES, LogBatcher
from agent.logs.buffer import LogBuffer
from agent.logs.chunk import Chunk, Take
from agent.part import Part
from pipeline.log.sqlite import SqliteLog
from pipeline.telemetry import AgentMetrics, LogMetrics
from pipeline.wire import snappy
from pipeline.wire.envelope import LOGS_ENCODING, Envelope, Signal, from_headers
from tests.contracts.beds import small_files
from tests.e2e.processes import until

GATEWAY = "gateway"


class Bed:
    """A batcher over a real log, with one lane unless said otherwise."""

    def __init__(self, folder: Path, *, lanes: int = 1, max_bytes: int | None = None) -> None:
        registry = CollectorRegistry()
        log = SqliteLog(folder, LogMetrics(registry), max_bytes=max_bytes)
        self.file = BufferFile(log, Identity("c1", "a1", lanes))
        self.metrics = AgentMetrics(registry)
        self.buffer = LogBuffer(self.file, [GATEWAY], self.metrics)
        self.batcher = LogBatcher(self.buffer, linger_s=0.02)

    async def records(self, lane: int = 0) -> list[tuple[Envelope, bytes]]:
        found = await self.buffer.read(lane, self.buffer.bounds(lane)[0], max_bytes=2**30)
        return [(from_headers(record.headers), snappy.decompress(record.payload)) for record in found]

    async def take(self) -> bytes:
        """Do as a destination does: return what is there, and acknowledge just that."""
        found = await self.records()
        if found:
            self.buffer.acknowledge(GATEWAY, 0, found[-1][0].sequence + 1)
            await self.buffer.settle()
        return b"".join(raw for _, raw in found)

    def waits(self) -> bool:
        return bool(self.metrics.logs_wait._value.get())


@contextlib.asynccontextmanager
async def running(bed: Bed) -> AsyncIterator[Bed]:
    await bed.buffer.start()
    await bed.batcher.start()
    run = asyncio.create_task(bed.batcher.run())
    try:
        yield bed
    finally:
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)
        await bed.buffer.close()


def chunk(raw: bytes, items: int = 1, tenant: str = "", at_ms: int = 5) -> Chunk:
    return Chunk(raw, items, at_ms, at_ms + 1, tenant)


async def test_takes_of_a_lane_become_one_batch_with_all_of_their_state(tmp_path: Path) -> None:
    async with running(Bed(tmp_path)) as bed:
        await bed.batcher.put(Take("a", (chunk(b"a1", 2),), {b"file/a": b"2", b"file/gone": b"1"}))
        await bed.batcher.put(Take("b", (chunk(b"b1", at_ms=3),), {b"file/b": b"1"}))
        await bed.batcher.keep(Take("a", (chunk(b"a2", at_ms=9),), {b"file/a": b"3", b"file/gone": None}))
        ((envelope, raw),) = await bed.records()
        assert raw == b"a1b1a2"
        assert (envelope.signal, envelope.encoding, envelope.cluster) == (Signal.LOGS, LOGS_ENCODING, "c1")
        assert (envelope.items, envelope.raw_bytes, envelope.earliest_ms, envelope.latest_ms) == (4, 6, 3, 10)
        assert await bed.buffer.log.state(b"file/") == {b"file/a": b"3", b"file/b": b"1"}


async def test_tenants_have_batches_of_their_own_and_take_their_state_along_together(tmp_path: Path) -> None:
    async with running(Bed(tmp_path)) as bed:
        await bed.batcher.keep(
            Take("a", (chunk(b"1", tenant="x"), chunk(b"2", tenant="y"), chunk(b"3", tenant="x")), {b"file/a": b"9"})
        )
        assert [(e.tenant, raw) for e, raw in await bed.records()] == [("x", b"13"), ("y", b"2")]
        assert await bed.buffer.log.state(b"file/") == {b"file/a": b"9"}


async def test_a_full_batch_waits_for_nobody_and_batches_keep_the_order(tmp_path: Path) -> None:
    bed = Bed(tmp_path)
    bed.batcher.linger_s = 3600
    async with running(bed):
        third = BATCH_BYTES // 3
        for number in range(7):
            await bed.batcher.put(Take("a", (chunk(b"%d" % number * third),), {b"file/a": b"%d" % number}))
        await until(lambda: _holds(bed, 2), "two full batches are written")
        await bed.batcher.flush()
        kept = b"".join(raw for _, raw in await bed.records())
        assert kept == b"".join(b"%d" % number * third for number in range(7))
        assert all(envelope.raw_bytes <= BATCH_BYTES for envelope, _ in await bed.records())
        assert await bed.buffer.log.state(b"file/") == {b"file/a": b"6"}


async def _holds(bed: Bed, batches: int) -> bool:
    return bed.buffer.ends()[0] >= batches


async def test_state_alone_is_kept_too(tmp_path: Path) -> None:
    async with running(Bed(tmp_path)) as bed:
        await bed.batcher.keep(Take("a", state={b"file/a": b"1"}))
        assert await bed.buffer.log.state(b"file/") == {b"file/a": b"1"}
        assert bed.buffer.ends() == {0: 0}
    async with running(Bed(tmp_path)) as bed:
        assert bed.batcher.state(b"file/") == {b"file/a": b"1"}
        await bed.batcher.put(Take("a", state={b"file/a": b"2"}))
        assert bed.batcher.state(b"file/") == {b"file/a": b"2"}, "a job that is begun anew goes on from there"


async def test_a_disk_that_takes_nothing_is_tried_again_and_nothing_is_lost_nor_overtakes(tmp_path: Path) -> None:
    async with running(Bed(tmp_path)) as bed:
        await bed.batcher.keep(Take("a", (chunk(b"1"),), {b"file/a": b"1"}))
        large = bytes(range(256)) * 2000
        with small_files():
            await bed.batcher.put(Take("a", (chunk(_noise(large)),), {b"file/a": b"2"}))
            await until(lambda: _waits(bed), "the buffer cannot be written")
            await bed.batcher.put(Take("a", (chunk(b"3"),), {b"file/a": b"3"}))
            assert await bed.buffer.log.state(b"file/") == {b"file/a": b"1"}
        await bed.batcher.flush()
        assert b"".join(raw for _, raw in await bed.records()) == b"1" + _noise(large) + b"3"
        assert await bed.buffer.log.state(b"file/") == {b"file/a": b"3"}
        assert not bed.waits()


def _noise(text: bytes) -> bytes:
    """Return something of that length that does not get shorter."""
    return random.Random(1).randbytes(len(text))


async def _waits(bed: Bed) -> bool:
    return bed.waits()


async def test_with_a_full_buffer_putting_waits_and_goes_on_where_it_was(tmp_path: Path) -> None:
    bed = Bed(tmp_path, max_bytes=16 * 2**20)
    async with running(bed):
        bed.batcher.max_waiting_bytes = 2**20
        put = [0]

        async def reader() -> None:
            for number in range(60):
                await bed.batcher.put(Take("a", (chunk(_numbered(number)),), {b"file/a": b"%d" % number}))
                put[0] = number + 1

        reading = asyncio.create_task(reader())
        await until(lambda: _waits(bed), "the buffer is full")
        stopped = put[0]
        assert stopped < 60
        seen = b""
        while not reading.done() or bed.buffer.bounds(0)[0] < bed.buffer.ends()[0]:
            seen += await bed.take()
            await asyncio.sleep(0)
            if reading.done():
                await bed.batcher.flush()
        assert seen == b"".join(_numbered(number) for number in range(60))
        assert not bed.waits()


def _numbered(number: int) -> bytes:
    return b"%04d" % number + _noise(bytes(500_000))


async def test_logs_leave_metrics_their_share_and_take_theirs_from_scraped_batches(tmp_path: Path) -> None:
    bed = Bed(tmp_path, max_bytes=32 * 2**20)
    bed.file.is_shared = True
    scraped = Buffer(bed.file, [GATEWAY], bed.metrics, 3600)
    async with running(bed):
        await scraped.start()
        for _ in range(300):
            await scraped.put(0, [Part(b"x" * 100_000, 10, 100_000, 1, 2)])
        evicted = bed.metrics.evicted._value.get()
        assert evicted > 0, "metrics alone take all of it"
        writing = asyncio.create_task(_fill(bed))
        await until(lambda: _waits(bed), "logs have their share")
        assert bed.metrics.evicted._value.get() > evicted
        assert bed.file.logs_bytes > bed.buffer.log.limit_bytes() / 2
        dropped = bed.metrics.dropped._value.get()
        await scraped.put(0, [Part(b"x" * 100_000, 10, 100_000, 1, 2)])
        assert bed.metrics.dropped._value.get() == dropped, "scraping goes on beside logs that wait"
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)


async def test_after_a_write_that_was_given_up_nothing_behind_it_is_written(tmp_path: Path) -> None:
    bed = Bed(tmp_path)
    bed.batcher.linger_s = 3600
    async with asyncio.timeout(30), running(bed):
        with small_files():
            given_up = asyncio.create_task(bed.batcher.keep(Take("a", (chunk(_numbered(1)),), {b"file/b": b"1"})))
            await asyncio.sleep(0)
            flushing = asyncio.create_task(bed.batcher.flush())
            await until(lambda: _waits(bed), "the disk takes nothing")
            flushing.cancel()
            await asyncio.gather(flushing, return_exceptions=True)
        await bed.batcher.put(Take("a", (chunk(b"2"),), {b"file/b": b"2"}))
        await bed.batcher.flush()
        assert await bed.buffer.log.state(b"file/b") == {}, "the next start reads both again"
        assert not given_up.done()
        given_up.cancel()


async def _fill(bed: Bed) -> None:
    for number in range(1000):
        await bed.batcher.put(Take("a", (chunk(_numbered(number)),)))


async def test_what_waits_is_bounded(tmp_path: Path) -> None:
    bed = Bed(tmp_path)
    bed.batcher.max_waiting_bytes, bed.batcher.linger_s = 1000, 3600
    async with running(bed):
        for _ in range(2):
            await bed.batcher.put(Take("a", (chunk(bytes(600)),)))
        third = asyncio.create_task(bed.batcher.put(Take("a", (chunk(b"3"),))))
        fourth = asyncio.create_task(bed.batcher.put(Take("a", (chunk(b"4"),))))
        await asyncio.sleep(0)
        assert not third.done()
        await bed.batcher.flush()
        await asyncio.gather(third, fourth)
        await bed.batcher.flush()
        assert [raw for _, raw in await bed.records()][-1] == b"34"
