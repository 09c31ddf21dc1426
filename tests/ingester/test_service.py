import asyncio
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from ingester.deliver import Shipment
from pipeline.errors import PermanentError
from pipeline.log.interface import Log, Partition
from pipeline.log.sqlite import SqliteLog
from pipeline.telemetry import LogMetrics
from pipeline.wire.envelope import to_headers
from tests.ingester.parts import (
    METRICS,
    Answer,
    Lane,
    Nobody,
    Sample,
    Store,
    append,
    config_of,
    ingesting,
    labels,
    ledger,
    letters,
    opened_log,
    samples_in,
    until,
)

OTHER = Partition("pronoia.metrics", 1)


async def committed(log: Log, at: Partition = METRICS) -> int:
    return (await log.committed("pronoia.store", [at])).get(at, -1)


async def test_what_is_in_the_log_reaches_the_store_once_and_the_ledger_says_so(tmp_path: Path) -> None:
    lane = Lane()
    batches = [lane.round(n) for n in range(20)]
    async with Store().running() as store:
        config = config_of(tmp_path, store.url)
        async with opened_log(config) as log:
            await append(log, METRICS, *batches)
            async with ingesting(config, log) as ingester:
                await until(lambda: len(store.taken) == 200)
            await ledger(ingester, delivered=200, rejected=0, missing=0, duplicated=0)
            received = (await ingester.status())["clusters"][0]["signals"]["metrics"]["received"]
            assert await committed(log) == 20
    assert store.taken == [sample for _, payload in batches for sample in samples_in(payload)]
    assert received == 200


async def test_records_are_joined_into_few_requests(tmp_path: Path) -> None:
    lane = Lane()
    async with Store().running() as store:
        config = config_of(tmp_path, store.url, window=1_000)
        async with opened_log(config) as log:
            await append(log, METRICS, *(lane.round(n) for n in range(90)))
            async with ingesting(config, log):
                await until(lambda: len(store.taken) == 900)
    assert len(store.requests) < 10


async def test_removed_and_doubled_records_show_exactly_as_missing_and_duplicated(tmp_path: Path) -> None:
    lane, other = Lane(), Lane(agent="a2", lane=1, epoch=7)
    first = [lane.round(n, 3 + n) for n in range(20)]
    second = [other.round(n, 5) for n in range(20)]
    removed = sum(first[n][0].items for n in (0, 4, 5, 11)) + second[7][0].items
    doubled = first[2][0].items + first[9][0].items + 2 * second[3][0].items
    async with Store().running() as store:
        config = config_of(tmp_path, store.url)
        async with opened_log(config) as log:
            await append(log, METRICS, *(b for n, b in enumerate(first) if n not in (0, 4, 5, 11)))
            await append(log, METRICS, first[2], first[9])
            await append(log, OTHER, *(b for n, b in enumerate(second) if n != 7), second[3], second[3])
            async with ingesting(config, log) as ingester:
                await until(lambda: len(store.taken) == sum(b[0].items for b in (*first, *second)) - removed)
            await ledger(ingester, missing=removed, duplicated=doubled, missing_records=5, duplicated_records=4)
    assert len(set(store.taken)) == len(store.taken)


async def test_nothing_is_sent_further_than_the_window_beyond_the_committed_offset(tmp_path: Path) -> None:
    lane = Lane()
    async with Store(hold=asyncio.Event()).running() as store:
        assert store.hold is not None
        config = config_of(tmp_path, store.url, window=50)
        async with opened_log(config) as log:
            await append(log, METRICS, *(lane.round(n) for n in range(20)))
            async with ingesting(config, log):
                await until(lambda: store.arrived > 0)
                assert store.arrived == 40
                assert await committed(log) == 0
                store.hold.set()
                await until(lambda: len(store.taken) == 200)


async def test_offset_is_not_committed_while_the_store_refuses(tmp_path: Path) -> None:
    lane = Lane()
    answers: list[Answer] = [
        (503, "busy"),
        (429, "slow down", {"Retry-After": "0"}),
        (401, "who are you"),
        (500, "oops"),
    ]
    async with Store(lambda s, h: answers.pop(0) if answers else (204, "")).running() as store:
        config = config_of(tmp_path, store.url)
        async with opened_log(config) as log:
            await append(log, METRICS, lane.round(0))
            async with ingesting(config, log) as ingester:
                await until(lambda: bool(store.taken))
                assert [status for status, _, _ in store.requests] == [503, 429, 401, 500, 204]
            assert await committed(log) == 1
            await ledger(ingester, delivered=10)


