"""One target's scrapes: wait until it is due, fetch, read, encode, give on; and end its series when it goes."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Generator, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from agent.part import Part
from agent.scrape.body import Buffers
from agent.scrape.failures import FailureLog
from agent.scrape.fetch import BodyLimitError, Fetch
from agent.scrape.labelling import ScrapeError
from agent.scrape.page import Page, Taken
from agent.scrape.schedule import Clock, first_due_ms, next_due_ms, phase_s, timestamp_ms
from agent.scrape.turn import Turn
from agent.targets import Target
from agent.targets_api import Health
from pipeline.errors import PipelineError
from pipeline.telemetry import ScrapeMetrics
from pipeline.tracing import NO_SPAN, OFF, Span, Tracing

logger = logging.getLogger(__name__)

Emit = Callable[[Target, Sequence[Part]], Awaitable[None]]
"""Takes what a scrape sends; awaited, so that a full buffer slows scraping down."""

T = TypeVar("T")


async def in_slices(steps: Generator[None, None, T]) -> T:
    """Do work step by step, and let the event loop run in between."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return] # the generator's own return value
        await asyncio.sleep(0)


@dataclass(slots=True)
class ScrapeLoop:
    """Scrapes one target until it is stopped."""

    target: Target
    page: Page
    fetch: Fetch
    emit: Emit
    clock: Clock
    metrics: ScrapeMetrics
    buffers: Buffers
    turn: Turn
    predecessor: "ScrapeLoop | None" = None
    """What scraped the same series before a reload: what this loop does not go on with ends after its first scrape."""
    tracing: Tracing = OFF
    health: Health = field(default_factory=Health)
    failures: FailureLog = field(default_factory=FailureLog)
    _stop: asyncio.Event = field(default_factory=asyncio.Event)
    _last_ms: int = 0
    _due_ms: int = 0
    """When the next scrape is due that has not begun; 0 before `run`."""

    async def run(self) -> None:
        """Scrape at every interval; returns soon after `stop`, a scrape that has begun is finished first.

        A predecessor must have ended. Returns, too, when the turn has ended.
        """
        interval_ms = max(1, round(self.target.interval_s * 1000))
        phase_ms = int(phase_s(self.target.key, self.turn.seed, self.target.interval_s) * 1000)
        self._due_ms = self._inherited_due_ms() or self._first_due_ms(interval_ms, phase_ms)
        while not await self._wait_until_due(interval_ms) and not self.turn.has_ended:
            due_ms = self._due_ms
            await self._scrape(timestamp_ms(self.clock.now_s(), due_ms, interval_ms))
            now_ms = max(int(self.clock.now_s() * 1000), due_ms)
            skipped = (now_ms - due_ms) // interval_ms
            if skipped:
                self.metrics.skipped.labels(self.target.config.job_name).inc(skipped)
            self._due_ms = next_due_ms(now_ms, interval_ms, phase_ms)

    def _first_due_ms(self, interval_ms: int, phase_ms: int) -> int:
        uncovered_s = self.turn.uncovered_since_s()
        uncovered_ms = None if uncovered_s is None else int(uncovered_s * 1000)
        now_ms, timeout_ms = int(self.clock.now_s() * 1000), int(self.target.timeout_s * 1000)
        return first_due_ms(now_ms, interval_ms, phase_ms, uncovered_ms, timeout_ms)

    def _inherited_due_ms(self) -> int:
        """Return the scrape that the predecessor did not come to: a reload at its very moment leaves none out."""
        before = self.predecessor
        if before is None or before.target.key != self.target.key:
            return 0
        return before._due_ms if before.target.interval_s == self.target.interval_s else 0

    def stop(self) -> None:
        """Ask the loop to end; call once, then await its task."""
        self._stop.set()

    async def end_series(self) -> None:
        """End every series of the target, which is gone: staleness markers, the reports' too. After `run` has ended."""
        if self.predecessor is not None:
            await self.predecessor.end_series()
        if self._last_ms and self.turn.may_keep():
            at_ms = max(int(self.clock.now_s() * 1000), self._last_ms + 1)
            await self._give(await in_slices(self.page.close(at_ms)))

    async def _wait_until_due(self, interval_ms: int) -> bool:
        """Return true as soon as the loop is to stop, false when the next scrape is due."""
        while (left_ms := self._due_ms - self.clock.now_s() * 1000) > 0:
            if left_ms > interval_ms + 1:
                # The clock was set back: scraping goes on by what it says now, and does not wait for it to catch up.
                self._due_ms = int(self.clock.now_s() * 1000)
            elif await self.clock.wait(self._stop, left_ms / 1000):
                return True
        return self._stop.is_set()

    async def _scrape(self, at_ms: int) -> None:
        with self._span() as span:
            await self._scrape_in(span, at_ms)

    def _span(self) -> Span:
        if not self.tracing.on:
            return NO_SPAN
        return self.tracing.span("scrape", job=self.target.config.job_name, target=self.target.url)

    async def _scrape_in(self, span: Span, at_ms: int) -> None:
        started_s = self.clock.now_s()
        taken = await self._take(at_ms)
        taken.duration_s = max(0.0, self.clock.now_s() - started_s)
        if not self.turn.may_keep():
            self._leave_to_another(taken)
            return
        parts = await in_slices(self.page.parts(taken))
        self._last_ms = at_ms
        self.health = Health("down" if taken.error else "up", taken.error, started_s, taken.duration_s)
        self._count(taken)
        if span.traceparent:
            parts = [replace(part, traceparent=span.traceparent) for part in parts]
            span.note(samples=taken.reading.scraped, parts=len(parts), body_bytes=taken.body_bytes)
        await self._give(parts)
        if taken.error:
            span.end(taken.error)
            self.failures.write(self.target, taken.error, started_s)
        # A scrape that failed ends them, too: it shows none of the series.
        while (before := self.predecessor) is not None:
            self.predecessor = before.predecessor
            await self._give(await in_slices(before.page.close(at_ms, self.page)))

    def _leave_to_another(self, taken: Taken) -> None:
        # Whoever took over makes up for this scrape: sent by both, its samples would be in the store twice.
        self.metrics.dropped.labels("turn ended").inc(taken.reading.scraped)
        logger.warning(
            "a page came after the turn had ended: another agent's counts", extra={"target": self.target.url}
        )

    async def _take(self, at_ms: int) -> Taken:
        if self.target.refused:
            return await in_slices(self.page.miss(ScrapeError(self.target.refused), at_ms))
        try:
            answer = await self.fetch(self.buffers)
        except BodyLimitError as error:
            return await in_slices(self.page.miss(error, at_ms, body_bytes=-1))
        except ScrapeError as error:
            return await in_slices(self.page.miss(error, at_ms))
        try:
            return await in_slices(self.page.take(answer.body, answer.content_type, at_ms))
        finally:
            self.buffers.give(self.page.table.spare())

    async def _give(self, parts: Sequence[Part]) -> None:
        if not parts:
            return
        try:
            await self.emit(self.target, parts)
        except PipelineError as error:
            samples = sum(part.items for part in parts)
            self.metrics.dropped.labels("not kept").inc(samples)
            logger.error("%d samples are lost: %s", samples, error, extra={"target": self.target.url})

    def _count(self, taken: Taken) -> None:
        job, reading = self.target.config.job_name, taken.reading
        self.metrics.scrapes.labels(job, "failed" if taken.error else "ok").inc()
        self.metrics.samples.labels(job).inc(reading.scraped)
        self.metrics.seconds.observe(taken.duration_s)
        if taken.error:
            logger.debug("scrape failed: %s", taken.error, extra={"target": self.target.url})
        drops = {
            "duplicate": reading.duplicates,
            "out of order": reading.out_of_order,
            "too far in the future": reading.out_of_bounds,
            "invalid exemplar": self.page.take_dropped_exemplars(),
        }
        for reason, count in drops.items():
            if count:
                self.metrics.dropped.labels(reason).inc(count)
                logger.warning("%d samples dropped: %s", count, reason, extra={"target": self.target.url})
