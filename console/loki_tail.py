"""Loki's `/tail`: entries over a WebSocket as they come.

Source: Loki documentation, "Stream logs". Grafana opens it from its server, logcli from a terminal. A browser does not
keep pages of other sites from opening WebSockets, as it keeps them from reading answers: so they are refused here.
"""

import asyncio
import time
from dataclasses import replace
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web

from console.loki_api import read_query, show_streams
from pipeline.errors import PermanentError, PipelineError
from pipeline.store.logs import LogStore
from pipeline.store.logs.entry import MAX_NS

EVERY_S: Final = 0.5
MOST: Final = 20_000
"""Entries in one message; where more came in half a second, the connection is closed with the reason."""
_TOO_MANY: Final = 1013
_HEARTBEAT_S: Final = 30.0


def add_route(app: web.Application, store: LogStore) -> None:
    """Serve it."""

    async def tail(request: web.Request) -> web.StreamResponse:
        origin = request.headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc != request.host:
            return web.Response(status=403, text="pages of other sites may not open this")
        try:
            query, limit = read_query(request.query, time.time())
            query = replace(query, end_ns=MAX_NS)
            page = await store.entries(query, limit)
        except PermanentError as error:
            return web.Response(status=400, text=str(error))
        socket = web.WebSocketResponse(heartbeat=_HEARTBEAT_S)
        await socket.prepare(request)
        closed = asyncio.create_task(_closed(socket))
        try:
            found, since = list(reversed(page.entries)), page.last_seq
            while not closed.done():
                if found:
                    await socket.send_json({"streams": show_streams(found), "dropped_entries": None})
                await asyncio.wait([closed], timeout=EVERY_S)
                came = await store.tail(query, since, MOST)
                if came.skipped:
                    reason = f"{came.skipped} more entries came in {EVERY_S} s than can be shown: ask for fewer streams"
                    await socket.close(code=_TOO_MANY, message=reason.encode())
                found, since = list(came.entries), came.last_seq
        except (ConnectionError, PipelineError):
            await socket.close()
        finally:
            closed.cancel()
        return socket

    app.router.add_get("/loki/api/v1/tail", tail)


async def _closed(socket: web.WebSocketResponse) -> None:
    """Return when the other side has closed; what it says besides is of no effect."""
    async for _ in socket:
        pass
