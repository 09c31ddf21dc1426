"""All scrape loops of an agent, kept in step with what discovery finds."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Final

import aiohttp

from agent.config.scrape import ScrapeConfig
from agent.scrape.alike import Alike, scraped_alike
from agent.scrape.body import Buffers
from agent.scrape.failures import FailureLog
from agent.scrape.fetch import HttpFetch, new_session
from agent.scrape.loop import Emit, ScrapeLoop
from agent.scrape.metadata import MetadataBook
from agent.scrape.options import labelling_of, page_options
from agent.scrape.page import MAX_PART_SAMPLES, Page
from agent.scrape.schedule import Clock, SystemClock
from agent.scrape.tasks import Running, Sending, finish, paced, run, spare_collector, tell
from agent.scrape.turn import Always, Turn, TurnOf
from agent.targets import Target
from agent.targets_api import Health
from pipeline.http_client import HttpAccess
from pipeline.telemetry import ScrapeMetrics
from pipeline.tracing import OFF, Tracing

logger = logging.getLogger(__name__)

_MANY: Final = 1000
"""Loops begun at once, after which the garbage collector is told that they are no garbage."""


class ScrapePool:
    """Scrapes every target it was last given; each in a task of its own.

    `external_labels` hold the cluster's name under `cluster_label`. `turn_of` says which targets are this agent's, and
    until when; left out, all of them, for ever. `accelerated` picks the page cache's implementation: None takes the
    compiled one where it was built.
    """

    def __init__(
        self,
        emit: Emit,
        metrics: ScrapeMetrics,
        *,
        agent: str,
        external_labels: Mapping[str, str],
        cluster_label: str,
        max_samples: int = MAX_PART_SAMPLES,
        canonical_bounds: bool = False,
        user_agent: str = "Pronoia",
        tracing: Tracing = OFF,
        clock: Clock | None = None,
        turn_of: TurnOf | None = None,
        accelerated: bool | None = None,
    ) -> None:
        self._emit = emit
        self._metrics = metrics
        always = Always(agent)
        self._turn_of = turn_of or (lambda target: always)
        self._changing = asyncio.Lock()
        self._cluster_label = cluster_label
        self._user_agent = user_agent
        self._tracing = tracing
        self._clock = clock or SystemClock()
        self._accelerated = accelerated
        self._book = MetadataBook()
        self._buffers = Buffers()
        self._failures = FailureLog()
        self._running: dict[str, Running] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._left: set[asyncio.Task[None]] = set()
        self._access: dict[str, tuple[ScrapeConfig, HttpAccess]] = {}
        self._session: aiohttp.ClientSession | None = None
        self.configure(external_labels, max_samples=max_samples, canonical_bounds=canonical_bounds)

    def configure(self, external_labels: Mapping[str, str], *, max_samples: int, canonical_bounds: bool) -> None:
        """Set what every scrape sends: the next `sync` replaces the loops that were made with something else."""
        self._failures.reopen()
        self._sending = Sending(tuple(sorted(external_labels.items())), max_samples, canonical_bounds)

    async def sync(self, targets: Iterable[Target]) -> None:
        """Scrape exactly these from now on: new ones begin, others go on, those that are gone end their series.

        One that is scraped another way now (a changed job) goes on with its series. One whose turn is over is left
        to whoever has it now.
        """
        async with self._changing:
            await self._sync(targets)

    async def give_up(self) -> None:
        """Stop what is not this agent's turn any more, and return when no such scrape goes on. No series is ended."""
        async with self._changing:
            for key in [key for key, running in self._running.items() if running.loop.turn.has_ended]:
                self._leave(key)
        await asyncio.gather(*(finish(task) for task in self._left))

    def _leave(self, key: str) -> None:
        task = self._stop(key).task
        self._left.add(task)
        task.add_done_callback(self._left.discard)

    async def _sync(self, targets: Iterable[Target]) -> None:
        wanted: dict[str, Target] = {}
        turns: dict[str, Turn] = {}
        async for target in paced(targets):
            turn = self._turn_of(target)
            if turn is not None and not turn.has_ended:
                wanted[target.key], turns[target.key] = target, turn
        alike = Alike()
        stopped: dict[object, list[Running]] = defaultdict(list)
        async for key, running in paced(list(self._running.items())):
            now = wanted.get(key)
            if running.loop.turn.has_ended:
                self._leave(key)
            elif now is not None and running.sending == self._sending and alike(running.loop.target, now):
                running.loop.target = now
            else:
                stopped[_identity(running.loop.target)].append(self._stop(key))
        begun = 0
        async for key, target in paced(wanted.items()):
            if key not in self._running:
                begun += 1
                if begun % _MANY == 0:
                    spare_collector()
                before = stopped[_identity(target)]
                self._begin(target, turns[key], before.pop() if before else None)
        async for running in paced([running for left in stopped.values() for running in left]):
            self._end_later(running)

    def health(self, target: Target) -> Health:
        """Return how the target's last scrape went."""
        loop = self.loop_of(target)
        return Health() if loop is None else loop.health

    def loop_of(self, target: Target) -> ScrapeLoop | None:
        """Return the loop that scrapes the target, None for one that is not scraped."""
        running = self._running.get(target.key)
        return None if running is None else running.loop

    async def close(self) -> None:
        """Stop scraping, without ending any series: the next start goes on with them."""
        stopped = [self._stop(key) for key in list(self._running)]
        for task in self._ending:
            task.cancel()
        await asyncio.gather(*(finish(running.task) for running in stopped), *self._ending, return_exceptions=True)
        self._failures.reopen()
        if self._session is not None:
            await self._session.close()

    def _stop(self, key: str) -> Running:
        running = self._running.pop(key)
        running.loop.stop()
        return running

    def _begin(self, target: Target, turn: Turn, before: Running | None) -> None:
        fetch = HttpFetch(
            self._shared_session(),
            self._access_of(target.config),
            target.config,
            target.url,
            target.timeout_s,
            self._user_agent,
        )
        loop = ScrapeLoop(
            target,
            self._page(target),
            fetch,
            self._emit,
            self._clock,
            self._metrics,
            self._buffers,
            turn,
            before.loop if before is not None else None,
            self._tracing,
            before.loop.health if before is not None else Health(),
            self._failures,
        )
        # A target that hangs holds up its own successor only.
        task = asyncio.create_task(run(loop, before), name=f"scrape {target.url}")
        task.add_done_callback(partial(tell, target.url))
        self._running[target.key] = Running(loop, task, self._sending)

    def _end_later(self, running: Running) -> None:
        async def end() -> None:
            await finish(running.task)
            await running.loop.end_series()

        url = running.loop.target.url
        ending = asyncio.create_task(end(), name=f"end {url}")
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)
        ending.add_done_callback(partial(tell, url))

    def _page(self, target: Target) -> Page:
        sending = self._sending
        return Page(
            labelling_of(target, sending.external, self._cluster_label),
            page_options(target, sending.max_samples, canonical_bounds=sending.canonical_bounds),
            self._book,
            self._accelerated,
        )

    def _access_of(self, config: ScrapeConfig) -> HttpAccess:
        known = self._access.get(config.job_name)
        if known is None or not scraped_alike(known[0], config):
            known = (config, HttpAccess(config, self._clock.now_s))
            self._access[config.job_name] = known
        return known[1]

    def _shared_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = new_session(self._user_agent)
        return self._session


def _identity(target: Target) -> tuple[str, object]:
    """Two targets with the same job and labels write the same series, whatever their URL."""
    return target.config.job_name, target.labels
