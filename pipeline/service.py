"""What every component's process does alike: named tasks, an admin port, signals, and draining with a deadline."""

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest

from pipeline.config import Address

logger = logging.getLogger(__name__)


class Component(Protocol):
    """A part that can run in a process of its own or beside others in one."""

    name: str

    async def start(self) -> None:
        """Open what it needs and begin working; raises PipelineError where it cannot."""

    async def drain(self) -> None:
        """Stop taking in new work, finish what was begun, let go of everything; called once, after `start`."""

    def ready(self) -> str | None:
        """Return None when it can do its work, or one sentence that says why it cannot."""


@dataclass(slots=True)
class Admin:
    """The admin port: `/metrics`, `/healthz`, `/readyz`, and what the components add to `app` before `start`."""

    address: Address
    registry: CollectorRegistry
    components: list[Component]
    app: web.Application = field(default_factory=web.Application)
    port: int = 0
    _runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen; `port` is the one in use afterwards."""
        self.app.router.add_get("/metrics", self._metrics)
        self.app.router.add_get("/healthz", self._healthz)
        self.app.router.add_get("/readyz", self._readyz)
        self._runner = web.AppRunner(self.app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.address.host, self.address.port)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def close(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _metrics(self, _: web.Request) -> web.Response:
        body = generate_latest(self.registry)
        return web.Response(body=body, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, _: web.Request) -> web.Response:
        reasons = [f"{part.name}: {reason}" for part in self.components if (reason := part.ready()) is not None]
        return web.Response(status=503 if reasons else 200, text="\n".join(reasons or ["ready"]) + "\n")


async def serve(
    components: list[Component], drain_s: float = 20.0, started: Callable[[], Awaitable[None]] | None = None
) -> None:
    """Start components in order, wait for SIGINT or SIGTERM, drain them in reverse order within `drain_s` in all.

    The order is downstream first (ingester, gateway, agent): each finds the next at work, also while it drains.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    running: list[Component] = []
    try:
        for component in components:
            running.append(component)
            await component.start()
        if started is not None:
            await started()
        await stop.wait()
        logger.info("draining", extra={"deadline_s": drain_s})
    finally:
        await _drain(running, drain_s)


async def _drain(running: list[Component], drain_s: float) -> None:
    deadline = asyncio.get_running_loop().time() + drain_s
    for component in reversed(running):
        try:
            async with asyncio.timeout_at(deadline):
                await component.drain()
        except TimeoutError:
            # Nothing acknowledged is lost: what is not done is still on disk, or uncommitted in the log.
            logger.warning("did not drain in time", extra={"component": component.name})
