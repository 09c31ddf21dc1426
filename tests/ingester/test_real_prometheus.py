"""The sink against a real Prometheus: what it refuses, what it takes twice without showing it, and what comes late."""

import asyncio
import time
from pathlib import Path

import pytest

from ingester.config import IngesterConfig
from ingester.progress import Progress, ProgressLog
from ingester.settle import Settled
from pipeline.log.interface import Log, Partition
from tests.ingester.parts import (
    METRICS,
    Lane,
    Nobody,
    Sample,
    append,
    config_of,
    ingesting,
    labels,
    ledger,
    letters,
    opened_log,
    until_committed,
)
from tests.servers.prometheus import Prometheus

pytestmark = pytest.mark.prometheus

HOUR_MS = 3_600_000


def scrape(name: str, at_ms: int, series: int = 20) -> list[Sample]:
    return [(labels("m", job=name, i=f"{i:04d}"), at_ms, float(at_ms % 1_000_000)) for i in range(series)]


async def stored(prometheus: Prometheus, selector: str = '{__name__="m"}') -> set[Sample]:
    end_s = time.time() + 60
    found = await prometheus.samples(selector, end_s=end_s, window_s=5 * 3600)
    return {(name, at_ms, value) for name, samples in found.items() for at_ms, value in samples}


async def test_an_agent_hours_behind_is_stored_with_the_window_and_rejected_without(tmp_path: Path) -> None:
    now_ms = int(time.time()) * 1000
    current, late = Lane(), Lane(agent="late", lane=1, epoch=7)
    batches, behind = [], []
    for n in range(10):
        batches.append(current.batch(scrape("current", now_ms - 150_000 + n * 15_000)))
        behind.append(late.batch(scrape("late", now_ms - 3 * HOUR_MS + n * 15_000)))
    for window in ("6h", None):
        folder = tmp_path / str(window)
        async with Prometheus(folder / "p", out_of_order_time_window=window) as prometheus:
            config = config_of(folder / "log", prometheus.write_url)
            async with opened_log(config) as log:
                await append(
                    log, METRICS, *batches[:5], *(b for pair in zip(batches[5:], behind[:5], strict=True) for b in pair)
                )
                await append(log, METRICS, *behind[5:])
                async with ingesting(config, log) as ingester:
                    rejected = 0 if window else 200
                    await ledger(ingester, delivered=400 - rejected, rejected=rejected)
                refused = await letters(log)
            there = await stored(prometheus)
        if window:
            assert len(there) == 400
        else:
            assert {dict(name)["job"] for name, _, _ in there} == {"current"}
            assert len(there) == 200
            assert sum(letter.items for letter in refused) == 200
            assert all("out of bounds" in letter.reason for letter in refused)


async def test_the_same_series_in_the_wrong_order_is_rejected_not_lost_silently(tmp_path: Path) -> None:
    now_ms = int(time.time()) * 1000
    new, old = Lane(), Lane(agent="old", epoch=7)
    async with Prometheus(tmp_path / "p") as prometheus:
        config = config_of(tmp_path / "log", prometheus.write_url)
        async with opened_log(config) as log:
            # A target moved to another agent, and the first one's backlog comes after the second one's samples.
            fresh = [new.batch(scrape("x", now_ms - 60_000 + n * 15_000)) for n in range(4)]
            backlog = [old.batch(scrape("x", now_ms - 1_500_000 + n * 15_000)) for n in range(4)]
            for envelope, _ in (*fresh, *backlog):
                assert envelope.earliest_ms
            await append(log, METRICS, *fresh, *backlog)
            async with ingesting(config, log) as ingester:
                await ledger(ingester, delivered=80, rejected=80)
        there = await stored(prometheus)
    assert len(there) == 80


async def test_only_the_samples_that_prometheus_refuses_go_to_dead_letters(tmp_path: Path) -> None:
    now_ms = int(time.time()) * 1000
    lane = Lane()
    samples = scrape("x", now_ms - 1000, 2000)
    samples[777] = (samples[777][0], now_ms + 2 * HOUR_MS, 1.0)
    samples[1500] = (samples[1500][0], now_ms + 2 * HOUR_MS, 1.0)
    async with Prometheus(tmp_path / "p", out_of_order_time_window="1h") as prometheus:
        config = config_of(tmp_path / "log", prometheus.write_url)
        async with opened_log(config) as log:
            await append(log, METRICS, lane.batch(samples), lane.batch(scrape("x", now_ms, 2000)))
            async with ingesting(config, log) as ingester:
                await ledger(ingester, delivered=3998, rejected=2)
            refused = await letters(log)
        there = await stored(prometheus)
    assert [letter.items for letter in refused] == [1, 1]
    assert all("too far in the future" in letter.reason for letter in refused)
    assert len(there) == 3998


@pytest.mark.parametrize("window", ["1h", None])
async def test_what_is_in_doubt_counts_as_delivered_once(tmp_path: Path, window: str | None) -> None:
    """The same records go out again, as after a crash before their commit, and the store has them already."""
    now_ms = int(time.time()) * 1000
    lane = Lane()
    batches = [lane.batch(scrape("x", now_ms - 300_000 + n * 15_000)) for n in range(20)]
    async with Prometheus(tmp_path / "p", out_of_order_time_window=window) as prometheus:
        first = config_of(tmp_path / "first", prometheus.write_url)
        async with opened_log(first) as log:
            await append(log, METRICS, *batches[:12])
            async with ingesting(first, log) as ingester:
                await ledger(ingester, delivered=240, rejected=0)
        second = config_of(tmp_path / "second", prometheus.write_url)
        async with opened_log(second) as log:
            await append(log, METRICS, *batches)
            await crashed(second, log)
            async with ingesting(second, log) as ingester:
                await ledger(ingester, delivered=400, rejected=0)
            assert await letters(log) == []
        there = await stored(prometheus)
    assert len(there) == 400


async def crashed(config: IngesterConfig, log: Log) -> None:
    """Leave the group as an owner does that was killed before its first commit: in doubt from the start."""
    await log.ensure_topic(config.log.topic("settled", compacted=True, partitions=1))
    progress = Progress(0, Settled(from_zero=True), window=config.sinks[0].window)
    await ProgressLog(log, Partition("pronoia.settled", 0)).write("pronoia.store", METRICS, progress)
    nobody = Nobody()
    consumer = await log.subscribe("pronoia.store", ["pronoia.metrics"], nobody)
    await nobody.owns.wait()
    await consumer.commit({METRICS: 0})
    await consumer.close()


async def test_prometheus_down_for_a_while_loses_nothing(tmp_path: Path) -> None:
    now_ms = int(time.time()) * 1000
    lane = Lane()
    batches = [lane.batch(scrape("x", now_ms - 300_000 + n * 15_000)) for n in range(20)]
    async with Prometheus(tmp_path / "p", out_of_order_time_window="1h") as prometheus:
        config = config_of(tmp_path / "log", prometheus.write_url)
        async with opened_log(config) as log, ingesting(config, log) as ingester:
            await append(log, METRICS, *batches[:5])
            await until_committed(log, 5)
            await prometheus.kill()
            await append(log, METRICS, *batches[5:])
            while not (await ingester.status())["sinks"][0]["retrying"]:  # noqa: ASYNC110 - see `until`
                await asyncio.sleep(0.02)
            await prometheus.restart()
            await ledger(ingester, delivered=400, rejected=0)
        there = await stored(prometheus)
    assert len(there) == 400
