"""Reading the configuration again while the agent runs: when, what may change, and what became of it."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from aiohttp import web

from agent.config import AgentConfig, Loaded
from agent.destinations import destination_names
from agent.watch import Watch
from pipeline.config import ConfigError, Key, Mistake
from pipeline.errors import PermanentError
from pipeline.telemetry import ReloadMetrics
from pipeline.wire.envelope import Signal

logger = logging.getLogger(__name__)

LOOK_S: Final = 1.0
"""How often the files are looked at. Two looks must see the same: an editor may be half-way through writing, and half
of a file can be a valid one with half of the jobs. Polling sees what inotify misses: ConfigMaps' symlinks, NFS."""
RETRY_S: Final = 15.0
"""How often a configuration that could not be used is tried again: a Secret that it names may come later than it."""

_RELOADABLE: Final = frozenset(
    (
        *("global_config", "scrape_config_files", "scrape_configs", "operator"),
        *("remote_write", "gateway", "canonical_bounds", "logs"),
    )
)
_RESTART: Final = "a change needs a restart"


def unchangeable(before: AgentConfig, now: AgentConfig) -> list[tuple[Key, str]]:
    """Return the keys that differ although they cannot change while the agent runs, each with the reason."""
    found: list[tuple[Key, str]] = []
    for name, field_info in AgentConfig.model_fields.items():
        if name not in _RELOADABLE and name != "cluster" and getattr(before, name) != getattr(now, name):
            found.append(((field_info.alias or name,), _RESTART))
    if _cluster(before) != _cluster(now):
        key: Key = ("cluster",) if now.cluster else ("global", "external_labels", now.cluster_label)
        found.append((key, f"the cluster's name is part of every buffered batch: {_RESTART}"))
    found += _destinations(before, now, Signal.METRICS, ("remote_write",))
    if before.logs is not None and now.logs is not None:
        found += [each for each in _destinations(before, now, Signal.LOGS, ("logs", "clients")) if each not in found]
    return found


def _destinations(before: AgentConfig, now: AgentConfig, signal: Signal, key: Key) -> Iterator[tuple[Key, str]]:
    """Yield the destinations that came or went."""
    known, wanted = destination_names(before, signal), destination_names(now, signal)
    for name in (*(name for name in wanted if name not in known), *(name for name in known if name not in wanted)):
        verb = "is new" if name in wanted else "is gone"
        reason = f"the destination {name} {verb}, and the buffer keeps what each of them has: {_RESTART}"
        yield ("gateway",) if name == "gateway" else key, reason


def _cluster(config: AgentConfig) -> str:
    return config.global_config.external_labels.get(config.cluster_label, "")


@dataclass(frozen=True, slots=True)
class ReloadStatus:
    """What became of the last attempt: its time in Unix seconds, and why it failed (nothing where it did not).

    `read_at_s` is when the configuration that runs was read.
    """

    tried_at_s: float = 0.0
    read_at_s: float = 0.0
    mistakes: tuple[str, ...] = ()


def add_status_route(app: web.Application, status: Callable[[], ReloadStatus]) -> None:
    """Serve what Prometheus' `/api/v1/status/runtimeinfo` says of reloads, and beside it the mistakes."""

    async def runtimeinfo(_: web.Request) -> web.Response:
        now = status()
        data = {
            "reloadConfigSuccess": not now.mistakes,
            "lastConfigTime": datetime.fromtimestamp(now.read_at_s, UTC).isoformat(timespec="seconds"),
            "reloadConfigMistakes": list(now.mistakes),
        }
        return web.json_response({"status": "success", "data": data})

    app.router.add_get("/api/v1/status/runtimeinfo", runtimeinfo)


@dataclass(slots=True)
class Reloads:
    """Reads the configuration again, when asked and when a file has changed, and hands it to `apply` if it is good.

    `load` raises ConfigError; `running` returns the configuration that runs now; `files` those that it consists of.
    """

    load: Callable[[], Loaded]
    running: Callable[[], AgentConfig]
    apply: Callable[[AgentConfig], Awaitable[None]]
    metrics: ReloadMetrics
    files: Callable[[], Iterable[Path]]
    look_s: float = LOOK_S
    retry_s: float = RETRY_S
    status: ReloadStatus = field(default_factory=ReloadStatus)
    _one: asyncio.Lock = field(default_factory=asyncio.Lock)
    _watch: Watch = field(init=False)

    def __post_init__(self) -> None:
        self._watch = Watch(self.files)
        self._succeeded(time.time())

    async def reload(self) -> None:
        """Read the files and run what they say; raises ConfigError and keeps everything as it is if that cannot be."""
        async with self._one:
            now_s = time.time()
            try:
                # Before they are read: what changes from here on is a change.
                await asyncio.to_thread(self._watch.remember)
                loaded = await asyncio.to_thread(self.load)
                if refused := unchangeable(self.running(), loaded.config):
                    raise ConfigError([loaded.mistake(key, reason) for key, reason in refused])
            except ConfigError as error:
                self._failed(now_s, error.mistakes)
                raise
            for warning in loaded.warnings:
                logger.warning("%s", warning)
            await self.apply(loaded.config)
            self._succeeded(now_s)
            logger.info("the configuration was read again")

    async def watch(self) -> None:
        """Reload whenever a file has changed, until cancelled."""
        await self._catch_up()
        while True:
            await asyncio.sleep(self.look_s)
            again = bool(self.status.mistakes) and time.time() >= self.status.tried_at_s + self.retry_s
            if await asyncio.to_thread(self._watch.changed) or again:
                with contextlib.suppress(PermanentError):  # said and counted where it was found
                    await self.reload()

    async def _catch_up(self) -> None:
        """Take in what changed after the start had read the files, and before anybody looked at them."""
        await asyncio.to_thread(self._watch.remember)
        with contextlib.suppress(PermanentError):
            if (await asyncio.to_thread(self.load)).config == self.running():
                return
        with contextlib.suppress(PermanentError):
            await self.reload()

    def _succeeded(self, at_s: float) -> None:
        self.status = ReloadStatus(at_s, at_s)
        self.metrics.successful.set(1)
        self.metrics.success_seconds.set(at_s)

    def _failed(self, at_s: float, mistakes: Sequence[Mistake]) -> None:
        before, self.status = self.status, ReloadStatus(at_s, self.status.read_at_s, tuple(map(str, mistakes)))
        self.metrics.successful.set(0)
        if self.status.mistakes == before.mistakes:
            return  # Tried again, and said already.
        for mistake in mistakes:
            place = {"file": mistake.file, "line": mistake.line, "key": mistake.key}
            logger.error("the old configuration runs on: %s", mistake.reason, extra=place)
