"""What is joined, what is not, and that nothing is lost or reordered between scraping and the buffer."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from agent.batcher import MAX_WAITING_BYTES, Batcher
from agent.part import Part, join_parts
from pipeline.errors import TransientError
from pipeline.telemetry import AgentMetrics
from pipeline.wire import snappy

NEVER_S = 3600.0


def part(items: int, content: bytes = b"x", at_ms: int = 5, context: str = "") -> Part:
    return Part(snappy.compress(content), items, len(content), at_ms, at_ms, context)


class Kept:
    """Stands in for the buffer: keeps what it is given, once it may."""

    def __init__(self) -> None:
        self.batches: list[tuple[int, Part]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.error: TransientError | None = None
        self.came = asyncio.Event()

    async def put(self, lane: int, parts: Sequence[Part]) -> None:
        await self.open.wait()
        if self.error is not None:
            raise self.error
        self.batches += [(lane, part) for part in parts]
        self.came.set()


def make(kept: Kept, *, linger_s: float = NEVER_S) -> tuple[Batcher, AgentMetrics]:
    metrics = AgentMetrics(CollectorRegistry())
    return Batcher(kept, metrics, 100, linger_s), metrics


@contextlib.asynccontextmanager
async def running(batcher: Batcher) -> AsyncIterator[None]:
    task = asyncio.create_task(batcher.run())
    try:
        async with asyncio.timeout(10):
            yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def test_neighbours_are_joined_as_far_as_a_record_may_hold() -> None:
    parts = [part(40, b"aa", 7), part(60, b"bb", 3), part(1, b"cc", 9), part(0, b"dd", 9)]
    first, second = join_parts(parts, 100, 1000)
    assert (snappy.decompress(first.payload), first.items, first.raw_bytes) == (b"aabb", 100, 4)
    assert (first.earliest_ms, first.latest_ms) == (3, 7)
    assert (snappy.decompress(second.payload), second.items) == (b"ccdd", 1)
    assert len(join_parts(parts, 1000, 4)) == 2


def test_a_part_beyond_the_bounds_goes_by_itself_and_unchanged() -> None:
    large = part(500, b"a" * 50)
    assert join_parts([part(1), large, part(1)], 100, 10)[1] is large


def test_what_belongs_to_a_trace_is_joined_with_its_like_only() -> None:
    contexts = ["", "", "00-a", "00-a", "00-b", ""]
    batches = join_parts([part(1, context=context) for context in contexts], 100, 100)
    assert [(batch.items, batch.traceparent) for batch in batches] == [(2, ""), (2, "00-a"), (1, "00-b"), (1, "")]


@given(st.lists(st.tuples(st.integers(0, 60), st.binary(max_size=30))), st.integers(1, 100), st.integers(1, 100))
def test_joining_keeps_every_byte_and_item_in_order(
    given_: list[tuple[int, bytes]], max_samples: int, max_bytes: int
) -> None:
    batches = join_parts([part(items, content) for items, content in given_], max_samples, max_bytes)
    assert b"".join(snappy.decompress(batch.payload) for batch in batches) == b"".join(c for _, c in given_)
    assert sum(batch.items for batch in batches) == sum(items for items, _ in given_)


async def test_small_scrapes_of_a_lane_become_one_batch_after_a_moment() -> None:
    kept = Kept()
    batcher, _ = make(kept, linger_s=0.01)
    async with running(batcher):
        await batcher.put(1, [part(3, b"a")])
        await batcher.put(2, [part(5, b"b")])
        await batcher.put(1, [part(4, b"c"), part(1, b"d")])
        await kept.came.wait()
    found = {lane: (snappy.decompress(batch.payload), batch.items) for lane, batch in kept.batches}
    assert (found, len(kept.batches)) == ({1: (b"acd", 8), 2: (b"b", 5)}, 2)


async def test_a_full_batch_does_not_wait() -> None:
    kept = Kept()
    batcher, _ = make(kept)
    async with running(batcher):
        await batcher.put(1, [part(99)])
        assert not kept.batches
        await batcher.put(1, [part(1)])
        await kept.came.wait()
    assert [(lane, batch.items) for lane, batch in kept.batches] == [(1, 100)]


async def test_scraping_waits_while_too_much_is_not_on_disk() -> None:
    kept = Kept()
    kept.open.clear()
    batcher, _ = make(kept)
    large = Part(bytes(MAX_WAITING_BYTES), 100, 1, 5, 5)
    async with running(batcher):
        await batcher.put(1, [large])
        waiting = asyncio.create_task(batcher.put(1, [part(1)]))
        await asyncio.sleep(0)
        assert not waiting.done()
        kept.open.set()
        await waiting
        await batcher.flush()
    assert [batch.items for _, batch in kept.batches] == [100, 1]


async def test_flushing_writes_all_behind_what_is_being_written() -> None:
    kept = Kept()
    kept.open.clear()
    batcher, _ = make(kept)
    async with running(batcher):
        await batcher.put(1, [part(100, b"first")])
        await asyncio.sleep(0)
        await batcher.put(1, [part(1, b"second")])
        flushed = asyncio.create_task(batcher.flush())
        await asyncio.sleep(0)
        kept.open.set()
        await flushed
    assert [snappy.decompress(batch.payload) for _, batch in kept.batches] == [b"first", b"second"]


async def test_what_the_disk_does_not_take_is_counted_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    kept = Kept()
    kept.error = TransientError("the disk is on fire")
    batcher, metrics = make(kept)
    await batcher.put(1, [part(7)])
    await batcher.flush()
    assert metrics.dropped._value.get() == 7
    assert "7 samples are lost: the disk is on fire" in caplog.text
