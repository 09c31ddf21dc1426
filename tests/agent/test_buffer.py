"""What the buffer keeps, what it lets go, and what it says of what it had to let go."""

import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from agent.buffer import EVICT_BATCHES, Buffer, BufferFile, Identity
from agent.part import Part
from agent.push.lanes import WINDOW_BATCHES
from pipeline.errors import PermanentError
from pipeline.log.sqlite import SqliteLog
from pipeline.telemetry import AgentMetrics, LogMetrics
from pipeline.wire.envelope import from_headers

LANE = 1
BATCH_BYTES = 100_000


def part(items: int = 10, size: int = BATCH_BYTES) -> Part:
    return Part(b"x" * size, items, size, 1, 2)


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_000_000.0

    def __call__(self) -> float:
        return self.now_s


def make(
    folder: Path, *, max_bytes: int | None = None, agent: str = "n1", lanes: int = 2, clock: Clock | None = None
) -> Buffer:
    registry = CollectorRegistry()
    clock = clock or Clock()
    log = SqliteLog(folder, LogMetrics(registry), max_bytes=max_bytes, clock=clock)
    return Buffer(
        BufferFile(log, Identity("c1", agent, lanes)), ["gateway", "other"], AgentMetrics(registry), 3600, clock=clock
    )


@pytest.fixture
async def buffer(tmp_path: Path) -> AsyncIterator[Buffer]:
    made = make(tmp_path)
    await made.start()
    yield made
    await made.close()


async def held(buffer: Buffer) -> list[tuple[int, int | None, int, int]]:
    """Return (sequence, gap_to, items, lane_items) of what the lane holds."""
    out = []
    for record in await buffer.read(LANE, buffer.bounds(LANE)[0], max_bytes=2**30):
        envelope = from_headers(record.headers)
        assert envelope.sequence == record.offset
        out.append((envelope.sequence, envelope.gap_to, envelope.items, envelope.lane_items))
    return out


async def test_batches_of_a_target_are_numbered_in_its_lane(buffer: Buffer) -> None:
    await buffer.put(LANE, [part(3), part(4)])
    await buffer.put(LANE, [part(5)])
    assert await held(buffer) == [(0, None, 3, 0), (1, None, 4, 3), (2, None, 5, 7)]


async def test_a_batch_leaves_only_when_every_destination_has_it(buffer: Buffer) -> None:
    await buffer.put(LANE, [part(), part()])
    buffer.acknowledge("gateway", LANE, 2)
    await buffer.settle()
    assert len(await held(buffer)) == 2
    buffer.acknowledge("other", LANE, 1)
    await buffer.settle()
    assert [sequence for sequence, *_ in await held(buffer)] == [1]


async def test_numbering_and_acknowledgements_go_on_after_a_restart(tmp_path: Path) -> None:
    first = make(tmp_path)
    await first.start()
    await first.put(LANE, [part(), part()])
    first.acknowledge("gateway", LANE, 1)
    await first.settle()
    await first.close()
    second = make(tmp_path)
    await second.start()
    assert second.log.epoch == first.log.epoch
    assert (second.acknowledged("gateway")[LANE], second.acknowledged("other")[LANE]) == (1, 0)
    await second.put(LANE, [part()])
    assert [sequence for sequence, *_ in await held(second)] == [0, 1, 2]
    await second.close()


async def test_the_name_that_batches_were_numbered_under_is_kept(tmp_path: Path) -> None:
    first = make(tmp_path, agent="old")
    await first.start()
    await first.close()
    second = make(tmp_path, agent="new")
    await second.start()
    assert second.identity.agent == "old"
    await second.close()


async def test_another_number_of_lanes_is_refused_with_what_to_do(tmp_path: Path) -> None:
    first = make(tmp_path, lanes=2)
    await first.start()
    await first.close()
    second = make(tmp_path, lanes=4)
    with pytest.raises(PermanentError, match="let it drain"):
        await second.start()
    await second.close()


async def test_a_full_buffer_evicts_the_oldest_beyond_the_window_and_leaves_one_gap_record(tmp_path: Path) -> None:
    buffer = make(tmp_path, max_bytes=16 * 2**20)
    await buffer.start()
    for _ in range(300):
        await buffer.put(LANE, [part(10)])
    records = await held(buffer)
    gaps = [record for record in records if record[1] is not None]
    assert len(gaps) == 1
    sequence, gap_to, items, lane_items = gaps[0]
    assert sequence == WINDOW_BATCHES, "what may be on its way is not touched"
    assert gap_to is not None
    assert (items, lane_items) == ((gap_to - sequence + 1) * 10, sequence * 10)
    assert records[-1][0] == 299, "the newest is there"
    for (_, end, _, _), (begin, _, _, _) in itertools.pairwise([(s, g or s, i, n) for s, g, i, n in records]):
        assert begin == end + 1
    assert buffer.metrics.evicted._value.get() == items
    assert buffer.metrics.dropped._value.get() == 0
    await buffer.close()


async def test_where_nothing_may_be_evicted_a_scrape_is_dropped_and_counted(tmp_path: Path) -> None:
    buffer = make(tmp_path, max_bytes=16 * 2**20)
    await buffer.start()
    for _ in range(WINDOW_BATCHES):
        await buffer.put(LANE, [part(10, size=1_500_000)])
    assert buffer.metrics.dropped._value.get() > 0
    assert buffer.metrics.evicted._value.get() == 0
    await buffer.close()


async def test_batches_older_than_the_bound_are_evicted(tmp_path: Path) -> None:
    clock = Clock()
    buffer = make(tmp_path, clock=clock)
    await buffer.start()
    for _ in range(WINDOW_BATCHES + 5):
        await buffer.put(LANE, [part(10, size=100)])
    clock.now_s += 3601
    await buffer.put(LANE, [part(7, size=100)])
    await buffer.evict_old()
    gaps = [record for record in await held(buffer) if record[1] is not None]
    assert gaps == [(WINDOW_BATCHES, WINDOW_BATCHES + 4, 50, WINDOW_BATCHES * 10)]
    assert EVICT_BATCHES > 5, "the batch that is young was in reach"
    await buffer.close()
