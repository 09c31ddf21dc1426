"""The gateway as a component: its listeners, the topics it appends to, and what it reads again while it runs."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry

from gateway.accept import Rules
from gateway.config import GatewayConfig
from gateway.core import Core
from gateway.listeners import GrpcListener, HttpListener
from gateway.publish import InFlight, Publisher
from gateway.senders import Senders
from pipeline.delivery import Backoff
from pipeline.errors import PermanentError, TransientError
from pipeline.log.interface import Log
from pipeline.service import vital
from pipeline.stamps import Stamp, stamps
from pipeline.telemetry import GatewayMetrics
from pipeline.tracing import OFF, Tracing

logger = logging.getLogger(__name__)

WATCH_INTERVAL_S: Final = 2.0
_FIXED: Final = ("log", "listen", "signals", "name", "lanes", "tracing")
"""Keys whose change needs a restart."""


class Gateway:
    """Receives, proves, appends, acknowledges. `log` and `tracing` are started and closed by whoever made them.

    `load` reads the configuration again (raising PermanentError where it is wrong), and `watch` are the files it reads:
    with them the clusters can be changed while the gateway runs. Token files and certificates are watched anyway.
    """

    name = "gateway"

    def __init__(
        self,
        config: GatewayConfig,
        log: Log,
        registry: CollectorRegistry,
        *,
        tracing: Tracing = OFF,
        load: Callable[[], GatewayConfig] | None = None,
        watch: Sequence[Path] = (),
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        watch_interval_s: float = WATCH_INTERVAL_S,
    ) -> None:
        self._log = log
        self._load = load
        self._watch = tuple(watch)
        self._clock = clock
        self._watch_interval_s = watch_interval_s
        self._tasks: list[asyncio.Task[None]] = []
        # Before the files are read: what changes from here on is noticed.
        self._seen = self._stamps(config)
        metrics = GatewayMetrics(registry)
        self._core = Core(
            config=config,
            senders=Senders(config, monotonic),
            rules=rules_of(config, log.max_record_bytes),
            in_flight=InFlight(config.limits.in_flight, metrics.in_flight_bytes),
            metrics=metrics,
            monotonic=monotonic,
            tracing=tracing,
        )
        self._http = HttpListener(self._core)
        self._grpc = GrpcListener(self._core)

    @property
    def http_port(self) -> int:
        """The HTTP port in use, 0 where there is none."""
        return self._http.port

    @property
    def grpc_port(self) -> int:
        """The gRPC port in use, 0 where there is none."""
        return self._grpc.port

    async def start(self) -> None:
        """Listen; raises PermanentError where a port or a file cannot be used. The log may come later."""
        try:
            await self._open_topics()
        except TransientError as error:
            self._core.unready = f"the log cannot be reached: {error}"
            logger.warning("waiting for the log", extra={"reason": str(error)})
            self._tasks.append(asyncio.create_task(self._reach_log(), name="gateway: reach the log"))
        await self._http.start()
        await self._grpc.start()
        self._tasks.append(vital(asyncio.create_task(self._watch_files(), name="gateway-watch-files")))

    async def drain(self) -> None:
        """Answer what was begun, refuse what comes, stop listening."""
        self._core.draining = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(self._http.stop(), self._grpc.stop())

    def ready(self) -> str | None:
        """Return None when data is taken, or why it is not."""
        if self._core.draining:
            return "draining"
        return None if self._core.publishers else self._core.unready

    async def reload(self) -> None:
        """Read configuration, tokens and certificates again; raises PermanentError and keeps the old ones if wrong."""
        core = self._core
        try:
            config = core.config if self._load is None else self._load()
            changed = [key for key in _FIXED if getattr(config, key) != getattr(core.config, key)]
            if (config.tls is None) != (core.config.tls is None):
                changed.append("tls")
            if changed:
                raise PermanentError(f"{', '.join(changed)}: a change needs a restart")
            senders = Senders(config, core.monotonic)
            await self._http.reload(config.tls)
            self._grpc.reload(config.tls)
        except PermanentError as error:
            core.metrics.reloads.labels("failed").inc()
            logger.error("the configuration was not read again, the old one stays: %s", error)
            raise
        core.config, core.senders = config, senders
        core.rules = rules_of(config, self._log.max_record_bytes)
        core.in_flight.max_bytes = config.limits.in_flight
        core.metrics.reloads.labels("done").inc()
        logger.info("read the configuration again")

    async def _open_topics(self) -> None:
        core, specs = self._core, {}
        for signal in core.config.signals:
            spec = core.config.log.topic(signal)
            specs[signal] = (spec.name, await self._log.ensure_topic(spec))
        # Only now is a Kafka log sure of what its brokers take.
        core.rules = rules_of(core.config, self._log.max_record_bytes)
        core.publishers = {
            signal: Publisher(self._log, signal, topic, partitions, core.config.name, core.metrics, self._clock)
            for signal, (topic, partitions) in specs.items()
        }

    async def _reach_log(self) -> None:
        backoff = Backoff(first_s=0.5, longest_s=10.0)
        while True:
            await asyncio.sleep(backoff.next_s())
            try:
                await self._open_topics()
            except TransientError as error:
                self._core.unready = f"the log cannot be reached: {error}"
            except PermanentError as error:
                self._core.unready = f"the log refuses us: {error}"
                logger.error("the log refuses us: %s", error)
            else:
                logger.info("the log is there")
                return

    async def _watch_files(self) -> None:
        """Reload when a file changed. A failed reload is not tried again before the next change."""
        while True:
            await asyncio.sleep(self._watch_interval_s)
            stamps = await asyncio.to_thread(self._stamps, self._core.config)
            if stamps == self._seen:
                continue
            self._seen = stamps
            with contextlib.suppress(PermanentError):  # said and counted there
                await self.reload()

    def _stamps(self, config: GatewayConfig) -> dict[Path, Stamp]:
        files = [*self._watch, *(cluster.token_file for cluster in config.clusters or ())]
        if config.tls is not None:
            files += [config.tls.cert_file, config.tls.key_file, config.tls.client_ca_file]
        return stamps(file for file in files if file is not None)


def rules_of(config: GatewayConfig, max_record_bytes: int) -> Rules:
    """Return what a configuration asks of payloads, over a log with this bound."""
    return Rules(
        label=config.cluster_label.encode(),
        default_cluster=config.default_cluster,
        overwrite=config.on_foreign_label == "overwrite",
        max_body_bytes=config.limits.body,
        max_raw_bytes=config.limits.decompressed,
        max_record_bytes=max_record_bytes,
    )
