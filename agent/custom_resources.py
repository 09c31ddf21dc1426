"""Which jobs the custom resources of the cluster give an agent, while its configuration and they change."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry

from agent.config import AgentConfig, ScrapeConfig
from agent.discovery import Tools
from pipeline.service import vital
from pipeline.telemetry import OperatorMetrics

if TYPE_CHECKING:
    from agent.discovery.operator.follow import OperatorJobs, Refused


class CustomResources:
    """Follows what the `operator` section selects; `changed` is called when the jobs are others than before."""

    def __init__(self, tools: Tools, registry: CollectorRegistry, changed: Callable[[], None]) -> None:
        self._tools = tools
        self._changed = changed
        self._metrics = OperatorMetrics(registry)
        self._meant: object = None
        self._following: OperatorJobs | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def jobs(self) -> tuple[ScrapeConfig, ...]:
        """The jobs of all resources in use."""
        return self._following.jobs if self._following is not None else ()

    @property
    def refused(self) -> "tuple[Refused, ...]":
        """The resources that are selected and not used, with their reasons."""
        return self._following.refused if self._following is not None else ()

    async def configure(self, config: AgentConfig) -> None:
        """Follow what this configuration selects; jobs of before stay until the API server has been asked."""
        names = {job.job_name for job in config.scrape_configs}
        meant = (config.operator, config.global_config, names)
        if meant == self._meant:
            return
        before = self.jobs
        await self.stop()
        self._meant, self._following = meant, None
        if config.operator is None:
            self._metrics.resources.clear()
            return
        # Only an agent that looks at a cluster pays for what that takes.
        from agent.discovery.operator.follow import OperatorJobs

        self._following = OperatorJobs(
            config.operator,
            config.global_config,
            self._tools,
            self._metrics,
            self._changed,
            before=before,
            reserved=names,
        )
        self._task = vital(asyncio.create_task(self._following.run(), name="custom resources"))

    async def stop(self) -> None:
        """Follow nothing any more; `jobs` stay as they are."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    def status(self) -> dict[str, Any]:
        """Return the names of the jobs, and the resources that are refused."""
        return {"jobs": [job.job_name for job in self.jobs], "refused": [each.described() for each in self.refused]}

    def ready(self) -> str | None:
        """Return None while it works; an API server that is down is no reason."""
        return "following custom resources has ended" if self._task is not None and self._task.done() else None


async def find_once(
    config: AgentConfig, tools: Tools, registry: CollectorRegistry
) -> "tuple[tuple[ScrapeConfig, ...], tuple[Refused, ...]]":
    """Ask once what the `operator` section selects: return the jobs, and what is refused; failures are in `tools`."""
    if config.operator is None:
        return (), ()
    from agent.discovery.operator.follow import OperatorJobs

    names = {job.job_name for job in config.scrape_configs}
    one = OperatorJobs(config.operator, config.global_config, tools, OperatorMetrics(registry), reserved=names)
    await one.find()
    return one.jobs, one.refused
