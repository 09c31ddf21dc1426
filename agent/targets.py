"""All jobs' targets while discovery goes on, and what discovery finds when it is tried once."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Final, Generic, TypeVar

from agent.config.discoveries import JobConfig
from agent.config.scrape import ScrapeConfig
from agent.discovery import Groups, Place, TargetGroup, Tools, discover
from agent.discovery.groups import ADDRESS
from agent.job import AnyJob, Job, JobTargets, TargetT
from agent.target import Dropped, Target, make_target

__all__ = ["Dropped", "Job", "JobTargets", "Target", "Targets", "find_once", "make_target"]

logger = logging.getLogger(__name__)

ConfigT = TypeVar("ConfigT", bound=JobConfig)

_SHARE: Final = 50
"""A fiftieth of the time may go into following changes: where many targets change all the time, more are joined."""
_MOST_SETTLE_S: Final = 5.0
"""How long a change waits at most for others: as long as in Prometheus it always does."""


AGAIN_S: Final = 5.0
"""When a discovery that a reload has changed is begun again, if it could find nothing out at first."""


class AnyTargets(Generic[ConfigT, TargetT]):
    """All jobs' targets while discovery goes on. Run `run` as a task, and follow `changes` in one other.

    `is_ours` says which are this agent's, of those that agents share; after a change of its mind: `reload`.
    """

    def __init__(
        self,
        make: Callable[[ConfigT], AnyJob[TargetT]],
        jobs: Sequence[ConfigT],
        tools: Tools,
        settle_s: float = 0.25,
        is_ours: Callable[[TargetT], bool] | None = None,
    ) -> None:
        self._make = make
        self._is_ours = is_ours
        self._jobs = {config.pool: make(config) for config in jobs}
        self._tools = tools
        self._settle_s = settle_s
        self._group: asyncio.TaskGroup | None = None
        self._following: dict[Place, tuple[object, asyncio.Task[None]]] = {}
        self._groups: dict[Place, list[TargetGroup]] = {}
        self._changed: set[str] = set()
        self._wake = asyncio.Event()
        self._turn = asyncio.Lock()
        self._prompt = asyncio.Event()
        self.by_job: dict[str, JobTargets[TargetT]] = {name: JobTargets() for name in self._jobs}

    @property
    def jobs(self) -> Mapping[str, AnyJob[TargetT]]:
        """Every job by its name, as it is configured now."""
        return self._jobs

    async def run(self) -> None:
        """Let every discovery go on, each in a task of its own; returns only by cancellation."""
        async with asyncio.TaskGroup() as self._group:
            self._follow_all()
            await asyncio.Event().wait()

    def reload(self, jobs: Sequence[ConfigT]) -> None:
        """Follow these jobs from now on.

        A discovery whose section is as it was goes on. What another one found stays until its successor has looked.
        """
        before, self._jobs = self._jobs, {}
        for config in jobs:
            known = before.get(config.pool)
            # The same object where nothing changed: what has it in hand need not compare.
            unchanged = known is not None and known.config == config
            self._jobs[config.pool] = known if known is not None and unchanged else self._make(config)
            if not unchanged or self._is_ours is not None:
                self._changed.add(config.pool)
        self.by_job = {name: self.by_job.get(name, JobTargets()) for name in self._jobs}
        for name in before.keys() - self._jobs.keys():
            self._tools.metrics.forget(name, {place.kind for place in self._following if place.job == name})
        if self._group is not None:
            self._follow_all()
        self._prompt.set()
        self._wake.set()

    def _follow_all(self) -> None:
        """Begin the discoveries that are new or changed, and end those that are gone."""
        assert self._group is not None
        left, self._following = self._following, {}
        for job in self._jobs.values():
            for place in discover(job.config, self._tools):
                section, known = getattr(job.config, place.kind)[place.index], left.pop(place, None)
                if known is not None and known[0] == section:
                    self._following[place] = known
                    continue
                if known is not None:
                    self._end(place, known[1])
                self._tools.metrics.failures.labels(place.job, place.kind)  # From the start, at 0.
                begun = self._group.create_task(self._follow(place, job.config), name=f"discovery {place}")
                self._following[place] = section, begun
        for place, (_, task) in left.items():
            self._end(place, task)
            self._groups.pop(place, None)

    def _end(self, place: Place, task: asyncio.Task[None]) -> None:
        task.cancel()
        self._tools.forget(place)

    async def _follow(self, place: Place, config: JobConfig) -> None:
        async with self._turn:  # A reload may bring a thousand: each begins in a turn of the loop's own.
            await asyncio.sleep(0)
        while not await self._follow_from(place, discover(config, self._tools)[place]):
            await self._tools.sleep(AGAIN_S)

    async def _follow_from(self, place: Place, stream: Groups) -> bool:
        """Follow a stream; returns false for a successor whose first look failed: what was found before it stays."""
        first = True
        async with aclosing(stream):
            async for groups in stream:
                if first and not groups and self._groups.get(place) and self._tools.has_failed(place):
                    return False
                if first:
                    self._prompt.set()
                first, self._groups[place] = False, groups
                self._changed.add(place.job)
                self._wake.set()
        return True

    async def changes(self) -> AsyncIterator[list[TargetT]]:
        """Yield all targets of all jobs, each time that some came, went or changed; what comes close is joined."""
        wait_s = self._settle_s
        while True:
            await self._wake.wait()
            await self._settle(wait_s)
            self._wake.clear()
            begun_s = self._tools.clock()
            changed, self._changed = self._changed, set()
            for name in sorted(changed):
                await self._rebuild(name)
                await asyncio.sleep(0)  # A thousand jobs of custom resources are many short steps, not one long one.
            yield [target for targets in self.by_job.values() for target in targets.active]
            wait_s = settle_s(self._settle_s, self._tools.clock() - begun_s)

    async def _settle(self, wait_s: float) -> None:
        """Wait for what comes close; what a discovery finds at first, or a reload brings, does not wait for more."""
        waits = [asyncio.ensure_future(self._tools.sleep(wait_s)), asyncio.ensure_future(self._prompt.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        if self._prompt.is_set():
            self._prompt.clear()
            await self._tools.sleep(self._settle_s)

    async def _rebuild(self, name: str) -> None:
        groups = [group for place, found in self._groups.items() if place.job == name for group in found]
        # Thousands of targets take longer than the loop may be held (ARCHITECTURE 11).
        large = sum(len(group.targets) for group in groups) > 200
        job = self._jobs.get(name)
        if job is None:
            return
        now = await asyncio.to_thread(self._ours, job, groups) if large else self._ours(job, groups)
        if self._jobs.get(name) is not job:
            return  # Reloaded meanwhile: what is new comes next.
        before, self.by_job[name] = self.by_job[name], now
        self._tools.metrics.targets.labels(name).set(len(now.active))
        self._tools.metrics.dropped_targets.labels(name).set(now.dropped_count)
        self._tools.metrics.duplicate_targets.labels(name).set(len(now.duplicates))
        told = {_flaw(dropped) for dropped in before.dropped if dropped.rule is None}
        for dropped in now.dropped:
            if dropped.rule is None and not dropped.is_elsewhere and _flaw(dropped) not in told:
                address, reason = _flaw(dropped)
                extra = {"job": name, "address": address, "reason": reason}
                logger.error("a target that was found cannot be used", extra=extra)

    def _ours(self, job: AnyJob[TargetT], groups: Sequence[TargetGroup]) -> JobTargets[TargetT]:
        found = job.targets(groups)
        if self._is_ours is None:
            return found
        return replace(found, active=tuple(target for target in found.active if self._is_ours(target)))


class Targets(AnyTargets[ScrapeConfig, Target]):
    """All scrape jobs' targets."""

    def __init__(
        self,
        jobs: Sequence[ScrapeConfig],
        tools: Tools,
        settle_s: float = 0.25,
        is_ours: Callable[[Target], bool] | None = None,
    ) -> None:
        super().__init__(Job, jobs, tools, settle_s, is_ours)


