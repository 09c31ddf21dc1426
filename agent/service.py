"""The agent: discovery → scraping → buffer → destinations, each a task, wired here and nowhere else."""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp
from aiohttp import web
from prometheus_client import CollectorRegistry

from agent.batcher import Batcher
from agent.buffer import Buffer, Identity
from agent.config import AgentConfig
from agent.discovery import Tools
from agent.push.gateway import GATEWAY, GatewayPush, Transport
from agent.push.http import HttpTransport
from agent.push.remote_write import MAX_SAMPLES, RemoteWritePush
from agent.scrape.part import Part
from agent.scrape.pool import ScrapePool
from agent.targets import Target, Targets
from agent.targets_api import add_routes
from pipeline.log.sqlite import SqliteLog
from pipeline.send.config import RemoteWriteConfig
from pipeline.send.remote_write import RemoteWrite
from pipeline.send.rewrite import Rewrite, rewrite_for
from pipeline.telemetry import AgentMetrics, DiscoveryMetrics, LogMetrics, ScrapeMetrics
from pipeline.tracing import OFF, Tracing

logger = logging.getLogger(__name__)

SETTLE_S: Final = 1.0
EVICT_S: Final = 30.0
FLUSH_S: Final = 5.0
BUFFER_FOLDER: Final = "buffer"


