"""Discovery under test: real files, real sockets, and a clock that the test moves."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from prometheus_client import CollectorRegistry

from agent.discovery import TargetGroup, Tools
from pipeline.telemetry import DiscoveryMetrics


class Time:
    """Virtual time: `sleep` ends when the test has moved the clock far enough."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []
        self._begun = asyncio.Condition()

    def clock(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        future = asyncio.get_running_loop().create_future()
        self._sleepers.append((self.now_s + seconds, future))
        async with self._begun:
            self._begun.notify_all()
        await future

    def move(self, seconds: float) -> None:
        self.now_s += seconds
        for until_s, future in self._sleepers:
            if until_s <= self.now_s and not future.done():
                future.set_result(None)
        self._sleepers = [sleeper for sleeper in self._sleepers if not sleeper[1].done()]

    async def sleeping(self) -> None:
        """Wait until somebody sleeps."""
        async with asyncio.timeout(10):
            async with self._begun:
                await self._begun.wait_for(lambda: bool(self._sleepers))


class Bench:
    """Tools, their registry, and their time."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.time = Time()
        self.registry = CollectorRegistry()
        self.tools = Tools(session, DiscoveryMetrics(self.registry), self.time.sleep, self.time.clock)

    def failures(self, job: str, kind: str) -> float:
        """How many failures were counted."""
        value = self.registry.get_sample_value("pronoia_discovery_failures_total", {"job": job, "kind": kind})
        return value or 0.0


@asynccontextmanager
async def bench() -> AsyncIterator[Bench]:
    async with aiohttp.ClientSession() as session:
        yield Bench(session)


def addresses(groups: list[TargetGroup]) -> list[str]:
    return [target["__address__"] for group in groups for target in group.targets]