async def test_a_store_that_is_down_holds_its_partitions_and_they_go_on_when_it_is_back(tmp_path: Path) -> None:
    lane = Lane()
    store = Store()
    async with store.running():
        pass
    config = config_of(tmp_path, store.url)
    async with opened_log(config) as log:
        await append(log, METRICS, *(lane.round(n) for n in range(5)))
        async with ingesting(config, log) as ingester:
            while not (await ingester.status())["sinks"][0]["retrying"]:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
            assert await committed(log) == 0
            async with store.running():
                await until(lambda: len(store.taken) == 50)
            await ledger(ingester, delivered=50, rejected=0)


async def test_single_refused_samples_go_to_dead_letters_with_the_stores_words_and_the_rest_is_delivered(
    tmp_path: Path,
) -> None:
    def judge(samples: list[Sample], _: Any) -> Answer:
        bad = [s for s in samples if dict(s[0])["i"] == "0007" and s[2] == 3.0]
        return (400, "label value too long") if bad else (204, "")

    lane = Lane()
    async with Store(judge).running() as store:
        config = config_of(tmp_path, store.url)
        async with opened_log(config) as log:
            await append(log, METRICS, *(lane.round(n) for n in range(8)))
            async with ingesting(config, log) as ingester:
                await until(lambda: len(store.taken) == 79)
            await ledger(ingester, delivered=79, rejected=1)
            [letter] = await letters(log)
    assert len(set(store.taken)) == 79
    assert (letter.sink, letter.status, letter.reason) == ("store", 400, "HTTP 400: label value too long")
    assert (letter.source, letter.source_offset, letter.items) == (METRICS, 3, 1)
    [sample] = samples_in(letter.payload)
    assert (dict(sample[0])["i"], sample[2]) == ("0007", 3.0)
    assert dict(letter.original)["cluster"] == b"c1"


async def test_poison_records_go_to_dead_letters_and_never_block(tmp_path: Path) -> None:
    lane = Lane()
    good, torn = lane.round(0), lane.round(1)
    async with Store().running() as store:
        config = config_of(tmp_path, store.url)
        async with opened_log(config) as log:
            await append(log, METRICS, good, (torn[0], torn[1][:-3]))
            await (await log.append(METRICS, (("content-type", b"text/plain"),), b"hello"))
            await (await log.append(METRICS, (("pronoia", b"1"), ("sequence", b"x")), b"hello"))
            await append(log, METRICS, lane.round(2))
            async with ingesting(config, log) as ingester:
                await until(lambda: len(store.taken) == 20)
            await ledger(ingester, delivered=20, rejected=10, missing=0)
            reasons = [letter.reason for letter in await letters(log)]
            assert await committed(log) == 5
    assert reasons[0] == "the payload is not what its checksum says"
    assert "not a record of ours" in reasons[1]
    assert "header sequence" in reasons[2]


async def test_a_record_of_a_newer_version_stops_its_partition_with_an_alarm_and_is_never_skipped(
    tmp_path: Path,
) -> None:
    lane, other = Lane(), Lane(lane=1)
    async with Store().running() as store:
        config = config_of(tmp_path, store.url)
        async with opened_log(config) as log:
            await append(log, METRICS, lane.round(0))
            envelope, payload = lane.round(1)
            await (await log.append(METRICS, (("pronoia", b"2"), *to_headers(envelope)[1:]), payload))
            await append(log, METRICS, lane.round(2))
            await append(log, OTHER, other.round(0))
            async with ingesting(config, log) as ingester:
                await until(lambda: len(store.taken) == 20 and "version" in (ingester.ready() or ""))
            assert await committed(log) == 1


async def test_clusters_and_tenants_never_share_a_request(tmp_path: Path) -> None:
    lanes = [Lane(cluster=f"c{n % 2}", lane=n, tenant=f"t{n}") for n in range(4)]
    seen: list[tuple[set[str], str]] = []

    def judge(samples: list[Sample], headers: Any) -> Answer:
        seen.append(({dict(s[0])["lane"] for s in samples}, headers["X-Scope-OrgID"]))
        return 204, ""

    async with Store(judge).running() as store:
        config = config_of(tmp_path, store.url, tenant="{cluster}-{tenant}")
        async with opened_log(config) as log:
            await append(log, METRICS, *(lane.round(n) for n in range(10) for lane in lanes))
            async with ingesting(config, log):
                await until(lambda: len(store.taken) == 400)
    assert {(frozenset(a), b) for a, b in seen} == {
        (frozenset({"0"}), "c0-t0"),
        (frozenset({"1"}), "c1-t1"),
        (frozenset({"2"}), "c0-t2"),
        (frozenset({"3"}), "c1-t3"),
    }


