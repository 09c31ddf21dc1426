"""What only the embedded log does: it numbers batches, keeps state beside them, evicts, forgets, and minds its disk."""

import asyncio
import contextlib
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pipeline.errors import PermanentError, TransientError
from pipeline.log import Log, LogFullError, OffsetOutOfRangeError, Partition, TopicSpec
from pipeline.log.sqlite import SqliteLog
from pipeline.log.sqlite_writer import Settled
from pipeline.wire.envelope import Envelope, Headers, Signal, from_headers, to_headers
from tests.contracts.beds import Owner, fetch, metrics, opened, small_files, until

AT = Partition("buffer", 0)
OTHER = Partition("buffer", 1)


@contextlib.asynccontextmanager
async def buffer(folder: Path, **more: object) -> AsyncIterator[SqliteLog]:
    log = SqliteLog(folder, metrics(), **more)  # type: ignore[arg-type]
    async with opened(log):
        await log.ensure_topic(TopicSpec("buffer", 2))
        yield log


def headers(items: int) -> Headers:
    return to_headers(
        Envelope(
            signal=Signal.METRICS, encoding="e", cluster="c", agent="a", epoch=1, lane=0, sequence=0, items=items,
            raw_bytes=1, created_ms=1, crc32c=1,
        )
    )  # fmt: skip


async def numbered(log: SqliteLog, *items: int, at: Partition = AT) -> list[int]:
    return [await (await log.append_numbered(at, headers(count), b"x" * 100)) for count in items]


async def envelopes(log: SqliteLog, offset: int = 0, at: Partition = AT) -> list[Envelope]:
    return [from_headers(record.headers) for record in await log.read(at, offset, max_bytes=2**30)]


async def test_batches_are_numbered_by_their_offset_and_carry_the_items_before_them(tmp_path: Path) -> None:
    async with buffer(tmp_path) as log:
        assert await numbered(log, 10, 5, 7) == [0, 1, 2]
        assert await numbered(log, 100, at=OTHER) == [0]
        found = [(e.sequence, e.lane_items, e.items) for e in await envelopes(log)]
        assert found == [(0, 0, 10), (1, 10, 5), (2, 15, 7)]
    async with buffer(tmp_path) as log:
        await numbered(log, 1)
        assert [(e.sequence, e.lane_items) for e in await envelopes(log, 3)] == [(3, 22)]


async def test_numbers_go_on_when_everything_was_deleted(tmp_path: Path) -> None:
    async with buffer(tmp_path) as log:
        await numbered(log, 10, 5)
        await log.delete_before(AT, 2)
        assert await log.bounds(AT) == (2, 2)
    async with buffer(tmp_path) as log:
        assert await numbered(log, 3) == [2]
        assert [(e.sequence, e.lane_items) for e in await envelopes(log, 2)] == [(2, 15)]


async def test_the_epoch_stays_with_the_folder(tmp_path: Path) -> None:
    async with buffer(tmp_path / "a") as log:
        epoch = log.epoch
        assert 0 < epoch < 2**64
    async with buffer(tmp_path / "a") as log:
        assert log.epoch == epoch
    async with buffer(tmp_path / "b") as log:
        assert log.epoch != epoch


async def test_state_changes_with_the_batch_that_it_belongs_to(tmp_path: Path) -> None:
    async with buffer(tmp_path) as log:
        await (await log.append_numbered(AT, headers(1), b"x", state={b"file:a": b"10", b"file:b": b"20"}))
        await (await log.append_numbered(AT, headers(1), b"y", state={b"file:a": b"15", b"file:b": None}))
        await log.update_state({b"other": b"1"})
    async with buffer(tmp_path) as log:
        assert await log.state(b"file:") == {b"file:a": b"15"}
        assert await log.state() == {b"file:a": b"15", b"other": b"1"}


async def test_a_batch_that_failed_leaves_its_state_unchanged(tmp_path: Path) -> None:
    async with buffer(tmp_path) as log:
        await (await log.append_numbered(AT, headers(1), b"x", state={b"file": b"1"}))
        with small_files():
            failing = await log.append_numbered(AT, headers(1), bytes(300_000), state={b"file": b"2"})
            with pytest.raises(TransientError):
                await failing
        assert await log.state() == {b"file": b"1"}
        assert await numbered(log, 1) == [1]


