"""Loops and their pool, on virtual time: the clock jumps to whatever is waited for next."""

import asyncio
import heapq
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry

from agent.config.scrape import PROTOCOLS, ScrapeConfig
from agent.part import Part
from agent.scrape.page import MAX_PART_SAMPLES
from agent.scrape.pool import ScrapePool
from agent.scrape.turn import TurnOf
from agent.targets import Target
from pipeline.errors import TransientError
from pipeline.telemetry import ScrapeMetrics
from tests.agent.scrape.pages import IMPLEMENTATIONS, stored
from tests.agent.scrape.test_fetch import serving

START_S = 1_700_000_000.0


@dataclass
class VirtualClock:
    """Time stands still until every waiter waits, then jumps to the earliest."""

    at_s: float = START_S
    waiters: list[tuple[float, int, asyncio.Event]] = field(default_factory=list)

    def now_s(self) -> float:
        return self.at_s

    async def wait(self, event: asyncio.Event, seconds: float) -> bool:
        due = asyncio.Event()
        heapq.heappush(self.waiters, (self.at_s + seconds, id(due), due))
        waits = [asyncio.create_task(due.wait()), asyncio.create_task(event.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        return event.is_set()

    def set_back(self, seconds: float) -> None:
        """Let the clock show an earlier time; who waits does not wait longer for it."""
        self.at_s -= seconds
        self.waiters = [(at_s - seconds, number, due) for at_s, number, due in self.waiters]

    def jump(self) -> None:
        """Let the earliest waiter go on."""
        if self.waiters:
            at_s, _, due = heapq.heappop(self.waiters)
            self.at_s = max(self.at_s, at_s)
            due.set()


@dataclass
class World:
    clock: VirtualClock
    pool: ScrapePool
    url: str
    registry: CollectorRegistry
    pages: dict[str, str] = field(default_factory=dict)
    sent: list[tuple[Target, list[Part]]] = field(default_factory=list)
    failing: bool = False
    room: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: int = 0

    def target(self, path: str = "a", interval_s: float = 10.0, labels: Any = None, **config: Any) -> Target:
        job = ScrapeConfig.model_validate({"job_name": "j", "scrape_protocols": PROTOCOLS, **config})
        labels = labels or (("instance", "host:1"), ("job", "test"))
        return Target(job, labels, f"{self.url}/{path}", interval_s, 5.0)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Let time pass until the condition holds; real time is the deadline of a test that would hang."""
        async with asyncio.timeout(20):
            while not condition():
                # Real sockets take real time: the clock only jumps when nothing else is going on.
                sent = len(self.sent)
                self.clock.jump()
                for _ in range(200):
                    await asyncio.sleep(0.0005)
                    if condition() or len(self.sent) > sent:
                        break

    def metric(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0.0


@asynccontextmanager
async def world(accelerated: bool = False, turn_of: TurnOf | None = None) -> AsyncIterator[World]:
    async def handler(request: web.Request) -> web.Response:
        page = made.pages.get(request.path.lstrip("/"), "")
        return web.Response(text=page, status=200 if page else 500)

    async def emit(target: Target, parts: Sequence[Part]) -> None:
        made.waiting += 1
        await made.room.wait()
        if made.failing:
            raise TransientError("the buffer is closed")
        made.sent.append((target, list(parts)))

    registry = CollectorRegistry()
    clock = VirtualClock()
    async with serving(handler) as url:
        pool = ScrapePool(
            emit,
            ScrapeMetrics(registry),
            agent="agent",
            external_labels={},
            cluster_label="",
            clock=clock,
            turn_of=turn_of,
            accelerated=accelerated,
        )
        made = World(clock, pool, url.removesuffix("/metrics"), registry)
        made.room.set()
        try:
            yield made
        finally:
            await pool.close()


@pytest.mark.parametrize("accelerated", IMPLEMENTATIONS)
async def test_a_target_is_scraped_at_equal_distances(accelerated: bool) -> None:
    async with world(accelerated) as w:
        w.pages["a"] = "x 1\n"
        await w.pool.sync([w.target()])
        await w.until(lambda: len(w.sent) == 3)
        times = [stored(parts)["x"][0][1] for _, parts in w.sent]
        assert [later - earlier for earlier, later in pairwise(times)] == [10_000, 10_000]
        health = w.pool.health(w.target())
        assert (health.health, health.last_error) == ("up", "")
        assert w.metric("pronoia_scrapes_total", job="j", result="ok") == 3


async def test_a_clock_that_is_set_back_does_not_stop_scraping() -> None:
    async with world() as w:
        w.pages["a"] = "x 1\n"
        await w.pool.sync([w.target()])
        await w.until(lambda: len(w.sent) == 2)
        w.clock.set_back(3600)
        await w.until(lambda: len(w.sent) == 4)
        times = [stored(parts)["x"][0][1] for _, parts in w.sent]
        assert [later - earlier for earlier, later in pairwise(times)] == [10_000, -3_590_000, 10_000]


async def test_health_tells_why_a_scrape_failed_and_unknown_before_the_first() -> None:
    async with world() as w:
        target = w.target()
        assert w.pool.health(target).health == "unknown"
        await w.pool.sync([target])
        assert w.pool.health(target).health == "unknown"
        await w.until(lambda: len(w.sent) == 1)
        health = w.pool.health(target)
        assert (health.health, health.last_error) == ("down", "server returned HTTP status 500 Internal Server Error")
        assert stored(w.sent[0][1], reports=True)["up"][0][0] == "0.0"
        w.pages["a"] = "x 1\nbroken\n"
        await w.until(lambda: len(w.sent) == 2)
        assert w.pool.health(target).last_error.startswith("line 2: ")


async def test_a_target_that_goes_ends_its_series() -> None:
    async with world() as w:
        w.pages["a"] = "x 1\n"
        await w.pool.sync([w.target()])
        await w.until(lambda: len(w.sent) == 1)
        await w.pool.sync([])
        await w.until(lambda: len(w.sent) == 2)
        assert {value for samples in stored(w.sent[1][1], reports=True).values() for value, _ in samples} == {"stale"}
        assert len(stored(w.sent[1][1], reports=True)) == 6


async def test_a_target_that_was_never_scraped_ends_nothing() -> None:
    async with world() as w:
        await w.pool.sync([w.target()])
        await w.pool.sync([])
    assert w.sent == []


async def test_targets_that_stay_are_left_alone() -> None:
    async with world() as w:
        w.pages["a"] = w.pages["b"] = "x 1\n"
        first = w.target("a")
        await w.pool.sync([first])
        await w.until(lambda: len(w.sent) == 1)
        await w.pool.sync([w.target("a"), w.target("b", labels=(("instance", "host:2"), ("job", "test")))])
        await w.until(lambda: len({target.url for target, _ in w.sent}) == 2)
        assert all(
            value != "stale" for _, parts in w.sent for samples in stored(parts).values() for value, _ in samples
        )
        reports = [stored(parts, reports=True) for target, parts in w.sent if target == first]
        assert [found["scrape_series_added"][0][0] for found in reports][:1] == ["1.0"]


async def test_a_changed_job_goes_on_with_its_series_and_ends_only_what_it_drops() -> None:
    async with world() as w:
        w.pages["a"] = "x 1\ny 1\n"
        await w.pool.sync([w.target()])
        await w.until(lambda: len(w.sent) == 1)
        rule = {"source_labels": ["__name__"], "regex": "y", "action": "drop"}
        await w.pool.sync([w.target(metric_relabel_configs=[rule])])
        await w.until(lambda: len(w.sent) == 3)
        assert [set(stored(parts)) for _, parts in w.sent[1:]] == [{"x"}, {"y"}]
        assert stored(w.sent[2][1], reports=True)["y"][0][0] == "stale"
        assert set(stored(w.sent[2][1], reports=True)) == {"y"}


async def test_scrapes_are_skipped_and_counted_while_the_one_before_waits_for_room() -> None:
    async with world() as w:
        w.pages["a"] = "x 1\n"
        w.room.clear()
        await w.pool.sync([w.target(interval_s=1.0)])
        await w.until(lambda: w.waiting == 1)
        w.clock.at_s += 3.5
        w.room.set()
        await w.until(lambda: len(w.sent) == 2)
        assert w.metric("pronoia_scrape_skipped_total", job="j") == 3
        first, second = [stored(parts)["x"][0][1] for _, parts in w.sent]
        assert second - first == 4_000


async def test_samples_that_are_not_kept_are_counted_as_lost(caplog: pytest.LogCaptureFixture) -> None:
    async with world() as w:
        w.pages["a"] = "x 1\n"
        w.failing = True
        await w.pool.sync([w.target()])
        await w.until(lambda: w.metric("pronoia_scrape_dropped_samples_total", reason="not kept") == 6)
        assert "6 samples are lost: the buffer is closed" in caplog.text


async def test_a_target_beyond_its_jobs_limit_is_not_asked_and_says_so() -> None:
    async with world() as w:
        w.pages["a"] = "x 1\n"
        target = replace(w.target(), refused="target_limit exceeded")
        await w.pool.sync([target])
        await w.until(lambda: len(w.sent) == 1)
        assert w.pool.health(target).last_error == "target_limit exceeded"
        assert stored(w.sent[0][1]) == {}


async def test_closing_ends_no_series() -> None:
    async with world() as w:
        w.pages["a"] = "x 1\n"
        await w.pool.sync([w.target()])
        await w.until(lambda: len(w.sent) == 1)
    assert len(w.sent) == 1


RULE = {"source_labels": ["__name__"], "regex": "none", "action": "drop"}


@pytest.mark.parametrize("accelerated", IMPLEMENTATIONS)
async def test_a_job_that_finds_its_targets_otherwise_keeps_their_loops_and_pages(accelerated: bool) -> None:
    async with world(accelerated) as w:
        w.pages["a"] = "x 1\n"
        await w.pool.sync([w.target()])
        await w.until(lambda: len(w.sent) == 1)
        loop = w.pool.loop_of(w.target())
        assert loop is not None
        table = loop.page.table
        found_otherwise: dict[str, Any] = {
            "static_configs": [{"targets": ["a:1", "b:1"]}],
            "relabel_configs": [{"regex": "z", "action": "labeldrop"}],
            "keep_dropped_targets": 5,
            "target_limit": 7,
            "scrape_interval": "10s",
        }
        await w.pool.sync([w.target(**found_otherwise)])
        await w.until(lambda: len(w.sent) == 2)
        assert w.pool.loop_of(w.target()) is loop
        assert loop.page.table is table
        assert stored(w.sent[1][1], reports=True)["scrape_series_added"][0][0] == "0.0"
        times = [stored(parts)["x"][0][1] for _, parts in w.sent]
        assert times[1] - times[0] == 10_000


async def test_a_target_s_health_outlives_a_change_of_its_job() -> None:
    async with world() as w:
        w.pages["a"] = "x 1\n"
        await w.pool.sync([w.target()])
        await w.until(lambda: len(w.sent) == 1)
        await w.pool.sync([w.target(metric_relabel_configs=[RULE])])
        assert w.pool.health(w.target()).health == "up"


async def test_a_reload_at_the_very_moment_of_a_scrape_leaves_none_out() -> None:
    async with world() as w:
        w.pages["a"] = "x 1\n"
        await w.pool.sync([w.target()])
        await w.until(lambda: len(w.sent) == 1)
        w.clock.at_s += 10.0
        await w.pool.sync([w.target(metric_relabel_configs=[RULE])])
        await w.until(lambda: len(w.sent) == 2)
        first, second = [stored(parts)["x"][0][1] for _, parts in w.sent]
        assert second - first == 10_000


async def test_jobs_that_change_twice_between_two_scrapes_end_nothing() -> None:
    async with world() as w:
        w.pages["a"] = "x 1\ny 1\n"
        await w.pool.sync([w.target()])
        await w.until(lambda: len(w.sent) == 1)
        await w.pool.sync([w.target(metric_relabel_configs=[RULE])])
        await w.pool.sync([w.target(metric_relabel_configs=[RULE | {"regex": "y"}])])
        await w.until(lambda: len(w.sent) == 3)
        assert [set(stored(parts)) for _, parts in w.sent[1:]] == [{"x"}, {"y"}]
        assert stored(w.sent[2][1], reports=True)["y"][0][0] == "stale"


async def test_a_changed_job_whose_next_scrape_fails_ends_the_series_that_it_had() -> None:
    async with world() as w:
        w.pages["a"] = "x 1\n"
        await w.pool.sync([w.target()])
        await w.until(lambda: len(w.sent) == 1)
        del w.pages["a"]
        await w.pool.sync([w.target(metric_relabel_configs=[RULE])])
        await w.until(lambda: len(w.sent) == 3)
        assert stored(w.sent[1][1], reports=True)["up"][0][0] == "0.0"
        ended = stored(w.sent[2][1], reports=True)
        assert {name: samples[0][0] for name, samples in ended.items()} == {"x": "stale"}


async def test_other_external_labels_end_the_series_and_begin_new_ones() -> None:
    async with world() as w:
        w.pages["a"] = "x 1\n"
        await w.pool.sync([w.target()])
        await w.until(lambda: len(w.sent) == 1)
        w.pool.configure({"region": "r"}, max_samples=100, canonical_bounds=False)
        await w.pool.sync([w.target()])
        await w.until(lambda: len(w.sent) == 3)
        assert stored(w.sent[1][1])['x{region="r"}'][0][0] == "1.0"
        assert {samples[0][0] for samples in stored(w.sent[2][1], reports=True).values()} == {"stale"}
        assert len(stored(w.sent[2][1], reports=True)) == 6


async def test_a_target_that_hangs_at_a_reload_holds_up_no_other() -> None:
    async with world() as w:
        w.pages["a"] = w.pages["b"] = "x 1\n"
        before, other = w.target("a"), w.target("b", labels=(("instance", "host:2"), ("job", "test")))
        w.room.clear()
        await w.pool.sync([before])
        await w.until(lambda: w.waiting == 1)
        await w.pool.sync([w.target("a", metric_relabel_configs=[RULE]), other])
        await w.until(lambda: w.waiting == 2)
        w.room.set()
        await w.until(lambda: len(w.sent) >= 3)
        assert [target.url[-1] for target, _ in w.sent[:2]] == ["a", "b"]
        assert w.sent[0][0] == before, "what had begun is finished"


async def test_failed_scrapes_are_written_to_the_job_s_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file, moved, nowhere = tmp_path / "failures", tmp_path / "moved", tmp_path / "none" / "failures"
    async with world() as w:
        w.pages["b"] = "x 1\n"
        other = w.target("b", labels=(("instance", "host:2"), ("job", "test")), scrape_failure_log_file=file)
        await w.pool.sync([w.target(scrape_failure_log_file=file), other])
        await w.until(lambda: w.metric("pronoia_scrapes_total", job="j", result="failed") >= 2)
        await w.until(lambda: file.read_text().count("\n") >= 2)
        (line, *_) = [json.loads(line) for line in file.read_text().splitlines()]
        assert (line["job_name"], line["target"]) == ("j", f"{w.url}/a")
        assert line["msg"] == "server returned HTTP status 500 Internal Server Error"
        file.rename(moved)
        w.pool.configure({}, max_samples=MAX_PART_SAMPLES, canonical_bounds=False)
        await w.until(file.exists)
        loop = w.pool.loop_of(w.target())
        await w.pool.sync([w.target(scrape_failure_log_file=nowhere)])
        assert w.pool.loop_of(w.target()) is loop
        await w.until(lambda: "failed scrapes are not written to" in caplog.text)


async def test_a_label_of_a_megabyte_is_carried_unless_there_is_a_limit() -> None:
    long = "v" * (1 << 20)
    async with world() as w:
        w.pages["a"] = f'x{{y="{long}"}} 1\nz 2\n'
        await w.pool.sync([w.target()])
        await w.until(lambda: len(w.sent) == 1)
        assert set(stored(w.sent[0][1])) == {f'x{{y="{long}"}}', "z"}
        await w.pool.sync([w.target(label_value_length_limit=1000)])
        await w.until(lambda: len(w.sent) == 3)
        error = w.pool.health(w.target()).last_error
        assert error.startswith("label_value_length_limit exceeded (metric: x, label name: y")
        assert len(error) < 300