@dataclass(slots=True)
class Agent:
    """A `pipeline.service.Component`. `node` is the agent's name where the configuration gives none."""

    config: AgentConfig
    data: Path
    registry: CollectorRegistry
    node: str
    user_agent: str = "Pronoia"
    log_metrics: LogMetrics | None = None
    """What its buffer tells of itself, where another log of the same process tells the same."""
    tracing: Tracing = OFF
    """Started and closed by the caller."""
    name: str = "agent"
    _open: AsyncExitStack = field(default_factory=AsyncExitStack)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _pushes: list[GatewayPush | RemoteWritePush] = field(default_factory=list)
    _buffer: Buffer = field(init=False)
    _batcher: Batcher = field(init=False)
    _targets: Targets = field(init=False)
    _pool: ScrapePool = field(init=False)

    async def start(self) -> None:
        """Open the buffer, then let everything flow; raises PipelineError."""
        metrics = AgentMetrics(self.registry)
        await self._open_buffer(metrics)
        self._open.push_async_callback(self._stop_tasks)
        session = await self._open.enter_async_context(aiohttp.ClientSession(headers={"User-Agent": self.user_agent}))
        tools = Tools(session, DiscoveryMetrics(self.registry))
        self._targets = Targets(self.config.scrape_configs, tools)
        self._pool = ScrapePool(
            self._keep,
            ScrapeMetrics(self.registry),
            agent=self._buffer.identity.agent,
            external_labels=self.config.global_config.external_labels,
            cluster_label=self.config.cluster_label,
            max_samples=self._part_samples(),
            canonical_bounds=self.config.canonical_bounds,
            user_agent=self.user_agent,
            tracing=self.tracing,
        )
        self._batcher = Batcher(self._buffer, metrics, self._part_samples())
        self._open.push_async_callback(self._stop_scraping)
        self._run(self._batcher.run(), "batches")
        self._pushes = self._destinations(metrics)
        for push in self._pushes:
            self._run(push.run(), "push")
        self._run(self._targets.run(), "discovery")
        self._run(self._follow_targets(), "targets")
        self._run(self._every(SETTLE_S, self._buffer.settle), "settle")
        self._run(self._every(EVICT_S, self._buffer.evict_old), "evict")

    async def _open_buffer(self, metrics: AgentMetrics) -> None:
        buffer = self.config.buffer
        cluster = self.config.global_config.external_labels.get(self.config.cluster_label, "")
        log = SqliteLog(
            buffer.path or self.data / BUFFER_FOLDER,
            self.log_metrics or LogMetrics(self.registry, BUFFER_FOLDER),
            max_bytes=buffer.max_bytes,
        )
        identity = Identity(cluster, self.config.agent or self.node, self.config.lanes)
        self._buffer = Buffer(log, identity, self._destination_names(), metrics, buffer.max_age)
        self._open.push_async_callback(self._buffer.close)
        await self._buffer.start()

    def _destination_names(self) -> list[str]:
        names = [GATEWAY] if self.config.gateway is not None else []
        return names + [_name(config) for config in self.config.remote_write]

    def _destinations(self, metrics: AgentMetrics) -> list[GatewayPush | RemoteWritePush]:
        pushes: list[GatewayPush | RemoteWritePush] = []
        if self.config.gateway is not None:
            pushes.append(GatewayPush(self._buffer, _transport(self.config), metrics, self.tracing))
        for config in self.config.remote_write:
            client = RemoteWrite(config, user_agent=self.user_agent)
            limit = config.queue_config.max_samples_per_send if _is_limited(config) else MAX_SAMPLES
            rewrite = self._rewrite(config)
            pushes.append(RemoteWritePush(_name(config), self._buffer, client, metrics, limit, rewrite, self.tracing))
        return pushes

    def _rewrite(self, config: RemoteWriteConfig) -> Rewrite | None:
        return rewrite_for(config, self.config.global_config.metric_name_validation_scheme == "legacy")

    def _part_samples(self) -> int:
        """Return the samples of a part: what a receiver was configured to take in a request, where that is less."""
        asked = [c.queue_config.max_samples_per_send for c in self.config.remote_write if _is_limited(c)]
        return min([MAX_SAMPLES, *asked])

    async def _keep(self, target: Target, parts: Sequence[Part]) -> None:
        await self._batcher.put(self._buffer.lane_of(target.key), parts)

    async def _follow_targets(self) -> None:
        async for targets in self._targets.changes():
            await self._pool.sync(targets)

    async def _every(self, seconds: float, step: Any) -> None:
        while True:
            await asyncio.sleep(seconds)
            await step()

    def _run(self, work: Any, name: str) -> None:
        task = asyncio.create_task(work, name=f"agent-{name}")
        task.add_done_callback(_tell_failure)
        self._tasks.append(task)

    async def drain(self) -> None:
        """Stop scraping, give what is buffered a moment to leave, and close. What stays is sent by the next start.

        As in Prometheus no series is ended: the next start goes on with them.
        """
        await self._open.aclose()

    async def _stop_scraping(self) -> None:
        for task in self._tasks:
            if task.get_name() in ("agent-discovery", "agent-targets"):
                task.cancel()
        await self._pool.close()
        await self._batcher.flush()
        try:
            async with asyncio.timeout(FLUSH_S):
                await self._buffer.all_acknowledged()
        except TimeoutError:
            logger.info("what is not sent yet waits on disk for the next start")

    async def _stop_tasks(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._buffer.settle()

    def ready(self) -> str | None:
        """Return None while every part works; a destination that is down is no reason, batches wait on disk."""
        for task in self._tasks:
            if task.done():
                return f"{task.get_name()} has ended"
        return None if self._tasks else "not started"

    def add_routes(self, app: web.Application) -> None:
        """Serve `/api/v1/targets` in the shape of Prometheus' API."""
        add_routes(app, lambda: self._targets.by_job, lambda target: self._pool.health(target), self.node)

    @property
    def targets(self) -> Targets:
        """What is being scraped."""
        return self._targets

    @property
    def pool(self) -> ScrapePool:
        """How the scrapes go."""
        return self._pool


def _name(config: RemoteWriteConfig) -> str:
    """Return a receiver's name in the buffer: its own, or its URL, so that changing others does not move it."""
    return f"remote_write:{config.name or config.url}"


def _is_limited(config: RemoteWriteConfig) -> bool:
    return "max_samples_per_send" in config.queue_config.model_fields_set


def _transport(config: AgentConfig) -> Transport:
    assert config.gateway is not None
    if config.gateway.scheme == "http":
        return HttpTransport(config.gateway)
    # gRPC costs an agent 20 MiB: only one that speaks it pays.
    from agent.push.grpc import GrpcTransport

    return GrpcTransport(config.gateway)


def _tell_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.critical("a part of the agent ended", exc_info=error, extra={"task": task.get_name()})
