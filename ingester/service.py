"""The ingester: every sink's group in one process, and the status of all of them."""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web

from ingester import progress as progress_of
from ingester.config import IngesterConfig, SinkConfig
from ingester.dead_letters import DEAD_LETTERS_TOPIC, DeadLetters
from ingester.deliver import Budget, Context
from ingester.desk import Desk
from ingester.group import Group
from ingester.progress import SETTLED_TOPIC, ProgressLog
from ingester.sinks import Sink
from ingester.sinks.kinds import KINDS, Build, SinkTools
from ingester.status import Standing, summarise
from pipeline.errors import PermanentError, PipelineError
from pipeline.log.interface import Log, Partition
from pipeline.send.codec import CODECS
from pipeline.telemetry import IngesterMetrics
from pipeline.tracing import OFF, Tracing

_KEPT_IS_GOOD_FOR_S = 1.0


class Ingester:
    """A `pipeline.service.Component`. The log is started by the caller before `start`, and closed after `drain`.

    So is `tracing`. `builders` builds sinks of kinds that need more than their configuration: `store` needs the
    embedded store.
    """

    name = "ingester"

    def __init__(
        self,
        config: IngesterConfig,
        log: Log,
        metrics: IngesterMetrics,
        *,
        builders: Mapping[str, Build] | None = None,
        tracing: Tracing = OFF,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._config = config
        self._log = log
        self._metrics = metrics
        self._clock = clock
        self._builders: dict[str, Build] = {**KINDS, **(builders or {})}
        self._tools = SinkTools(metrics, clock)
        self._sinks: dict[str, Sink] = {}
        self._tracing = tracing
        self._groups: dict[str, Group] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._partitions: dict[str, int] = {}
        self._progress = ProgressLog(log, Partition(config.prefix() + SETTLED_TOPIC, 0))
        self.desk = Desk(config, log, self._sinks, clock)
        self._kept: tuple[float, Mapping[bytes, bytes]] = (0.0, {})

    async def start(self) -> None:
        """Make sure of the topics, start every sink, join every group. Raises PipelineError."""
        prefix = self._config.prefix()
        spec = self._config.log.topic
        await self.desk.start()
        for config in self._config.sinks:
            if config.kind not in self._builders:
                raise PermanentError(f"sink {config.name}: a {config.kind} sink works only in `pronoia up`")
            sink = self._sinks[config.name] = self._builders[config.kind](config, self._tools)
            topic = prefix + sink.signal.value
            if topic not in self._partitions:
                self._partitions[topic] = await self._log.ensure_topic(spec(sink.signal.value))
            await sink.start()
            group = self._groups[config.name] = self._group(config, sink, topic)
            self._tasks[config.name] = asyncio.create_task(group.run(), name=f"group {group.group}")

    def _group(self, config: SinkConfig, sink: Sink, topic: str) -> Group:
        prefix = self._config.prefix()
        at = Partition(prefix + DEAD_LETTERS_TOPIC, 0)
        letters = DeadLetters(self._log, at, config.name, CODECS[sink.signal], self._clock)

        def context(group: Group) -> Context:
            budget = Budget(config.queue_max_bytes)
            return Context(
                config=config,
                sink=sink,
                dead_letters=letters,
                metrics=self._metrics,
                clock=self._clock,
                commit=group.commit,
                write=group.write,
                hurry=group.hurry,
                room=group.room,
                budget=budget,
                tracing=self._tracing,
            )

        return Group(
            prefix + config.name,
            topic,
            self._log,
            config,
            self._progress,
            self._metrics,
            context,
            settle_interval_s=self._config.settle_interval,
            revoke_timeout_s=self._config.revoke_timeout,
            forget_after_s=self._config.forget_after,
            retention_s=self._config.log.topic(sink.signal.value).retention_s,
            clock=self._clock,
        )

    async def drain(self) -> None:
        """Settle what is in flight, leave the groups, close the sinks."""
        for group in self._groups.values():
            group.stop()
        try:
            if self._tasks:
                await asyncio.wait(self._tasks.values())
        finally:
            for task in self._tasks.values():
                task.cancel()
            for sink in self._sinks.values():
                await sink.close()

    def ready(self) -> str | None:
        """Return None when every group works, or what keeps one from it."""
        if not self._tasks:
            return "not started"
        for name, group in self._groups.items():
            if group.trouble:
                return f"sink {name}: {group.trouble}"
            for running in group.running.values():
                if running.feed.stuck:
                    return f"sink {name}: {running.feed.stuck}"
        return None

    def add_routes(self, app: web.Application) -> None:
        """Add `/api/v1/status`, and what the desk serves, to the admin port's application."""
        app.router.add_get("/api/v1/status", self._answer_status)
        self.desk.add_routes(app)

    async def _answer_status(self, _: web.Request) -> web.Response:
        try:
            return web.json_response(await self.status())
        except PipelineError as error:
            return web.json_response({"error": str(error)}, status=503)

    async def status(self) -> dict[str, Any]:
        """Return the status of all sinks over all partitions, other processes' too. Raises TransientError."""
        now_s = self._clock()
        kept = await self._others(now_s)
        standings: list[Standing] = []
        for name, group in self._groups.items():
            signal = self._sinks[name].signal.value
            everything = [Partition(group.topic, number) for number in range(self._partitions[group.topic])]
            others = progress_of.pick(kept, group.group, [at for at in everything if at not in group.running])
            standings += [
                Standing(name, signal, running.feed.progress(), group.lag_s(running))
                for running in group.running.values()
            ]
            for at, progress in others.items():
                _, end = await self._log.bounds(at)
                lag_s = max(0.0, now_s - progress.head_ms / 1000) if end > progress.offset and progress.head_ms else 0.0
                standings.append(Standing(name, signal, progress, lag_s))
        names = [(name, sink.signal.value) for name, sink in self._sinks.items()]
        return {"clusters": summarise(standings, names), "sinks": self._sinks_status()}

    async def _others(self, now_s: float) -> Mapping[bytes, bytes]:
        """Return what all processes have written down, at most a second ago."""
        read_s, kept = self._kept
        if not 0 <= now_s - read_s < _KEPT_IS_GOOD_FOR_S:
            kept = await self._log.compacted(self._progress.at)
            self._kept = (now_s, kept)
        return kept

    def _sinks_status(self) -> list[dict[str, Any]]:
        out = []
        for name, group in self._groups.items():
            retrying = [
                {"cluster": cluster, "tenant": tenant, "reason": retry.reason, "alarm": retry.alarm}
                for running in group.running.values()
                for cluster, tenant, retry in running.feed.trouble()
            ]
            stuck = [running.feed.stuck for running in group.running.values() if running.feed.stuck]
            out.append(
                {
                    "name": name,
                    "partitions": sorted(at.number for at in group.running),
                    "trouble": group.trouble,
                    "retrying": retrying,
                    "stuck": stuck,
                }
            )
        return out
