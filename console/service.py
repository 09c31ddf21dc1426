"""The console: static pages, the API they use, and a subset of Prometheus' API, on one loopback port."""

import asyncio
import logging
import time
from importlib.resources import files
from pathlib import Path
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler
from prometheus_client import CollectorRegistry

from console import logs_api, loki_api, loki_tail, prometheus_api, targets
from console.api import Api
from console.config import ConsoleConfig
from console.guard import guard, hosts_of
from console.history import History
from console.sources import Sources
from pipeline.errors import PermanentError, PipelineError
from pipeline.store import Store
from pipeline.store.logs import LogStore
from pipeline.telemetry import ConsoleMetrics

logger = logging.getLogger(__name__)

SAMPLE_EVERY_S: Final = 5.0
DRAIN_S: Final = 2.0
MAX_BODY_BYTES: Final = 1 << 20
_TYPES: Final = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


class Console:
    """A `pipeline.service.Component`; `port` is the one in use once it started. The stores belong to the caller."""

    name = "console"

    def __init__(
        self,
        config: ConsoleConfig,
        store: Store | None,
        sources: Sources,
        registry: CollectorRegistry,
        *,
        logs: LogStore | None = None,
    ) -> None:
        self._config, self._sources = config, sources
        self._metrics = ConsoleMetrics(registry)
        self._history = History()
        hosts = hosts_of(config.listen, config.allowed_hosts)
        self._app = web.Application(middlewares=[guard(hosts), self._count], client_max_size=MAX_BODY_BYTES)
        Api(store, sources, self._history, logs).add_routes(self._app)
        targets.add_routes(self._app, sources)
        logs_api.add_routes(self._app, logs)
        if logs is not None:
            loki_api.add_routes(self._app, logs)
            loki_tail.add_route(self._app, logs)
        if store is not None:
            prometheus_api.add_routes(self._app, store)
        _add_static(self._app)
        self._runner: web.AppRunner | None = None
        self._sampling: asyncio.Task[None] | None = None
        self.port = config.listen.port

    async def start(self) -> None:
        """Listen; raises PermanentError where the port is taken."""
        self._runner = web.AppRunner(self._app, access_log=None, shutdown_timeout=DRAIN_S)
        await self._runner.setup()
        listen = self._config.listen
        try:
            await web.TCPSite(self._runner, listen.host, listen.port).start()
        except OSError as error:
            raise PermanentError(
                f"the console cannot listen on {listen.host}:{listen.port}: {error.strerror}"
            ) from error
        self.port = self._runner.addresses[0][1]
        self._sampling = asyncio.create_task(self._sample(), name="console history")

    async def drain(self) -> None:
        """Stop listening."""
        if self._sampling is not None:
            self._sampling.cancel()
            await asyncio.wait([self._sampling])
        if self._runner is not None:
            await self._runner.cleanup()

    def ready(self) -> str | None:
        """Return None once it listens."""
        return None if self._sampling is not None else "not started"

    async def _sample(self) -> None:
        while True:
            try:
                status = await self._sources.status()
                self._history.add(time.monotonic(), status)
            except PipelineError as error:
                # The overview says so too, by asking itself.
                logger.debug("no status for the history", extra={"reason": str(error)})
            await asyncio.sleep(SAMPLE_EVERY_S)

    @web.middleware
    async def _count(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        response = await handler(request)
        self._metrics.requests.labels(str(response.status)).inc()
        return response


def _add_static(app: web.Application) -> None:
    """Serve what lies in the package; read once, since it cannot change while we run."""
    folder = Path(str(files("console"))) / "static"
    for path in sorted(folder.rglob("*")):
        if path.suffix in _TYPES:
            name = path.relative_to(folder).as_posix()
            app.router.add_get(
                "/" if name == "index.html" else f"/{name}", _file(path.read_bytes(), _TYPES[path.suffix])
            )


def _file(body: bytes, kind: str) -> Handler:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(body=body, headers={"Content-Type": f"{kind}; charset=utf-8", "Cache-Control": "no-cache"})

    return handler
