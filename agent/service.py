"""The agent: discovery → scraping → buffer → destinations, each a task, wired here; logs in `agent.logs.service`."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import aiohttp
from aiohttp import web
from prometheus_client import CollectorRegistry

from agent.batcher import Batcher
from agent.buffer import Buffer, BufferFile, Identity
from agent.chores import attempt, every
from agent.config import AgentConfig, Loaded
from agent.custom_resources import CustomResources
from agent.destinations import Destinations, destination_names, part_samples
from agent.discovery import Tools
from agent.part import Part
from agent.reload import Reloads, ReloadStatus
from agent.routes import add_routes
from agent.scrape.pool import ScrapePool
from agent.sharing.share import Share
from agent.targets import Target, Targets
from pipeline.errors import PermanentError, TransientError
from pipeline.log.sqlite import SqliteLog
from pipeline.service import vital
from pipeline.telemetry import AgentMetrics, DiscoveryMetrics, LogMetrics, ReloadMetrics, ScrapeMetrics
from pipeline.tracing import OFF, Tracing
from pipeline.wire.envelope import Signal

if TYPE_CHECKING:
    from agent.logs.service import LogService

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
    load: Callable[[], Loaded] | None = None
    """Reads the configuration again; raises ConfigError. None: it stays as it is."""
    files: Callable[[], Iterable[Path]] = tuple
    """The files that it consists of: a change of one is a reload."""
    name: str = "agent"
    _open: AsyncExitStack = field(default_factory=AsyncExitStack)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _buffer: Buffer = field(init=False)
    _batcher: Batcher = field(init=False)
    _targets: Targets = field(init=False)
    _pool: ScrapePool = field(init=False)
    _destinations: Destinations = field(init=False)
    _tools: Tools = field(init=False)
    _metrics: AgentMetrics = field(init=False)
    _resources: CustomResources = field(init=False)
    _share: Share = field(init=False)
    _share_changed: asyncio.Event = field(default_factory=asyncio.Event)
    _file: BufferFile = field(init=False)
    _logs: "LogService | None" = None
    _configuring: asyncio.Lock = field(default_factory=asyncio.Lock)
    _reloads: Reloads | None = None

    async def start(self) -> None:
        """Open the buffer, then let everything flow; raises PipelineError."""
        metrics = AgentMetrics(self.registry)
        await self._open_buffer(metrics)
        self._destinations = Destinations(self._buffer, metrics, self.user_agent, self.tracing)
        self._open.push_async_callback(self._stop_tasks)
        # Each watch of a cluster holds a connection: a hundred of them must not keep other discoveries waiting.
        connector = aiohttp.TCPConnector(limit=0)
        session = await self._open.enter_async_context(
            aiohttp.ClientSession(connector=connector, headers={"User-Agent": self.user_agent})
        )
        tools = Tools(session, DiscoveryMetrics(self.registry))
        self._share = Share(self.config, self._buffer.identity.agent, self.registry)
        jobs = self._share.jobs(self.config.scrape_configs, ())
        self._targets = Targets(jobs, tools, is_ours=None if self.config.sharing is None else self._share.is_ours)
        self._pool = ScrapePool(
            self._keep,
            ScrapeMetrics(self.registry),
            agent=self._buffer.identity.agent,
            external_labels=self.config.global_config.external_labels,
            cluster_label=self.config.cluster_label,
            max_samples=part_samples(self.config),
            canonical_bounds=self.config.canonical_bounds,
            user_agent=self.user_agent,
            tracing=self.tracing,
            turn_of=self._share.turn_of,
        )
        self._batcher = Batcher(self._buffer, metrics, part_samples(self.config))
        self._tools, self._metrics = tools, metrics
        self._open.push_async_callback(self._close_logs)
        await self._configure_logs()
        self._open.push_async_callback(self._stop_reading)
        self._run(self._batcher.run(), "batches")
        await self._destinations.configure(self.config)
        self._resources = CustomResources(tools, self.registry, self._reload_targets)
        self._open.push_async_callback(self._resources.stop)
        self._open.push_async_callback(self._share.close)
        await self._share.start(self.config, session, self._share_changed.set, self._pool.give_up)
        await self._configure_resources()
        self._run(self._targets.run(), "discovery")
        self._run(self._follow_targets(), "targets")
        self._run(self._follow_share(), "share")
        self._run(every(SETTLE_S, self._buffer.settle), "settle")
        self._run(every(EVICT_S, self._buffer.evict_old), "evict")
        if self.load is not None:
            self._reloads = Reloads(
                self.load, lambda: self.config, self._apply, ReloadMetrics(self.registry), self.files
            )
            self._run(self._reloads.watch(), "watch")

    async def _open_buffer(self, metrics: AgentMetrics) -> None:
        buffer = self.config.buffer
        cluster = self.config.global_config.external_labels.get(self.config.cluster_label, "")
        log = SqliteLog(
            buffer.path or self.data / BUFFER_FOLDER,
            self.log_metrics or LogMetrics(self.registry, BUFFER_FOLDER),
            max_bytes=buffer.max_bytes,
        )
        identity = Identity(cluster, self.config.agent or self.node, self.config.lanes)
        self._file = BufferFile(log, identity)
        self._buffer = Buffer(self._file, destination_names(self.config, Signal.METRICS), metrics, buffer.max_age)
        self._open.push_async_callback(self._buffer.close)
        await self._buffer.start()

    async def reload(self) -> None:
        """Run what the files say now; raises ConfigError and goes on as before where that cannot be.

        Raises TransientError while it starts.
        """
        if self.load is None:
            raise PermanentError("the configuration comes from no file that could be read again")
        if self._reloads is None:
            raise TransientError("the agent is starting")
        await self._reloads.reload()

    async def _apply(self, config: AgentConfig) -> None:
        """Go on with another configuration, of which `agent.reload.unchangeable` has nothing to say."""
        # First what can fail: a way to a gateway that is not installed.
        await self._destinations.configure(config)
        self.config = config
        await self._configure_logs()
        self._batcher.max_samples = part_samples(config)
        self._pool.configure(
            config.global_config.external_labels,
            max_samples=part_samples(config),
            canonical_bounds=config.canonical_bounds,
        )
        await self._configure_resources()
        self._reload_targets()

    async def _configure_logs(self) -> None:
        """Read logs as the configuration says: from the first one on that has a section for it."""
        config = self.config
        self._file.is_shared = bool(config.scrape_configs) or config.operator is not None
        if self._logs is not None:
            await self._logs.configure(config)
        elif config.logs is not None:
            # Only an agent that reads logs pays for what that takes.
            from agent.logs.service import LogService

            tools = Tools(self._tools.session, self._tools.metrics, shared=self._tools.shared)
            logs = LogService(
                self._file, tools, self._metrics, self.registry, self._node, self.user_agent, self.tracing
            )
            try:
                await logs.start(config)
            except BaseException:
                await logs.close()
                raise
            self._logs = logs

    @property
    def _node(self) -> str:
        sharing = self.config.sharing
        return (sharing.node_name if sharing is not None else "") or self.node

    async def _configure_resources(self) -> None:
        # They are the whole cluster's: an agent that does nothing shared does not look at them.
        async with self._configuring:
            left_out = {} if self._share.does_shared else {"operator": None}
            await self._resources.configure(self.config.model_copy(update=left_out))

    def _reload_targets(self) -> None:
        self._targets.reload(self._share.jobs(self.config.scrape_configs, self._resources.jobs))

    async def _follow_share(self) -> None:
        while True:
            await self._share_changed.wait()
            self._share_changed.clear()
            await self._pool.give_up()
            await self._configure_resources()
            self._reload_targets()

    async def _keep(self, target: Target, parts: Sequence[Part]) -> None:
        await self._batcher.put(self._buffer.lane_of(target.lane_key), parts)

    async def _follow_targets(self) -> None:
        async for targets in self._targets.changes():
            await self._pool.sync(targets)

    def _run(self, work: Any, name: str) -> None:
        self._tasks.append(vital(asyncio.create_task(work, name=f"agent-{name}")))

    async def drain(self) -> None:
        """Stop scraping, give what is buffered a moment to leave, and close. What stays is sent by the next start.

        As in Prometheus no series is ended: the next start goes on with them.
        """
        await self._open.aclose()

    async def _stop_reading(self) -> None:
        for task in self._tasks:
            if task.get_name() in ("agent-watch", "agent-share", "agent-discovery", "agent-targets"):
                task.cancel()
        await asyncio.gather(self._stop_scraping(), *([self._logs.drain()] if self._logs is not None else []))

    async def _close_logs(self) -> None:
        if self._logs is not None:
            await self._logs.close()

    async def _stop_scraping(self) -> None:
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
        await asyncio.gather(*self._tasks, self._destinations.stop(), return_exceptions=True)
        await attempt(self._buffer.settle)

    def ready(self) -> str | None:
        """Return None while every part works; a destination that is down is no reason, batches wait on disk."""
        for task in self._tasks:
            if task.done():
                return f"{task.get_name()} has ended"
        if not self._tasks:
            return "not started"
        logs = self._logs.ready() if self._logs is not None else None
        return self._resources.ready() or self._share.ready() or self._destinations.ready() or logs

    async def finished(self) -> None:
        """Wait until standard input, where it is read, has ended and is delivered; for ever elsewhere."""
        await (self._logs.finished() if self._logs is not None else asyncio.Event().wait())

    def add_routes(self, app: web.Application) -> None:
        """Serve what is found and scraped and why, and how the last reload went, in the shapes of Prometheus' API."""
        add_routes(app, self)

    @property
    def logs(self) -> "LogService | None":
        """What is being read, where the configuration says anything of logs."""
        return self._logs

    @property
    def targets(self) -> Targets:
        """What is being scraped."""
        return self._targets

    @property
    def resources(self) -> CustomResources:
        """Which jobs custom resources give, and which resources give none."""
        return self._resources

    @property
    def share(self) -> Share:
        """Which part of the shared work is this agent's."""
        return self._share

    @property
    def pool(self) -> ScrapePool:
        """How the scrapes go."""
        return self._pool

    @property
    def reload_status(self) -> ReloadStatus:
        """What became of the last attempt to read the configuration again."""
        return self._reloads.status if self._reloads is not None else ReloadStatus()