async def test_several_batches_and_their_state_are_one_transaction(tmp_path: Path) -> None:
    async with buffer(tmp_path) as log:
        await numbered(log, 4)
        two = [(headers(2), b"x"), (headers(3), b"y")]
        assert await (await log.append_together(AT, two, state={b"file": b"1"})) == 1
        assert [(e.sequence, e.lane_items) for e in await envelopes(log)] == [(0, 0), (1, 4), (2, 6)]
        with small_files():
            failing = await log.append_together(
                AT, [(headers(1), b"z"), (headers(1), bytes(300_000))], state={b"file": b"2"}
            )
            behind = await log.append_together(AT, [], state={b"file": b"3"})
            with pytest.raises(TransientError):
                await failing
            with pytest.raises(TransientError):
                await behind
        assert await log.state() == {b"file": b"1"}
        assert await numbered(log, 1) == [3]


async def test_state_alone_is_durable_in_its_place(tmp_path: Path) -> None:
    async with buffer(tmp_path) as log:
        await numbered(log, 1)
        assert await (await log.append_together(AT, [], state={b"file": b"1"})) == 1
    async with buffer(tmp_path) as log:
        assert await log.state() == {b"file": b"1"}
        assert await numbered(log, 1) == [1]


async def test_one_of_several_batches_that_is_too_large_refuses_all(tmp_path: Path) -> None:
    async with buffer(tmp_path, max_record_bytes=1000) as log:
        with pytest.raises(PermanentError, match="a record of"):
            await log.append_together(AT, [(headers(1), b"x"), (headers(1), bytes(1000))], state={b"file": b"1"})
        assert await numbered(log, 1) == [0]
        assert await log.state() == {}


async def test_what_a_topic_holds_is_told_in_bytes(tmp_path: Path) -> None:
    async with buffer(tmp_path) as log:
        assert await log.held_bytes("buffer") == 0
        await numbered(log, 1, 1, 1)
        await numbered(log, 1, at=OTHER)
        held = await log.held_bytes("buffer")
        assert held > 400
        await log.delete_before(AT, 2)
        assert 200 < await log.held_bytes("buffer") < held / 2 + 50
        await log.delete_before(AT, 3)
        await log.delete_before(OTHER, 1)
        assert await log.held_bytes("buffer") == 0


async def test_a_gap_record_stands_for_what_was_evicted_and_reading_goes_on_behind_it(tmp_path: Path) -> None:
    async with buffer(tmp_path) as log:
        await numbered(log, 1, 2, 3, 4, 5)
        assert await log.evict(AT, 1, 3, headers(0)) == 9
        found = [(e.sequence, e.gap_to, e.items, e.lane_items) for e in await envelopes(log)]
        assert found == [(0, None, 1, 0), (1, 3, 9, 1), (4, None, 5, 10)]
        assert [record.offset for record in await log.read(AT, 2, max_bytes=2**20)] == [4]
        assert [record.payload for record in await log.read(AT, 1, max_bytes=1)] == [b""]
        assert await numbered(log, 6) == [5]
        assert [e.lane_items for e in await envelopes(log, 5)] == [15]


async def test_a_consumer_waits_behind_a_gap_at_the_end(tmp_path: Path) -> None:
    async with buffer(tmp_path) as log:
        await numbered(log, 1, 2, 3)
        await log.evict(AT, 1, 2, headers(0))
        consumer = await log.subscribe("g", ["buffer"], Owner())
        assert [record.offset for record in await fetch(consumer, 2)] == [0, 1]
        assert await consumer.fetch(max_bytes=100, timeout_s=0.01) == {}
        await numbered(log, 4)
        assert [record.offset for record in await fetch(consumer, 1)] == [3]
        await consumer.close()


class _Held(SqliteLog):
    """A log whose event loop learns late of what its writer has committed."""

    holding = False

    def _settled(self, settled: Settled) -> None:
        if self.holding:
            asyncio.get_running_loop().call_later(0.01, self._settled, settled)
        else:
            super()._settled(settled)


async def test_a_reader_never_runs_ahead_of_what_the_group_knows(tmp_path: Path) -> None:
    log = _Held(tmp_path, metrics())
    async with opened(log):
        await log.ensure_topic(TopicSpec("buffer", 2))
        await numbered(log, 1)
        log.holding = True
        placed = await log.append_numbered(AT, headers(1), b"x")
        with contextlib.closing(sqlite3.connect(tmp_path / "log.db")) as db:
            await until(lambda: db.execute("SELECT count(*) FROM record").fetchone() == (2,))
        consumer = await log.subscribe("g", ["buffer"], Owner())
        assert [r.offset for r in (await consumer.fetch(max_bytes=2**20, timeout_s=10))[AT]] == [0]
        assert not await consumer.fetch(max_bytes=2**20, timeout_s=0.01)
        assert [r.offset for r in await log.read(AT, 0, max_bytes=2**20)] == [0]
        log.holding = False
        assert await placed == 1
        assert [r.offset for r in (await consumer.fetch(max_bytes=2**20, timeout_s=10))[AT]] == [1]


