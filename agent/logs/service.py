"""Logs in the agent: inputs → batcher → buffer → destinations, wired here and nowhere else."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from prometheus_client import CollectorRegistry

from agent.buffer_file import BufferFile
from agent.chores import attempt, every
from agent.config import AgentConfig
from agent.config.logs import LogScrapeConfig
from agent.config.promtail import LogsConfig
from agent.config.sharing import restricted
from agent.destinations import Destinations, destination_names
from agent.discovery import Tools
from agent.inputs.feed import position_key
from agent.job import AnyJob, JobTargets
from agent.logs.batcher import LogBatcher
from agent.logs.buffer import LogBuffer
from agent.logs.job import LogJob, LogTarget
from agent.logs.jobs import Labels, LogJobs
from agent.logs.page import find, show
from agent.logs.parts import Sizes
from agent.logs.positions import forget_known, import_once, imported_offsets
from agent.logs.tally import tallies
from agent.stages.metrics import CustomMetrics
from agent.tail.position import FILES, read_key
from agent.targets import AnyTargets
from agent.targets_page import Wanted
from pipeline.service import vital
from pipeline.telemetry import AgentMetrics, LogInputMetrics
from pipeline.tracing import Tracing
from pipeline.wire.envelope import Signal

logger = logging.getLogger(__name__)

FLUSH_S: Final = 5.0
SETTLE_S: Final = 1.0
FORGET_S: Final = 30.0


@dataclass(slots=True)
class LogService:
    """Everything about logs of one agent; it exists where the configuration has a section `logs`.

    `node` is the node whose files these are. `start` once the buffer's file is open; `drain`, then `close`.
    """

    file: BufferFile
    tools: Tools
    metrics: AgentMetrics
    registry: CollectorRegistry
    node: str
    user_agent: str
    tracing: Tracing
    _buffer: LogBuffer = field(init=False)
    _batcher: LogBatcher = field(init=False)
    _destinations: Destinations | None = None
    _jobs: LogJobs = field(init=False)
    _targets: AnyTargets[LogScrapeConfig, LogTarget] = field(init=False)
    _tasks: list["asyncio.Task[None]"] = field(default_factory=list)
    _sizes: Sizes = field(default_factory=Sizes)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def start(self, config: AgentConfig) -> None:
        """Take over what promtail had read, then let everything flow; raises PipelineError."""
        logs = logs_of(config)
        self._buffer = LogBuffer(self.file, destination_names(config, Signal.LOGS), self.metrics)
        await self._buffer.start()
        self._batcher = LogBatcher(self._buffer)
        await self._batcher.start()
        self._run(self._batcher.run(), "log-batches")
        destinations = Destinations(self._buffer, self.metrics, self.user_agent, self.tracing)
        self._destinations = destinations
        await destinations.configure(config)
        await import_once(logs.positions, self._batcher, _cursor_keys(logs))
        self._jobs = LogJobs(self._batcher, LogInputMetrics(self.registry), CustomMetrics(self.registry))
        self._targets = AnyTargets(self._job, self._found_jobs(logs), self.tools)
        await self._jobs.configure(logs, labels_of(config))
        self._run(self._targets.run(), "log-discovery")
        self._run(self._follow(), "log-targets")
        self._run(every(SETTLE_S, self._buffer.settle), "log-settle")
        self._run(every(FORGET_S, self._forget_imported), "log-positions")

    async def configure(self, config: AgentConfig) -> None:
        """Go on with another configuration; raises PipelineError before anything changed."""
        logs = logs_of(config)
        assert self._destinations is not None
        await self._destinations.configure(config)
        async with self._turn:
            await self._jobs.configure(logs, labels_of(config))
            self._targets.reload(self._found_jobs(logs))
            self._jobs.follow(self._active())

    def _job(self, config: LogScrapeConfig) -> LogJob:
        return LogJob(config, self.node)

    def _found_jobs(self, logs: LogsConfig) -> Sequence[LogScrapeConfig]:
        """Return the jobs whose sources are discovered, each as this node's agent does it."""
        if logs.target_config.stdin:
            return ()
        # As promtail asks the API server for its own node's pods only.
        return [restricted(job, self.node) for job in logs.scrape_configs if job.input in ("", "docker_sd_configs")]

    def _active(self) -> dict[str, Sequence[LogTarget]]:
        return {name: targets.active for name, targets in self._targets.by_job.items()}

    async def _follow(self) -> None:
        async for _ in self._targets.changes():
            async with self._turn:
                self._jobs.follow(self._active())

    async def _forget_imported(self) -> None:
        if not imported_offsets(self._batcher):
            return
        await forget_known(self._batcher, (read_key(key)[1] for key in self._batcher.state(FILES)))

    def _run(self, work: Any, name: str) -> None:
        self._tasks.append(vital(asyncio.create_task(work, name=f"agent-{name}")))

    async def drain(self) -> None:
        """Stop reading, put on disk what was read, and give it a moment to leave; positions are with it on disk."""
        for task in self._tasks:
            if task.get_name() in ("agent-log-discovery", "agent-log-targets"):
                task.cancel()
        await self._jobs.stop()
        try:
            async with asyncio.timeout(FLUSH_S):
                await self._batcher.flush()
                await self._buffer.all_acknowledged()
        except TimeoutError:
            logger.info("logs that are not sent yet wait on disk, or in their files, for the next start")

    async def close(self) -> None:
        """End what is left, also of a start that failed. The buffer's file stays open."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._destinations is None:
            return
        await self._destinations.stop()
        await attempt(self._buffer.settle)

    async def finished(self) -> None:
        """Wait until standard input has ended and every destination has all of it; for ever where it is not read."""
        await self._jobs.stdin_ended.wait()
        await self._batcher.flush()
        await self._buffer.all_acknowledged()

    def ready(self) -> str | None:
        """Return None while every part works; a receiver that is down, or a source that is not there, is no reason."""
        ended = next((f"{task.get_name()} has ended" for task in self._tasks if task.done()), None)
        return ended or self._jobs.ended() or (self._destinations.ready() if self._destinations else "not started")

    @property
    def by_job(self) -> Mapping[str, JobTargets[LogTarget]]:
        """What discovery found for each job."""
        return self._targets.by_job

    @property
    def jobs(self) -> Mapping[str, AnyJob[LogTarget]]:
        """Each job whose sources are discovered."""
        return self._targets.jobs

    async def page(self, wanted: Wanted) -> dict[str, Any]:
        """Return the counts of every job and what is wanted of its files, containers and inputs (`agent.logs.page`)."""
        inputs, counted = self._jobs.inputs(), tallies(self._jobs.metrics)
        # Thousands of files take longer than the loop may be held (ARCHITECTURE 11).
        found = await asyncio.to_thread(find, dict(self.by_job), inputs, wanted)
        sizes = await self._sizes.of([row.part.at for row in found.first if row.part is not None and row.part.inode])
        return {"trouble": self._batcher.trouble(), **await asyncio.to_thread(show, found, inputs, counted, sizes)}

    def troubles(self) -> dict[str, str | None]:
        """Return of each job why it cannot read just now, or None; of the buffer, too, as `buffer`."""
        return {**self._jobs.troubles(), "buffer": self._batcher.trouble()}


def logs_of(config: AgentConfig) -> LogsConfig:
    """Return what this agent reads: nothing where it does other nodes' shared work only (`sharing: {by: ordinal}`)."""
    logs = config.logs if config.logs is not None else LogsConfig()
    if config.sharing is not None and not config.sharing.does_nodes:
        return logs.model_copy(update={"scrape_configs": ()})
    return logs


def _cursor_keys(logs: LogsConfig) -> dict[str, bytes]:
    """Return the state's key of each journal job's position."""
    return {job.job_name: position_key("journal", job.job_name) for job in logs.scrape_configs if job.journal}


def labels_of(config: AgentConfig) -> Labels:
    """Return what every stream carries: the cluster, and external labels that it has no value for."""
    external = dict(config.global_config.external_labels)
    cluster = external.pop(config.cluster_label, "")
    return Labels(external, {config.cluster_label: cluster} if cluster else {})
