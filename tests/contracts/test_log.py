"""What every log promises (`pipeline.log.interface`), on every implementation."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Collection
from pathlib import Path

import pytest

from pipeline.errors import PermanentError, TransientError
from pipeline.log import Consumer, LogFullError, OffsetOutOfRangeError, Partition, Start
from pipeline.log.config import LogConfig
from tests.contracts.beds import DEADLINE_S, HEADERS, Bed, KafkaBed, Owner, SqliteBed, append, fetch, until
from tests.servers.kafka import Kafka

KINDS = ["sqlite", pytest.param("kafka", marks=pytest.mark.kafka)]


@pytest.fixture(params=KINDS)
def bed(request: pytest.FixtureRequest, tmp_path: Path) -> Bed:
    if request.param == "sqlite":
        return SqliteBed(tmp_path)
    return KafkaBed(request.getfixturevalue("kafka"))


@pytest.fixture(params=KINDS)
def narrow_bed(request: pytest.FixtureRequest, tmp_path: Path) -> Bed:
    """A log that takes 300,000 waiting bytes."""
    if request.param == "sqlite":
        return SqliteBed(tmp_path, max_pending_bytes=300_000)
    return KafkaBed(request.getfixturevalue("kafka"), max_pending_bytes=300_000)


@pytest.fixture(params=KINDS)
async def breakable(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bed]:
    if request.param == "sqlite":
        yield SqliteBed(tmp_path)
        return
    async with Kafka(tmp_path / "kafka") as server:
        yield KafkaBed(server, delivery_s=2.0)


def spec_name(bed: Bed, name: str = "metrics") -> str:
    return bed.config.topic(name).name


async def test_records_come_back_as_they_were_put(bed: Bed) -> None:
    async with bed.open() as log:
        await log.ensure_topic(bed.config.topic("metrics"))
        at = Partition(spec_name(bed), 1)
        before_ms = int(time.time() * 1000)
        await (await log.append(at, HEADERS, bytes(range(256)), key=b"k"))
        await (await log.append(at, (), b""))
        first, second = await log.read(at, 0, max_bytes=2**20)
    assert (first.at, first.offset, first.key, first.headers, first.payload) == (
        at,
        0,
        b"k",
        HEADERS,
        bytes(range(256)),
    )
    assert (second.at, second.offset, second.key, second.headers, second.payload) == (at, 1, None, (), b"")
    assert before_ms - 1000 <= first.append_time_ms <= second.append_time_ms <= time.time() * 1000 + 1000


async def test_each_partition_counts_its_records_from_zero_without_gaps(bed: Bed) -> None:
    async with bed.open() as log:
        assert await log.ensure_topic(bed.config.topic("metrics", partitions=3)) == 3
        for number in range(3):
            at = Partition(spec_name(bed), number)
            assert await append(log, at, *[b"x"] * (number + 2)) == list(range(number + 2))
            assert await log.bounds(at) == (0, number + 2)


async def test_a_topic_keeps_its_number_of_partitions(bed: Bed) -> None:
    async with bed.open() as log:
        assert await log.ensure_topic(bed.config.topic("metrics", partitions=2)) == 2
    async with bed.open() as log:
        assert await log.ensure_topic(bed.config.topic("metrics", partitions=5)) == 2


async def test_a_topic_is_not_taken_for_a_compacted_one(bed: Bed) -> None:
    async with bed.open() as log:
        await log.ensure_topic(bed.config.topic("metrics"))
        with pytest.raises(PermanentError, match="compact"):
            await log.ensure_topic(bed.config.topic("metrics", compacted=True))


async def test_appends_are_in_the_order_in_which_they_were_placed_also_when_many_wait(bed: Bed) -> None:
    async with bed.open() as log:
        await log.ensure_topic(bed.config.topic("metrics", partitions=1))
        at = Partition(spec_name(bed), 0)
        # More than a batch of the Kafka client holds, from tasks that run at once: they start in order.
        tasks = [asyncio.create_task(append(log, at, b"%d" % n + b"x" * 20_000)) for n in range(200)]
        offsets = [offset for task in tasks for offset in await task]
        assert offsets == list(range(200))
        payloads = [record.payload.rstrip(b"x") for record in await log.read(at, 0, max_bytes=2**30)]
    assert payloads == [b"%d" % n for n in range(200)]


async def test_what_was_appended_is_there_after_closing_and_opening(bed: Bed) -> None:
    async with bed.open() as log:
        await log.ensure_topic(bed.config.topic("metrics"))
        at = Partition(spec_name(bed), 0)
        await append(log, at, b"a", b"b")
    async with bed.open() as log:
        await log.ensure_topic(bed.config.topic("metrics"))
        assert await append(log, at, b"c") == [2]
        assert [record.payload for record in await log.read(at, 0, max_bytes=2**20)] == [b"a", b"b", b"c"]


async def test_closing_finishes_what_was_placed(bed: Bed) -> None:
    async with bed.open() as log:
        await log.ensure_topic(bed.config.topic("metrics"))
        at = Partition(spec_name(bed), 0)
        placed = [await log.append(at, (), b"x" * 1000) for _ in range(50)]
    assert [await appending for appending in placed] == list(range(50))
    async with bed.open() as log:
        assert await log.bounds(at) == (0, 50)


async def test_nothing_acknowledged_is_lost_when_the_process_is_killed(bed: Bed) -> None:
    command = (sys.executable, "-m", "tests.contracts.appender", plain_json(bed.config))
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    told = [await asyncio.wait_for(process.stdout.readline(), DEADLINE_S) for _ in range(300)]
    process.kill()
    told += (await process.stdout.read()).splitlines(keepends=True)
    await process.wait()
    async with bed.open() as log:
        await log.ensure_topic(bed.config.topic("metrics"))
        kept = {
            (number, record.offset): record.payload
            for number in range(2)
            for record in await log.read(Partition(spec_name(bed), number), 0, max_bytes=2**30)
        }
    for line in told:
        if line.endswith(b"\n"):
            partition, offset, number = line.split()
            assert kept[int(partition), int(offset)] == number * 1000


def plain_json(config: LogConfig) -> str:
    return config.model_dump_json(exclude_none=True)


async def test_reading_ends_at_the_end_and_refuses_what_is_not_there(bed: Bed) -> None:
    async with bed.open() as log:
        await log.ensure_topic(bed.config.topic("metrics"))
        at = Partition(spec_name(bed), 0)
        await append(log, at, b"a", b"b", b"c")
        assert [record.offset for record in await log.read(at, 1, max_bytes=2**20)] == [1, 2]
        assert await log.read(at, 3, max_bytes=2**20) == []
        with pytest.raises(OffsetOutOfRangeError):
            await log.read(at, 4, max_bytes=2**20)
        await bed.forget(log, at, 2)
        assert await log.bounds(at) == (2, 3)
        with pytest.raises(OffsetOutOfRangeError) as raised:
            await log.read(at, 1, max_bytes=2**20)
    assert (raised.value.at, raised.value.start) == (at, 2)


async def test_reading_is_bounded_in_bytes_but_never_stuck(bed: Bed) -> None:
    async with bed.open() as log:
        await log.ensure_topic(bed.config.topic("metrics"))
        at = Partition(spec_name(bed), 0)
        await append(log, at, *[b"x" * 1000] * 10)
        assert len(await log.read(at, 0, max_bytes=1)) == 1
        assert 3 <= len(await log.read(at, 0, max_bytes=4000)) <= 4


async def test_a_record_that_is_too_large_is_refused_and_nothing_is_placed(bed: Bed) -> None:
    async with bed.open() as log:
        await log.ensure_topic(bed.config.topic("metrics"))
        at = Partition(spec_name(bed), 0)
        with pytest.raises(PermanentError, match="takes"):
            await log.append(at, (), bytes(log.max_record_bytes + 1))
        assert await (await log.append(at, (), bytes(log.max_record_bytes))) == 0


async def test_the_largest_record_counts_its_headers(bed: Bed) -> None:
    async with bed.open() as log:
        await log.ensure_topic(bed.config.topic("metrics"))
        at = Partition(spec_name(bed), 0)
        headers = tuple((f"header-{n}", b"v" * 50) for n in range(60))
        room = log.max_record_bytes - sum(5 + len(name) + len(value) for name, value in headers)
        assert await (await log.append(at, headers, bytes(room))) == 0
        with pytest.raises(PermanentError):
            await log.append(at, headers, bytes(room + 1))


async def test_unknown_topics_are_refused_by_name(bed: Bed) -> None:
    async with bed.open() as log:
        with pytest.raises(PermanentError, match="nowhere"):
            await log.append(Partition(spec_name(bed, "nowhere"), 0), (), b"x")
        with pytest.raises(PermanentError, match="nowhere"):
            await log.subscribe("g", [spec_name(bed, "nowhere")], Owner())


async def test_a_partition_that_the_topic_does_not_have_is_refused(bed: Bed) -> None:
    async with bed.open() as log:
        await log.ensure_topic(bed.config.topic("metrics", partitions=2))
        with pytest.raises(PermanentError):
            await log.append(Partition(spec_name(bed), 2), (), b"x")


async def test_too_much_that_waits_is_refused_until_it_is_durable(narrow_bed: Bed) -> None:
    async with narrow_bed.open() as log:
        await log.ensure_topic(narrow_bed.config.topic("metrics"))
        at = Partition(spec_name(narrow_bed), 0)
        # Started at once, so that none is durable when the next asks.
        results = await asyncio.gather(*[log.append(at, (), bytes(100_000)) for _ in range(10)], return_exceptions=True)
        refused = [result for result in results if isinstance(result, LogFullError)]
        placed = [result for result in results if not isinstance(result, BaseException)]
        assert len(placed) >= 2
        assert len(placed) + len(refused) == 10
        assert refused
        assert all(error.retry_after_s for error in refused)
        assert [await appending for appending in placed] == list(range(len(placed)))
        assert await append(log, at, bytes(100_000)) == [len(placed)]


async def test_one_record_is_taken_even_if_it_is_larger_than_what_may_wait(narrow_bed: Bed) -> None:
    async with narrow_bed.open() as log:
        await log.ensure_topic(narrow_bed.config.topic("metrics"))
        assert await append(log, Partition(spec_name(narrow_bed), 0), bytes(400_000)) == [0]


async def test_what_stands_behind_a_failed_append_fails_too_and_the_next_one_goes_on_without_a_gap(
    breakable: Bed,
) -> None:
    async with breakable.open() as log:
        await log.ensure_topic(breakable.config.topic("metrics", partitions=1))
        at = Partition(spec_name(breakable), 0)
        await append(log, at, b"before")
        async with breakable.breaking():
            placed = [await log.append(at, (), b"lost-%d" % n + bytes(300_000)) for n in range(5)]
            results = await asyncio.gather(*placed, return_exceptions=True)
        assert all(isinstance(result, TransientError) for result in results), results
        assert await append(log, at, b"after", b"after that") == [1, 2]
        kept = [record.payload for record in await log.read(at, 0, max_bytes=2**30)]
    assert kept == [b"before", b"after", b"after that"]


async def test_who_gives_up_waiting_takes_nothing_back(bed: Bed) -> None:
    async with bed.open() as log:
        await log.ensure_topic(bed.config.topic("metrics"))
        at = Partition(spec_name(bed), 0)
        waiting = asyncio.ensure_future(await log.append(at, (), b"x"))
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert await append(log, at, b"y") == [1]
        assert [record.payload for record in await log.read(at, 0, max_bytes=2**20)] == [b"x", b"y"]


async def test_a_lone_member_gets_everything_in_order(bed: Bed) -> None:
    async with bed.open() as log:
        await log.ensure_topic(bed.config.topic("metrics", partitions=3))
        for number in range(3):
            await append(log, Partition(spec_name(bed), number), *[b"%d" % n for n in range(20)])
        owner = Owner()
        consumer = await log.subscribe("g", [spec_name(bed)], owner)
        records = await fetch(consumer, 60, max_bytes=100)
        await consumer.close()
    for number in range(3):
        mine = [(record.offset, record.payload) for record in records if record.at.number == number]
        assert mine == [(n, b"%d" % n) for n in range(20)]
    assert owner.gained[0] == {Partition(spec_name(bed), number) for number in range(3)}
    assert owner.owned == set()


async def test_fetching_nothing_returns_nothing_after_the_timeout(bed: Bed) -> None:
    async with bed.open() as log:
        await log.ensure_topic(bed.config.topic("metrics"))
        consumer = await log.subscribe("g", [spec_name(bed)], owner := Owner())
        await until(lambda: owner.owned, consumer)
        assert await consumer.fetch(max_bytes=1000, timeout_s=0.0) == {}
        assert await consumer.fetch(max_bytes=1000, timeout_s=0.01) == {}
        await consumer.close()


async def test_a_waiting_fetch_gets_what_is_appended_meanwhile(bed: Bed) -> None:
    async with bed.open() as log:
        await log.ensure_topic(bed.config.topic("metrics"))
        consumer = await log.subscribe("g", [spec_name(bed)], owner := Owner())
        await until(lambda: owner.owned, consumer)
        fetching = asyncio.create_task(consumer.fetch(max_bytes=1000, timeout_s=DEADLINE_S))
        await append(log, Partition(spec_name(bed), 1), b"x")
        found = await fetching
        assert [record.payload for records in found.values() for record in records] == [b"x"]
        await consumer.close()


async def test_fetch_is_bounded_in_bytes_but_never_stuck(bed: Bed) -> None:
    async with bed.open() as log:
        await log.ensure_topic(bed.config.topic("metrics", partitions=1))
        at = Partition(spec_name(bed), 0)
        await append(log, at, *[b"x" * 1000] * 10, b"y" * 50_000, b"z")
        consumer = await log.subscribe("g", [at.topic], Owner())
        sizes: list[list[int]] = []
        async with asyncio.timeout(DEADLINE_S):
            while sum(map(len, sizes)) < 12:
                found = await consumer.fetch(max_bytes=4000, timeout_s=0.2)
                sizes.append([len(record.payload) for record in found.get(at, ())])
        assert all(sum(batch) <= 4000 or len(batch) == 1 for batch in sizes)
        await consumer.close()


async def test_two_members_share_and_the_one_that_stays_gets_all_from_the_committed_offsets(bed: Bed) -> None:
    async with bed.open() as log:
        topic = spec_name(bed)
        partitions = {Partition(topic, number) for number in range(4)}
        await log.ensure_topic(bed.config.topic("metrics", partitions=4))
        for at in partitions:
            await append(log, at, b"0", b"1", b"2")
        first = await log.subscribe("g", [topic], one := Owner())
        await fetch(first, 12)
        await first.commit(dict.fromkeys(partitions, 3))
        second = await log.subscribe("g", [topic], two := Owner())
        await until(lambda: len(one.owned) == len(two.owned) == 2, first, second)
        assert one.owned | two.owned == partitions
        for at in partitions:
            await append(log, at, b"3")
        mine, others = await asyncio.gather(fetch(first, 2), fetch(second, 2))
        assert {record.at for record in mine} == one.owned
        assert {record.at for record in others} == two.owned
        assert {record.offset for record in [*mine, *others]} == {3}
        # The one that leaves has not committed what it fetched: it comes again.
        left = set(two.owned)
        await first.commit({record.at: 4 for record in mine})
        await second.close()
        again = await fetch(first, 2)
        assert {(record.at, record.offset) for record in again} == {(at, 3) for at in left}
        assert one.owned == partitions
        await first.close()


async def test_a_restarted_group_goes_on_behind_its_committed_offsets(bed: Bed) -> None:
    at = Partition(spec_name(bed), 0)
    async with bed.open() as log:
        await log.ensure_topic(bed.config.topic("metrics"))
        await append(log, at, b"a", b"b", b"c")
        consumer = await log.subscribe("g", [at.topic], Owner())
        await fetch(consumer, 3)
        await consumer.commit({at: 2})
        assert await consumer.committed(at) == 2
        assert await consumer.committed(Partition(at.topic, 1)) is None
        await consumer.close()
    async with bed.open() as log:
        await log.ensure_topic(bed.config.topic("metrics"))
        assert await log.committed("g", [at, Partition(at.topic, 1)]) == {at: 2}
        assert await log.committed("another", [at]) == {}
        consumer = await log.subscribe("g", [at.topic], Owner())
        assert [record.payload for record in await fetch(consumer, 1)] == [b"c"]
        await consumer.close()


async def test_groups_do_not_see_one_another(bed: Bed) -> None:
    at = Partition(spec_name(bed), 0)
    async with bed.open() as log:
        await log.ensure_topic(bed.config.topic("metrics"))
        await append(log, at, b"a")
        for group in ("one", "two"):
            consumer = await log.subscribe(group, [at.topic], Owner())
            assert [record.payload for record in await fetch(consumer, 1)] == [b"a"]
            await consumer.commit({at: 1})
            await consumer.close()


async def test_offsets_of_a_lost_partition_cannot_be_committed(bed: Bed) -> None:
    async with bed.open() as log:
        topic = spec_name(bed)
        await log.ensure_topic(bed.config.topic("metrics", partitions=2))
        first = await log.subscribe("g", [topic], one := Owner())
        await until(lambda: len(one.owned) == 2, first)
        second = await log.subscribe("g", [topic], two := Owner())
        await until(lambda: len(one.owned) == len(two.owned) == 1, first, second)
        with pytest.raises(TransientError):
            await first.commit(dict.fromkeys(two.owned, 0))
        await first.commit(dict.fromkeys(one.owned, 0))
        await first.close()
        await second.close()


async def test_what_is_committed_while_partitions_are_revoked_counts(bed: Bed) -> None:
    class Settling(Owner):
        consumer: Consumer

        async def revoked(self, partitions: Collection[Partition]) -> None:
            await self.consumer.commit(dict.fromkeys(partitions, 1))
            await super().revoked(partitions)

    async with bed.open() as log:
        topic = spec_name(bed)
        await log.ensure_topic(bed.config.topic("metrics", partitions=1))
        at = Partition(topic, 0)
        await append(log, at, b"a")
        owner = Settling()
        owner.consumer = await log.subscribe("g", [topic], owner)
        await fetch(owner.consumer, 1)
        await owner.consumer.close()
        assert await log.committed("g", [at]) == {at: 1}


async def test_a_failing_rebalance_callback_reaches_fetch(bed: Bed) -> None:
    class Failing(Owner):
        async def assigned(self, partitions: Collection[Partition]) -> None:
            raise TransientError("cannot take over")

    async with bed.open() as log:
        await log.ensure_topic(bed.config.topic("metrics"))
        consumer = await log.subscribe("g", [spec_name(bed)], Failing())
        with pytest.raises(TransientError, match="cannot take over"):
            await until(lambda: False, consumer)
        await consumer.close()


async def test_a_seek_in_the_rebalance_callback_counts(bed: Bed) -> None:
    class Seeking(Owner):
        consumer: Consumer | None = None

        async def assigned(self, partitions: Collection[Partition]) -> None:
            assert self.consumer is not None
            for at in partitions:
                self.consumer.seek(at, 2)
            await super().assigned(partitions)

    async with bed.open() as log:
        at = Partition(spec_name(bed), 0)
        await log.ensure_topic(bed.config.topic("metrics", partitions=1))
        await append(log, at, b"a", b"b", b"c")
        owner = Seeking()
        owner.consumer = await log.subscribe("g", [at.topic], owner)
        assert [record.payload for record in await fetch(owner.consumer, 1)] == [b"c"]
        await owner.consumer.close()


async def test_paused_partitions_rest_and_go_on_where_they_were(bed: Bed) -> None:
    async with bed.open() as log:
        topic = spec_name(bed)
        await log.ensure_topic(bed.config.topic("metrics", partitions=2))
        resting, going = Partition(topic, 0), Partition(topic, 1)
        await append(log, resting, *[b"x" * 1000] * 8)
        consumer = await log.subscribe("g", [topic], Owner())
        begun = await fetch(consumer, 1, max_bytes=1)
        consumer.pause(resting)
        await append(log, going, b"a", b"b")
        assert {record.at for record in await fetch(consumer, 2)} == {going}
        assert await consumer.fetch(max_bytes=2**20, timeout_s=0.3) == {}
        consumer.resume(resting)
        rest = await fetch(consumer, 7)
        assert [record.offset for record in [*begun, *rest]] == list(range(8))
        await consumer.close()


async def test_seek_goes_back_and_forth(bed: Bed) -> None:
    async with bed.open() as log:
        at = Partition(spec_name(bed), 0)
        await log.ensure_topic(bed.config.topic("metrics", partitions=1))
        await append(log, at, *[b"%d" % n for n in range(30)])
        consumer = await log.subscribe("g", [at.topic], Owner())
        assert [record.offset for record in await fetch(consumer, 1, max_bytes=1)] == [0]
        consumer.seek(at, 28)
        assert [record.offset for record in await fetch(consumer, 2)] == [28, 29]
        consumer.seek(at, 10)
        assert [record.offset for record in await fetch(consumer, 20)] == list(range(10, 30))
        with pytest.raises(TransientError):
            consumer.seek(Partition(at.topic, 7), 0)
        await consumer.close()


async def test_a_group_that_starts_at_the_latest_skips_nothing_after_its_first_start(bed: Bed) -> None:
    at = Partition(spec_name(bed), 0)
    async with bed.open() as log:
        await log.ensure_topic(bed.config.topic("metrics", partitions=1))
        await append(log, at, b"old")
        consumer = await log.subscribe("g", [at.topic], owner := Owner(), start=Start.LATEST)
        await until(lambda: owner.owned, consumer)
        await consumer.close()
        await append(log, at, b"while nobody read")
        consumer = await log.subscribe("g", [at.topic], Owner(), start=Start.LATEST)
        assert [record.payload for record in await fetch(consumer, 1)] == [b"while nobody read"]
        await consumer.close()


async def test_a_reader_that_retention_has_passed_is_told_where_the_log_begins(bed: Bed) -> None:
    async with bed.open() as log:
        at = Partition(spec_name(bed), 0)
        await log.ensure_topic(bed.config.topic("metrics", partitions=1))
        await append(log, at, *[b"%d" % n for n in range(10)])
        consumer = await log.subscribe("g", [at.topic], owner := Owner())
        await fetch(consumer, 10)
        consumer.seek(at, 3)
        await bed.forget(log, at, 6)
        consumer.seek(at, 3)
        with pytest.raises(OffsetOutOfRangeError) as raised:
            await until(lambda: False, consumer)
        assert (raised.value.at, raised.value.start) == (at, 6)
        consumer.seek(at, raised.value.start)
        assert [record.offset for record in await fetch(consumer, 4)] == [6, 7, 8, 9]
        assert owner.owned == {at}
        await consumer.close()


async def test_offsets_are_found_by_time(bed: Bed) -> None:
    async with bed.open() as log:
        at = Partition(spec_name(bed), 0)
        await log.ensure_topic(bed.config.topic("metrics", partitions=1))
        assert await log.offset_at(at, 0) == 0
        for n in range(5):
            await append(log, at, b"%d" % n)
            # Into the next millisecond, so that each record has a time of its own.
            await asyncio.sleep(0.003)
        times_ms = [record.append_time_ms for record in await log.read(at, 0, max_bytes=2**20)]
        assert [await log.offset_at(at, time_ms) for time_ms in times_ms] == [0, 1, 2, 3, 4]
        assert await log.offset_at(at, 0) == 0
        assert await log.offset_at(at, times_ms[4] + 1) == 5


async def test_a_compacted_topic_gives_the_newest_of_each_key(bed: Bed) -> None:
    at = Partition(spec_name(bed, "settled"), 0)
    spec = bed.config.topic("settled", compacted=True, partitions=2)
    async with bed.open() as log:
        await log.ensure_topic(spec)
        assert await log.compacted(at) == {}
        for n in range(3):
            await append(log, at, b"%d" % n, key=b"a")
            await append(log, at, b"%d" % (n + 10), key=b"b")
        await append(log, Partition(at.topic, 1), b"elsewhere", key=b"a")
        assert await log.compacted(at) == {b"a": b"2", b"b": b"12"}
        await append(log, at, b"", key=b"a")
        assert await log.compacted(at) == {b"b": b"12"}
    async with bed.open() as log:
        await log.ensure_topic(spec)
        await append(log, at, b"back", key=b"a")
        assert await log.compacted(at) == {b"a": b"back", b"b": b"12"}


async def test_a_compacted_topic_refuses_records_without_a_key(bed: Bed) -> None:
    async with bed.open() as log:
        await log.ensure_topic(bed.config.topic("settled", compacted=True))
        with pytest.raises(PermanentError, match="key"):
            await log.append(Partition(spec_name(bed, "settled"), 0), (), b"x")


async def test_several_members_consume_in_one_process_while_others_append(bed: Bed) -> None:
    async with bed.open() as log:
        topic = spec_name(bed)
        await log.ensure_topic(bed.config.topic("metrics", partitions=4))
        consumers = [await log.subscribe("g", [topic], Owner()) for _ in range(2)]
        seen: set[tuple[int, int]] = set()

        async def consume(consumer: Consumer) -> None:
            while len(seen) < 400:
                for at, records in (await consumer.fetch(max_bytes=2**20, timeout_s=0.1)).items():
                    seen.update((at.number, record.offset) for record in records)

        async def produce(number: int) -> None:
            for n in range(100):
                await append(log, Partition(topic, number), b"%d" % n)

        async with asyncio.timeout(DEADLINE_S):
            await asyncio.gather(*map(consume, consumers), *map(produce, range(4)))
        assert seen == {(number, offset) for number in range(4) for offset in range(100)}
        for consumer in consumers:
            await consumer.close()