async def test_gaps_can_be_evicted_into_larger_gaps(tmp_path: Path) -> None:
    async with buffer(tmp_path) as log:
        await numbered(log, 1, 2, 3, 4, 5)
        await log.evict(AT, 1, 2, headers(0))
        assert await log.evict(AT, 0, 4, headers(0)) == 15
        found = [(e.sequence, e.gap_to, e.items, e.lane_items) for e in await envelopes(log)]
        assert found == [(0, 4, 15, 0)]
        assert await numbered(log, 6) == [5]


async def test_evicting_a_part_of_a_gap_is_refused(tmp_path: Path) -> None:
    async with buffer(tmp_path) as log:
        await numbered(log, 1, 2, 3, 4)
        await log.evict(AT, 0, 2, headers(0))
        for first, last in ((1, 3), (0, 1), (3, 4), (2, 1)):
            with pytest.raises(PermanentError, match="evict"):
                await log.evict(AT, first, last, headers(0))
        assert len(await envelopes(log)) == 2


async def fill(log: SqliteLog, at: Partition, payload: bytes) -> int:
    """Append one after the other until the log is full; return how many went in."""
    count = 0
    with contextlib.suppress(LogFullError):
        while True:
            await (await log.append(at, (), payload))
            count += 1
    return count


async def test_a_full_log_refuses_until_room_is_made(tmp_path: Path) -> None:
    bound = 16 * 2**20
    async with buffer(tmp_path, max_bytes=bound) as log:
        count = await fill(log, AT, bytes(300_000))
        assert count * 300_000 > bound / 2
        assert log.stored_bytes() <= bound
        assert on_disk(tmp_path) <= bound + 2**20
        await log.evict(AT, 0, count // 2, ())
        assert await fill(log, AT, bytes(300_000)) > count // 4
        await log.delete_before(AT, (await log.bounds(AT))[1])
        assert await fill(log, AT, bytes(300_000)) >= count - 8
        assert on_disk(tmp_path) <= bound + 2**20


def on_disk(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("log.db*") if not file.name.endswith("-shm"))


async def test_a_log_that_discards_the_oldest_never_refuses_and_keeps_to_its_bound(tmp_path: Path) -> None:
    bound = 32 * 2**20
    async with buffer(tmp_path, max_bytes=bound, discard_oldest=True) as log:
        for n in range(200):
            while True:
                try:
                    await (await log.append(Partition("buffer", n % 2), (), b"%d" % n + bytes(300_000)))
                    break
                except LogFullError as full:
                    assert full.retry_after_s
                    await asyncio.sleep(0.001)
        assert log.stored_bytes() <= bound
        first, end = await log.bounds(AT)
        assert (first > 0, end) == (True, 100)
        kept = await log.read(AT, first, max_bytes=2**30)
        assert [record.payload.rstrip(b"\0") for record in kept] == [b"%d" % (2 * n) for n in range(first, 100)]
        with pytest.raises(OffsetOutOfRangeError):
            await log.read(AT, first - 1, max_bytes=1)


async def bounds_become(log: Log, wanted: tuple[int, int]) -> None:
    async with asyncio.timeout(30):
        while await log.bounds(AT) != wanted:  # noqa: ASYNC110  # retention tells nobody
            await asyncio.sleep(0.01)


async def test_records_older_than_their_topic_keeps_them_go(tmp_path: Path) -> None:
    now_s = [1_000_000.0]
    log = SqliteLog(tmp_path, metrics(), clock=lambda: now_s[0])
    async with opened(log):
        await log.ensure_topic(TopicSpec("buffer", 1, retention_s=60))
        await (await log.append(AT, (), b"old"))
        now_s[0] += 50
        await (await log.append(AT, (), b"young"))
        assert await log.bounds(AT) == (0, 2)
        now_s[0] += 20
        await bounds_become(log, (1, 2))
        assert [record.payload for record in await log.read(AT, 1, max_bytes=100)] == [b"young"]


async def test_a_topic_keeps_the_newest_of_its_bytes(tmp_path: Path) -> None:
    async with opened(SqliteLog(tmp_path, metrics())) as log:
        await log.ensure_topic(TopicSpec("buffer", 1, retention_bytes=10_000))
        for _ in range(50):
            await (await log.append(AT, (), bytes(1000)))
        await bounds_become(log, (40, 50))


async def test_retention_that_passes_a_reader_is_told_as_loss(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with opened(SqliteLog(tmp_path, metrics())) as log:
        await log.ensure_topic(TopicSpec("buffer", 1, retention_bytes=5_000))
        consumer = await log.subscribe("slow", ["buffer"], Owner())
        await (await log.append(AT, (), bytes(1000)))
        await fetch(consumer, 1)
        await consumer.commit({AT: 1})
        for _ in range(19):
            await (await log.append(AT, (), bytes(1000)))
        await bounds_become(log, (15, 20))
        (told,) = [record for record in caplog.records if "had not read" in record.message]
        assert told.levelname == "ERROR"
        assert vars(told)["group"] == "slow"
        await consumer.close()


async def test_the_clock_may_go_back_without_disturbing_the_order_of_append_times(tmp_path: Path) -> None:
    now_s = [1_000_000.0]
    log = SqliteLog(tmp_path, metrics(), clock=lambda: now_s[0])
    async with opened(log):
        await log.ensure_topic(TopicSpec("buffer", 1))
        await (await log.append(AT, (), b"a"))
        now_s[0] -= 500
        await (await log.append(AT, (), b"b"))
        assert [record.append_time_ms for record in await log.read(AT, 0, max_bytes=100)] == [1_000_000_000] * 2


async def test_a_second_process_is_refused_by_name(tmp_path: Path) -> None:
    async with buffer(tmp_path):
        with pytest.raises(PermanentError, match="in use"):
            await SqliteLog(tmp_path, metrics()).start()
        script = (
            "import asyncio, pathlib, sys; from prometheus_client import CollectorRegistry as R;"
            "from pipeline.telemetry import LogMetrics; from pipeline.log.sqlite import SqliteLog;"
            "asyncio.run(SqliteLog(pathlib.Path(sys.argv[1]), LogMetrics(R())).start())"
        )
        done = await asyncio.to_thread(
            subprocess.run, [sys.executable, "-c", script, str(tmp_path)], capture_output=True, check=False
        )
        assert b"PermanentError" in done.stderr
        assert b"in use by another process" in done.stderr
    async with buffer(tmp_path) as log:
        assert await log.bounds(AT) == (0, 0)


async def test_a_damaged_file_is_refused_with_what_to_do(tmp_path: Path) -> None:
    async with buffer(tmp_path) as log:
        await numbered(log, *[1] * 10)
    file = tmp_path / "log.db"
    file.write_bytes(b"not a data base" * 10_000)
    with pytest.raises(PermanentError, match="move the folder away"):
        await SqliteLog(tmp_path, metrics()).start()


async def test_damage_found_while_running_is_told_to_who_reads(tmp_path: Path) -> None:
    async with buffer(tmp_path) as log:
        for _ in range(40):
            await (await log.append(AT, (), bytes(300_000)))
    file = tmp_path / "log.db"
    with file.open("r+b") as damaged:
        damaged.seek(2 * 65_536)
        damaged.write(b"\xff" * (file.stat().st_size - 4 * 65_536))
    log = SqliteLog(tmp_path, metrics())
    with pytest.raises(PermanentError, match="damaged"):
        async with opened(log):
            await log.read(AT, 0, max_bytes=2**30)


async def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    async with buffer(tmp_path):
        pass
    db = sqlite3.connect(tmp_path / "log.db")
    db.execute("UPDATE meta SET value = 2 WHERE key = 'format'")
    db.commit()
    db.close()
    with pytest.raises(PermanentError, match="format 2"):
        await SqliteLog(tmp_path, metrics()).start()


async def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PermanentError, match="cannot be written"):
        await SqliteLog(tmp_path / "file" / "log", metrics()).start()


async def test_many_small_appends_share_commits_and_a_lone_one_does_not_wait(tmp_path: Path) -> None:
    telling = metrics()
    log = SqliteLog(tmp_path, telling)
    async with opened(log):
        await log.ensure_topic(TopicSpec("buffer", 2))
        before = telling.fsyncs._value.get()
        placed = [await log.append(AT, (), b"x") for _ in range(500)]
        await asyncio.gather(*placed)
        assert telling.fsyncs._value.get() - before < 50
        assert telling.stored_bytes._value.get() == log.stored_bytes() > 0


async def test_state_beside_a_batch_counts_for_the_bound_of_what_waits(tmp_path: Path) -> None:
    async with buffer(tmp_path, max_pending_bytes=100_000) as log:
        first = await log.append_numbered(AT, headers(1), b"x", state={b"k": bytes(90_000)})
        with pytest.raises(LogFullError):
            await log.append_numbered(AT, headers(1), b"x", state={b"k": bytes(90_000)})
        assert await first == 0


async def test_closing_twice_and_using_a_closed_log_are_plain_errors(tmp_path: Path) -> None:
    async with buffer(tmp_path) as log:
        pass
    await log.close()
    with pytest.raises(PermanentError, match="not open"):
        await log.append(AT, (), b"x")
