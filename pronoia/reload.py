"""When a process is asked to read its configuration again: by POST, as Prometheus is, and by SIGHUP."""

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from aiohttp import web

from pipeline.errors import PermanentError, TransientError

logger = logging.getLogger(__name__)

Reload = Callable[[], Awaitable[None]]
"""Reads the configuration again; raises PermanentError with every reason why the old one stays, and says so itself.

Raises TransientError where it cannot read it just now.
"""


def serve_reload(app: web.Application, reload: Reload, *paths: str) -> None:
    """Answer POST and PUT to `/-/reload` (and `paths`): 200, or 500 with the reasons, or 503 while it is starting."""

    async def answer(_: web.Request) -> web.Response:
        try:
            await reload()
        except PermanentError as error:
            return web.Response(status=500, text=f"{error}\n")
        except TransientError as error:
            return web.Response(status=503, text=f"{error}\n")
        return web.Response(text="read again\n")

    for path in ("/-/reload", *paths):
        for method in ("POST", "PUT"):
            app.router.add_route(method, path, answer)


@contextmanager
def on_hangup(reload: Reload) -> Iterator[None]:
    """Reload at each SIGHUP while the block runs."""
    running: set[asyncio.Task[None]] = set()

    async def one() -> None:
        try:
            await reload()
        except PermanentError:
            pass  # Told and counted where it was found; the old configuration goes on.
        except TransientError as error:
            logger.warning("the configuration is not read again: %s", error)

    def begin() -> None:
        task = asyncio.create_task(one(), name="reload")
        running.add(task)
        task.add_done_callback(running.discard)

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, begin)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)
