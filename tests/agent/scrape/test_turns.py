"""A target whose turn passes to another agent: what still is sent, what is not, and when the successor begins."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry

from agent.config.scrape import PROTOCOLS, ScrapeConfig
from agent.scrape.pool import ScrapePool
from agent.scrape.schedule import first_due_ms
from agent.sharing.tenure import Tenure
from agent.targets import Target
from pipeline.telemetry import ScrapeMetrics
from tests.agent.scrape.pages import stored
from tests.agent.scrape.test_fetch import serving
from tests.agent.scrape.test_pool import VirtualClock, World, world


def tenure(until_s: float = 1e12, covered_s: float | None = None, at_s: float = 0.0) -> Tenure:
    return Tenure(0, "c1", until_s, covered_s, lambda: at_s, began_s=5.0)


@dataclass
class Turns:
    """Whose turn each target is, by its path; the rest are nobody's."""

    by_path: dict[str, Tenure] = field(default_factory=dict)

    def __call__(self, target: Target) -> Tenure | None:
        return self.by_path.get(target.url.rpartition("/")[2])


@asynccontextmanager
async def scraped_once() -> AsyncIterator[tuple[World, Turns, Target]]:
    turns = Turns({"a": tenure()})
    async with world(turn_of=turns) as w:
        w.pages |= {"a": "x 1\n", "b": "y 1\n"}
        await w.pool.sync([w.target()])
        await w.until(lambda: len(w.sent) == 1)
        yield w, turns, w.target()


async def test_a_turn_that_ends_stops_the_scrapes_and_ends_no_series() -> None:
    async with scraped_once() as (w, turns, target):
        turns.by_path.pop("a").end()
        await w.pool.sync([])
        await w.pool.give_up()
        assert w.pool.loop_of(target) is None
        assert len(w.sent) == 1, "no staleness marker: another agent goes on with the series"


async def test_a_target_that_vanishes_during_the_turn_ends_its_series() -> None:
    async with scraped_once() as (w, _, _):
        await w.pool.sync([])
        await w.until(lambda: len(w.sent) == 2)
        assert "x" in stored(w.sent[1][1])


async def test_a_target_that_vanishes_as_the_turn_is_being_given_back_ends_none() -> None:
    async with scraped_once() as (w, turns, _):
        turns.by_path["a"].is_closing = True
        await w.pool.sync([])
        await w.pool.give_up()
        assert len(w.sent) == 1


async def test_a_scrape_that_is_due_after_the_turn_ended_does_not_begin_even_if_nobody_stopped_it() -> None:
    async with scraped_once() as (w, turns, target):
        other = w.target("b", labels=(("instance", "other"), ("job", "test")))
        turns.by_path["b"] = tenure()
        await w.pool.sync([target, other])
        turns.by_path["a"].end()
        before = len(w.sent)
        await w.until(lambda: len(w.sent) == before + 3)
        assert {each.url for each, _ in w.sent[before:]} == {other.url}


async def test_another_agents_target_is_not_scraped() -> None:
    async with scraped_once() as (w, _, target):
        other = w.target("c")
        await w.pool.sync([target, other])
        assert w.pool.loop_of(target) is not None
        assert w.pool.loop_of(other) is None


async def test_a_new_turn_begins_anew() -> None:
    async with scraped_once() as (w, turns, target):
        before = w.pool.loop_of(target)
        turns.by_path["a"].end()
        turns.by_path["a"] = tenure()
        await w.pool.sync([target])
        after = w.pool.loop_of(target)
        assert after is not None
        assert after is not before
        assert after.predecessor is None
        await w.until(lambda: len(w.sent) == 2)


@dataclass
class Slow:
    """A target that answers when it is told to."""

    asked: asyncio.Event = field(default_factory=asyncio.Event)
    answer: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(self, _: web.Request) -> web.Response:
        self.asked.set()
        await self.answer.wait()
        return web.Response(text="x 1\n")


@pytest.mark.parametrize(("end", "sent"), [(Tenure.end, 0), (lambda turn: setattr(turn, "is_closing", True), 1)])
async def test_a_page_in_flight_is_sent_only_while_the_lease_lasts(end: Callable[[Tenure], None], sent: int) -> None:
    slow, turn, registry, got = Slow(), tenure(), CollectorRegistry(), []

    async def emit(target: Target, parts: object) -> None:
        got.append(parts)

    async with serving(slow.handle) as url:
        clock = VirtualClock()
        pool = ScrapePool(
            emit,
            ScrapeMetrics(registry),
            agent="a",
            external_labels={},
            cluster_label="",
            clock=clock,
            turn_of=lambda target: turn,
        )
        job = ScrapeConfig.model_validate({"job_name": "j", "scrape_protocols": PROTOCOLS})
        await pool.sync([Target(job, (("instance", "x"), ("job", "j")), url, 10.0, 5.0)])
        async with asyncio.timeout(20):
            while not slow.asked.is_set():
                clock.jump()
                await asyncio.sleep(0.001)
        end(turn)
        leaving = asyncio.create_task(pool.give_up())
        slow.answer.set()
        await leaving
        assert len(got) == sent, "given up only when no scrape goes on"
        assert (registry.get_sample_value("pronoia_scrape_dropped_samples_total", {"reason": "turn ended"}) or 0) == (
            0 if sent else 1
        )
        await pool.close()


INTERVAL, TIMEOUT = 10_000, 2_000


@pytest.mark.parametrize(
    ("now_ms", "uncovered_ms", "due_ms"),
    [
        (100_000, None, 104_000),  # nobody before: as everybody
        (100_000, 6_500, 100_400),  # the one at 94,000 may not have come to its end
        (100_000, 3_000, 104_000),  # it surely did
        (100_000, 25_000, 100_400),  # more than one is missing: late is better than later
        (103_900, 9_000, 104_000),  # the next one comes first
    ],
)
def test_who_takes_over_makes_up_for_the_scrape_that_may_be_missing(
    now_ms: int, uncovered_ms: int | None, due_ms: int
) -> None:
    assert first_due_ms(now_ms, INTERVAL, 4_000, uncovered_ms, TIMEOUT) == due_ms


def test_a_tenure_ends_by_the_clock_alone() -> None:
    assert tenure(until_s=10.0, at_s=9.9).may_keep()
    assert not tenure(until_s=10.0, at_s=10.0).may_keep()
    assert tenure(until_s=10.0, at_s=10.0).has_ended
    assert tenure(covered_s=4.0, at_s=10.0).uncovered_since_s() == 6.0
    assert tenure(covered_s=4.0, at_s=36.0).uncovered_since_s() is None, "what is found so late is new"
