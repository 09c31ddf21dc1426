"""What people do by hand: look at dead letters, send them again, replay a window of the log.

The same requests are served on the admin port of a running ingester (an embedded log has room for one process only) and
by the command itself where none runs. Everything answers plain values, for JSON.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web

from ingester.config import IngesterConfig
from ingester.dead_letters import DEAD_LETTERS_TOPIC, DeadLetters
from ingester.progress import SETTLED_TOPIC
from ingester.redrive import Redrive
from ingester.replay import Replay
from ingester.sinks import Sink
from pipeline.errors import PermanentError, TransientError
from pipeline.log.interface import Log, Partition
from pipeline.send.codec import CODECS


class Desk:
    """The log must be started, and so must the sinks (by name)."""

    def __init__(
        self, config: IngesterConfig, log: Log, sinks: Mapping[str, Sink], clock: Callable[[], float] = time.time
    ) -> None:
        self._config = config
        self._log = log
        self._sinks = sinks
        self._clock = clock
        self.letters = Redrive(log, config, sinks.get, clock)

    async def start(self) -> None:
        """Make sure of the topics; raises PipelineError."""
        topic = self._config.log.topic
        await self._log.ensure_topic(topic(SETTLED_TOPIC, compacted=True, partitions=1))
        await self._log.ensure_topic(topic(DEAD_LETTERS_TOPIC, partitions=1))

    async def replay(self, sink: str, from_ms: int, to_ms: int, cluster: str = "") -> dict[str, Any]:
        """Deliver what the log got from `from_ms` until before `to_ms` again; see `Replay.run`."""
        config = next((config for config in self._config.sinks if config.name == sink), None)
        receiver = self._sinks.get(sink)
        if config is None or receiver is None:
            raise PermanentError(f"there is no sink {sink} in this configuration")
        if from_ms >= to_ms:
            raise PermanentError("the end of the window must be behind its beginning")
        spec = self._config.log.topic(receiver.signal.value)
        at = Partition(self._config.prefix() + DEAD_LETTERS_TOPIC, 0)
        letters = DeadLetters(self._log, at, sink, CODECS[receiver.signal], self._clock)
        replay = Replay(self._log, config, receiver, letters, cluster)
        return await replay.run(spec.name, await self._log.ensure_topic(spec), from_ms, to_ms)

    # The same over HTTP.

    def add_routes(self, app: web.Application) -> None:
        """Add `/api/v1/dead-letters…` and `/api/v1/replay` to the admin port's application."""
        app.router.add_get("/api/v1/dead-letters", self._list)
        app.router.add_get("/api/v1/dead-letters/{id:[0-9]+}", self._show)
        app.router.add_post("/api/v1/dead-letters/{id:[0-9]+}/redrive", self._redrive)
        app.router.add_post("/api/v1/replay", self._replay)

    async def _list(self, request: web.Request) -> web.Response:
        limit = request.query.get("limit", "1000")
        if not limit.isdigit():
            return web.json_response({"error": "limit is not a number"}, status=400)
        return await _answer(self.letters.listing, limit=int(limit), sink=request.query.get("sink", ""))

    async def _show(self, request: web.Request) -> web.Response:
        return await _answer(self.letters.show, int(request.match_info["id"]))

    async def _redrive(self, request: web.Request) -> web.Response:
        _from_a_tool(request)
        return await _answer(self.letters.redrive, int(request.match_info["id"]))

    async def _replay(self, request: web.Request) -> web.Response:
        _from_a_tool(request)
        try:
            asked = await request.json()
            sink, cluster = str(asked["sink"]), str(asked.get("cluster", ""))
            from_ms, to_ms = int(asked["from_ms"]), int(asked["to_ms"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            return web.json_response({"error": f"sink, from_ms and to_ms are required: {error!r}"}, status=400)
        return await _answer(self.replay, sink, from_ms, to_ms, cluster)


def _from_a_tool(request: web.Request) -> None:
    """Refuse what a page in a browser could send by itself: it can post forms and text to loopback, but not JSON."""
    if request.content_type != "application/json":
        raise web.HTTPUnsupportedMediaType(text="Content-Type must be application/json\n")


async def _answer(work: Callable[..., Any], *args: Any, **options: Any) -> web.Response:
    try:
        return web.json_response(await work(*args, **options))
    except PermanentError as error:
        return web.json_response({"error": str(error)}, status=400)
    except TransientError as error:
        return web.json_response({"error": str(error)}, status=503)