async def test_a_sink_takes_only_its_clusters(tmp_path: Path) -> None:
    mine, other = Lane(cluster="c1"), Lane(cluster="c2")
    async with Store().running() as store:
        config = config_of(tmp_path, store.url, clusters=["c1"])
        async with opened_log(config) as log:
            await append(log, METRICS, *(lane.round(n) for n in range(5) for lane in (mine, other)))
            async with ingesting(config, log) as ingester:
                await until(lambda: len(store.taken) == 50)
            status = await ingester.status()
            assert await committed(log) == 10
    assert [cluster["name"] for cluster in status["clusters"]] == ["c1"]


async def test_a_throttled_tenant_holds_only_its_own_batches(tmp_path: Path) -> None:
    slow, quick = Lane(cluster="slow"), Lane(cluster="quick")
    throttled = True

    def judge(samples: list[Sample], headers: Any) -> Answer:
        return (429, "slow down") if throttled and headers["X-Scope-OrgID"] == "slow" else (204, "")

    async with Store(judge).running() as store:
        config = config_of(tmp_path, store.url, window=50, tenant="{cluster}")
        async with opened_log(config) as log:
            await append(log, METRICS, *(lane.round(n) for n in range(40) for lane in (slow, quick)))
            async with ingesting(config, log) as ingester:
                await until(lambda: len(store.taken) == 400)
                assert await committed(log) == 0
            # Another owner goes on: what was settled ahead of the commit is not sent again.
            async with ingesting(config, log) as ingester:
                await until(lambda: any(r["tenant"] == "slow" for s in ingester._sinks_status() for r in s["retrying"]))
                throttled = False
                await until(lambda: len(store.taken) == 800)
            await ledger(ingester, "quick", delivered=400, duplicated=0)
            await ledger(ingester, "slow", delivered=400, duplicated=0)
            assert await committed(log) == 80
    assert len(set(store.taken)) == 800


async def test_the_next_owner_goes_on_where_the_last_one_committed_and_counts_on(tmp_path: Path) -> None:
    lane = Lane()
    async with Store().running() as store:
        config = config_of(tmp_path, store.url)
        async with opened_log(config) as log:
            await append(log, METRICS, *(lane.round(n) for n in range(5)))
            async with ingesting(config, log):
                await until(lambda: len(store.taken) == 50)
            lane.round(5)
            await append(log, METRICS, *(lane.round(n) for n in range(6, 9)))
            async with ingesting(config, log) as ingester:
                await until(lambda: len(store.taken) == 80)
            await ledger(ingester, delivered=80, missing=10, duplicated=0)


async def test_two_members_share_the_partitions_and_status_knows_both(tmp_path: Path) -> None:
    lane, other = Lane(), Lane(lane=1)
    async with Store().running() as store:
        config = config_of(tmp_path, store.url)
        async with opened_log(config) as log, ingesting(config, log) as one:
            await append(log, METRICS, *(lane.round(n) for n in range(10)))
            await append(log, OTHER, *(other.round(n) for n in range(10)))
            async with ingesting(config, log) as two:
                await append(log, METRICS, *(lane.round(n) for n in range(10, 20)))
                await append(log, OTHER, *(other.round(n) for n in range(10, 20)))
                await until(lambda: len(store.taken) == 400)
                for part in (one, two):
                    await ledger(part, delivered=400)
    assert len(set(store.taken)) == 400


async def test_a_sink_that_starts_late_takes_only_what_comes_later(tmp_path: Path) -> None:
    lane = Lane()
    async with Store().running() as store:
        config = config_of(tmp_path, store.url, start="latest")
        async with opened_log(config) as log:
            await append(log, METRICS, *(lane.round(n) for n in range(5)))
            async with ingesting(config, log) as ingester:
                await until(lambda: not ingester.ready())
                while await committed(log) < 0:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            await append(log, METRICS, *(lane.round(n) for n in range(5, 8)))
            async with ingesting(config, log) as ingester:
                await until(lambda: len(store.taken) == 30)
            await ledger(ingester, delivered=30, missing=0)


async def test_a_sink_that_starts_at_a_time_takes_what_was_appended_then(tmp_path: Path) -> None:
    lane = Lane()
    async with Store().running() as store:
        async with opened_log(config_of(tmp_path, store.url)) as log:
            await append(log, METRICS, *(lane.round(n) for n in range(5)))
            start_ms = (await log.read(METRICS, 4, max_bytes=1))[0].append_time_ms + 1
            while time.time() * 1000 < start_ms + 1:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
            await append(log, METRICS, *(lane.round(n) for n in range(5, 8)))
        start = datetime.fromtimestamp(start_ms / 1000, UTC).isoformat()
        config = config_of(tmp_path, store.url, start=start)
        async with opened_log(config) as log, ingesting(config, log):
            await until(lambda: len(store.taken) == 30)
    assert {sample[2] for sample in store.taken} == {5.0, 6.0, 7.0}


