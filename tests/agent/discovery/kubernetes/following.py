"""One discovery at work in a test: what it gives last, and what it says of its failures."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from prometheus_client import CollectorRegistry

from agent.config.kubernetes import KubernetesSdConfig
from agent.discovery import Place, TargetGroup, Tools
from agent.discovery.kubernetes import Find, Timing, in_cluster
from agent.discovery.kubernetes.discovery import kubernetes_groups
from agent.discovery.kubernetes.watches import Watches
from pipeline.telemetry import DiscoveryMetrics

QUICK = Timing(answer_s=2.0, silence_s=2.0, backoff_s=0.05, max_backoff_s=0.2, pace_s=0.0)
"""A test waits for what happens, not for what may."""
DEADLINE_S = 30.0


class Following:
    """What one discovery has given so far."""

    def __init__(self, config: KubernetesSdConfig, at: Place, tools: Tools) -> None:
        self.at = at
        self.tools = tools
        self.given: list[list[TargetGroup]] = []
        self._config = config
        self._more = asyncio.Condition()

    async def run(self) -> None:
        stream = kubernetes_groups(self._config, self.at, self.tools)
        async with contextlib.aclosing(stream):
            async for groups in stream:
                async with self._more:
                    self.given.append(groups)
                    self._more.notify_all()

    async def until(self, reached: Callable[["Following"], bool]) -> None:
        """Wait until what was given last is as wanted."""
        try:
            async with asyncio.timeout(DEADLINE_S):
                while not reached(self):
                    async with self._more:
                        with contextlib.suppress(TimeoutError):
                            await asyncio.wait_for(self._more.wait(), 0.05)
        except TimeoutError:
            raise AssertionError(f"not reached: {self.addresses} {self.failures}") from None

    @property
    def groups(self) -> list[TargetGroup]:
        """All groups as they were given last."""
        return self.given[-1] if self.given else []

    @property
    def addresses(self) -> list[str]:
        """All targets' addresses."""
        return [target["__address__"] for group in self.groups for target in group.targets]

    @property
    def failures(self) -> list[str]:
        """What fails now, in words."""
        return [reason for (place, _), reason in self.tools.failures.items() if place == self.at]


@asynccontextmanager
async def tools_for(find: Find = in_cluster, timing: Timing = QUICK) -> AsyncIterator[Tools]:
    """Tools with which the cluster that the agent runs in is the one that `find` finds."""
    async with aiohttp.ClientSession() as session:
        tools = Tools(session, DiscoveryMetrics(CollectorRegistry()))
        tools.shared[Watches] = Watches(session, timing, find)
        yield tools


@asynccontextmanager
async def following(tools: Tools, config: dict[str, Any], job: str = "job") -> AsyncIterator[Following]:
    """Let one discovery go on; `config` is its section as in the file."""
    one = Following(KubernetesSdConfig.model_validate(config), Place(job, "kubernetes_sd_configs", 0), tools)
    task = asyncio.create_task(one.run())
    try:
        yield one
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
