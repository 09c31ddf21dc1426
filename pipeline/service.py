"""What every component's process does alike: named tasks, an admin port, signals, and draining with a deadline."""

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest

from pipeline.config import Address
from pipeline.delivery import Backoff
from pipeline.errors import PermanentError, PipelineError, TransientError

logger = logging.getLogger(__name__)


class PartEndedError(PipelineError):
    """A part that should have gone on for ever has ended: a fault of ours, after which the process begins anew."""


class Component(Protocol):
    """A part that can run in a process of its own or beside others in one."""

    name: str

    async def start(self) -> None:
        """Open what it needs and begin working; raises PipelineError where it cannot."""

    async def drain(self) -> None:
        """Stop taking in new work, finish what was begun, let go of everything; called once, after `start`."""

    def ready(self) -> str | None:
        """Return None when it can do its work, or one sentence that says why it cannot."""


class Resource(Protocol):
    """What components stand on: a log, a store."""

    async def start(self) -> None:
        """Open it; raises TransientError where another try may succeed."""

    async def close(self) -> None:
        """Let go of it."""


@dataclass(slots=True)
class Opened:
    """A resource as a component: opened before those that need it, closed after them.

    What cannot be reached yet is waited for, so that the parts of a fleet may start in any order.
    """

    name: str
    resource: Resource
    _reason: str | None = "not started"

    async def start(self) -> None:
        """Open the resource, however long that takes; raises PermanentError where it never will."""
        backoff = Backoff(first_s=0.5, longest_s=10.0)
        while self._reason is not None:
            try:
                await self.resource.start()
            except TransientError as error:
                logger.warning("waiting for the %s: %s", self.name, error)
                self._reason = f"waiting: {error}"
                await asyncio.sleep(backoff.next_s(error.retry_after_s))
            else:
                self._reason = None

    async def drain(self) -> None:
        """Close it, if it was opened."""
        if self._reason is None:
            await self.resource.close()

    def ready(self) -> str | None:
        """Return None while it is open."""
        return self._reason


@dataclass(slots=True)
class Admin:
    """The admin port: `/metrics`, `/healthz`, `/readyz`, and what the components add to `app` before it starts.

    It is a component itself, and the first, so that `/readyz` tells what a start waits for.
    """

    address: Address
    registry: CollectorRegistry
    components: Sequence[Component]
    name: str = "admin"
    app: web.Application = field(default_factory=web.Application)
    port: int = 0
    _runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen; `port` is the one in use afterwards. Raises PermanentError where the port is taken."""
        self.app.router.add_get("/metrics", self._metrics)
        self.app.router.add_get("/healthz", self._healthz)
        self.app.router.add_get("/readyz", self._readyz)
        self._runner = web.AppRunner(self.app, access_log=None)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self.address.host, self.address.port).start()
        except OSError as error:
            at = f"{self.address.host}:{self.address.port}"
            raise PermanentError(f"the admin port cannot listen on {at}: {error.strerror}") from error
        self.port = self._runner.addresses[0][1]
        logger.info("the admin port listens", extra={"address": f"{self.address.host}:{self.port}"})

    async def drain(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    def ready(self) -> str | None:
        """Return None once it listens."""
        return None if self.port else "not started"

    async def _metrics(self, _: web.Request) -> web.Response:
        body = generate_latest(self.registry)
        return web.Response(body=body, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, _: web.Request) -> web.Response:
        reasons = [
            f"{part.name}: {reason}" for part in (self, *self.components) if (reason := part.ready()) is not None
        ]
        return web.Response(status=503 if reasons else 200, text="\n".join(reasons or ["ready"]) + "\n")


def vital(task: asyncio.Task[None]) -> asyncio.Task[None]:
    """Let the end of a task, unless it is cancelled, end the process (see `serve`); return the task.

    A component that lost a part would look alive and do nothing. What supervises the process starts it anew, and
    everything that was acknowledged is on disk or in the log.
    """
    task.add_done_callback(_tell_end)
    return task


def _tell_end(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        told = {"message": f"{task.get_name()} has ended", "exception": task.exception(), "vital": True}
        task.get_loop().call_exception_handler(told)


async def serve(
    components: Sequence[Component],
    *,
    started: Callable[[], None] = lambda: None,
    finished: Callable[[], Awaitable[None]] | None = None,
    drain_s: float = 20.0,
) -> None:
    """Start components in order, wait for SIGINT or SIGTERM, drain them in reverse order within `drain_s` in all.

    The order is downstream first (log, ingester, gateway, agent): each finds the next at work, also while it drains.
    `started` is called once all have started; when `finished` returns, that is as good as a signal. Raises
    PipelineError where a component cannot start, and PartEndedError, once the others have drained, where a `vital` task
    has ended.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    ended: list[str] = []

    def end(_: asyncio.AbstractEventLoop, told: dict[str, Any]) -> None:
        if not told.get("vital"):
            loop.default_exception_handler(told)
            return
        logger.critical("a part has ended, and the process with it: %s", told["message"], exc_info=told["exception"])
        ended.append(told["message"])
        stop.set()

    loop.set_exception_handler(end)
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    begun: list[Component] = []
    stopping = asyncio.create_task(stop.wait(), name="stop")
    starting = asyncio.create_task(_start(components, begun), name="start")
    try:
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            started()
            await _first_of(stopping, finished)
        logger.info("draining", extra={"deadline_s": drain_s})
    finally:
        for task in (starting, stopping):
            task.cancel()
        await asyncio.wait({starting, stopping})
        await _drain(begun, drain_s)
    if ended:
        raise PartEndedError(ended[0])


async def _first_of(stopping: "asyncio.Task[bool]", finished: Callable[[], Awaitable[None]] | None) -> None:
    if finished is None:
        await stopping
        return
    finishing = asyncio.ensure_future(finished())
    try:
        await asyncio.wait({stopping, finishing}, return_when=asyncio.FIRST_COMPLETED)
        if finishing.done():
            finishing.result()
    finally:
        finishing.cancel()


async def _start(components: Sequence[Component], begun: list[Component]) -> None:
    for component in components:
        begun.append(component)
        await component.start()


async def _drain(running: list[Component], drain_s: float) -> None:
    deadline = asyncio.get_running_loop().time() + drain_s
    for component in reversed(running):
        try:
            async with asyncio.timeout_at(deadline):
                await component.drain()
        except TimeoutError:
            # Nothing acknowledged is lost: what is not done is still on disk, or uncommitted in the log.
            logger.warning("did not drain in time", extra={"component": component.name})