async def test_what_retention_took_before_it_was_read_is_missing(tmp_path: Path) -> None:
    lane = Lane()
    async with Store().running() as store:
        config = config_of(tmp_path, store.url)
        async with opened_log(config) as log:
            assert isinstance(log, SqliteLog)
            await append(log, METRICS, *(lane.round(n) for n in range(5)))
            async with ingesting(config, log):
                await until(lambda: len(store.taken) == 50)
            await append(log, METRICS, *(lane.round(n) for n in range(5, 20)))
            await log.delete_before(METRICS, 12)
            async with ingesting(config, log) as ingester:
                await until(lambda: len(store.taken) == 130)
            await ledger(ingester, delivered=130, missing=70, missing_records=7)


async def test_a_refused_record_that_fills_a_record_is_kept_in_parts(tmp_path: Path) -> None:
    lane = Lane()
    async with Store(lambda s, h: (400, "no " * 300)).running() as store:
        config = config_of(tmp_path, store.url)
        log = SqliteLog(tmp_path / "log", LogMetrics(CollectorRegistry()), max_record_bytes=3_000)
        await log.start()
        await log.ensure_topic(config.log.topic("metrics"))
        samples = [(labels(os.urandom(20).hex(), i=str(n)), 1_790_000_000_000, float(n)) for n in range(50)]
        await append(log, METRICS, lane.batch(samples))
        async with ingesting(config, log) as ingester:
            await ledger(ingester, delivered=0, rejected=50)
        kept = await letters(log)
        await log.close()
    assert sum(letter.items for letter in kept) == 50
    assert sorted(s for letter in kept for s in samples_in(letter.payload)) == sorted(samples)


async def test_a_sink_relabels_what_its_receiver_is_to_get(tmp_path: Path) -> None:
    lane = Lane()
    rules = [{"source_labels": ["i"], "regex": "0003", "action": "drop"}, {"regex": "lane", "action": "labeldrop"}]
    async with Store().running() as store:
        config = config_of(tmp_path, store.url, remote_write={"url": store.url, "write_relabel_configs": rules})
        async with opened_log(config) as log:
            await append(log, METRICS, *(lane.round(n) for n in range(5)))
            async with ingesting(config, log):
                await until(lambda: len(store.taken) == 45)
    assert all(dict(s[0])["i"] != "0003" and "lane" not in dict(s[0]) for s in store.taken)


async def test_a_sink_that_fails_begins_anew_and_the_others_do_not_notice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failures, deliver = iter([True, True]), Shipment.deliver

    async def fail_twice(shipment: Shipment) -> bool:
        if shipment.context.config.name == "store" and next(failures, False):
            raise ZeroDivisionError("a bug")
        return await deliver(shipment)

    monkeypatch.setattr(Shipment, "deliver", fail_twice)
    async with Store().running() as store, Store().running() as other:
        config, more = config_of(tmp_path, store.url), config_of(tmp_path, other.url, name="other")
        config = config.model_copy(update={"sinks": [*config.sinks, *more.sinks]})
        async with opened_log(config) as log, ingesting(config, log) as ingester:
            await append(log, METRICS, *(Lane(lane=n).round(1) for n in range(2)))
            await until(lambda: "sink store: has failed: ZeroDivisionError: a bug" in (ingester.ready() or ""))
            await until(lambda: len(other.taken) == 20)
            await until(lambda: len(store.taken) == 20 and ingester.ready() is None)
    assert [record.levelname for record in caplog.records if "begins anew" in record.message] == ["CRITICAL"] * 2


async def test_a_sink_that_is_not_there_in_this_process_is_refused_by_name(tmp_path: Path) -> None:
    config = type(config_of(tmp_path, "http://x/")).model_validate(
        {"log": {"sqlite": {"path": str(tmp_path)}}, "sinks": [{"name": "mine", "store": {}}]}
    )
    async with opened_log(config) as log:
        with pytest.raises(PermanentError, match="sink mine"):
            async with ingesting(config, log):
                pass


async def test_a_topic_that_was_made_anew_is_delivered_from_its_beginning(tmp_path: Path) -> None:
    old, new = Lane(), Lane(epoch=9)
    async with Store().running() as store:
        config = config_of(tmp_path, store.url)
        async with opened_log(config) as log:
            await append(log, METRICS, *(new.round(n) for n in range(3)))
            await append(log, OTHER, *(old.round(n) for n in range(5)))
            nobody = Nobody()
            consumer = await log.subscribe("pronoia.store", ["pronoia.metrics"], nobody)
            await nobody.owns.wait()
            await consumer.commit({METRICS: 100, OTHER: 5})
            await consumer.close()
            async with ingesting(config, log) as ingester:
                await until(lambda: len(store.taken) == 30)
                await ledger(ingester, delivered=30, missing=0)
            assert await committed(log) == 3