def settle_s(least_s: float, took_s: float) -> float:
    """Return how long the next change waits for others, when following the last ones took so long."""
    return max(least_s, min(_SHARE * took_s, _MOST_SETTLE_S))


def _flaw(dropped: Dropped) -> tuple[str, str]:
    """Return the address that discovery found, and what is wrong."""
    return dropped.found.get(ADDRESS) or dropped.shared.get(ADDRESS, ""), dropped.flaw


async def find_once(jobs: Sequence[ScrapeConfig], tools: Tools) -> dict[str, JobTargets[Target]]:
    """Try every discovery once and return what comes of it; what failed is in `tools.failures`."""
    return await find_each_once([Job(config) for config in jobs], tools)


async def find_each_once(jobs: Sequence[AnyJob[TargetT]], tools: Tools) -> dict[str, JobTargets[TargetT]]:
    """Do what `find_once` does, for jobs of any kind."""
    streams = {place: stream for job in jobs for place, stream in discover(job.config, tools).items()}
    found = await asyncio.gather(*(_first(stream) for stream in streams.values()))
    groups = dict(zip(streams, found, strict=True))
    return {
        job.config.pool: job.targets(
            group for place, found in groups.items() if place.job == job.config.pool for group in found
        )
        for job in jobs
    }


async def _first(stream: Groups) -> list[TargetGroup]:
    async with aclosing(stream):  # Watches that it shares end with it.
        async for groups in stream:
            return groups
    return []
