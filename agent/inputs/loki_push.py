"""Taking Loki's push requests: an answer of success follows only when everything is in the buffer, on disk.

While the buffer takes nothing, requests are refused before anything of them is kept, to be sent again: Loki's own
agents do so after 503 and 429.
"""

import asyncio
import logging
from collections.abc import Iterator
from functools import partial
from typing import Final

from aiohttp import web

from agent.config.loki_push import LokiPushConfig
from agent.inputs.attempts import Attempts
from agent.inputs.feed import Feed
from agent.inputs.labels import Labels
from agent.inputs.listen_tls import listen_tls
from agent.inputs.ticks import Ticks
from agent.logs.entry import Entry
from agent.logs.input import BY_RULES, Input, InputTools
from pipeline.errors import TransientError
from pipeline.receive.errors import BadRequestError
from pipeline.receive.loki_push import PUSH_PATHS, body_form, read_streams
from pipeline.wire.errors import MalformedError
from pipeline.wire.loki import Stream, parse_labels

logger = logging.getLogger(__name__)

MAX_WAITING_BYTES: Final = 64 * 1024 * 1024
"""What may be read and not on disk: of all requests, and after decompression."""
STUCK_S: Final = 2.0
"""A request that waits longer than this for the buffer shows that it is full."""
RETRY_AFTER_S: Final = 5
RENEW_S: Final = 30.0
LARGE_BYTES: Final = 128 * 1024
RAW_PATH: Final = "/promtail/api/v1/raw"


class LokiPush:
    """An `Input`: a listener of HTTP."""

    def __init__(self, config: LokiPushConfig, tools: InputTools) -> None:
        self._config = config
        self._tools = tools
        self._feed = Feed(tools, "push")
        self._ticks = Ticks(tools.clock)
        self._labels = Labels(tools.relabel, {})
        self._attempts = Attempts(tools, "loki_push_api")
        self._waiting_bytes = 0
        self._waiting: dict[object, float] = {}
        self.port = 0

    def trouble(self) -> str | None:
        """Return None while it listens."""
        return self._attempts.trouble

    async def run(self) -> None:
        """Listen until cancelled; a port that is taken is tried again."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._feed.run(), name="push: what is held back")
            await self._attempts.run(self._listen)

    async def _listen(self) -> None:
        server = self._config.server
        tls = listen_tls(server.http_tls_config)
        app = web.Application(client_max_size=self._config.max_send_msg_size)
        for path in PUSH_PATHS:
            app.router.add_post(path, self._push)
        app.router.add_post(RAW_PATH, self._raw)
        app.router.add_get("/ready", self._ready)
        runner = web.AppRunner(app, access_log=None, auto_decompress=False)
        await runner.setup()
        try:
            host = server.http_listen_address or None
            site = web.TCPSite(runner, host, server.http_listen_port, ssl_context=tls.context if tls else None)
            try:
                await site.start()
            except OSError as error:
                at = f"{server.http_listen_address}:{server.http_listen_port}"
                raise TransientError(f"cannot listen on {at}: {error.strerror}") from error
            self.port = runner.addresses[0][1]
            self._attempts.works()
            logger.info("push requests are taken", extra={"port": self.port, "tls": tls is not None})
            while True:
                await asyncio.sleep(RENEW_S)
                if tls is not None:
                    tls.renew()
        finally:
            await runner.cleanup()

    async def _ready(self, _: web.Request) -> web.Response:
        return web.Response(text="ready\n")

    async def _push(self, request: web.Request) -> web.Response:
        headers = request.headers
        try:
            form = body_form(request.path, headers.get("Content-Type", ""), headers.get("Content-Encoding", ""))
            if (refusal := self._refusal(request)) is not None:
                return refusal
            body = await self._body(request)
            read = partial(read_streams, body, form, self._config.max_send_msg_size)
            streams = await asyncio.to_thread(read) if len(body) > LARGE_BYTES else read()
        except BadRequestError as error:
            return self._bad(error.status, error.reason)
        wrong: list[str] = []
        refusal = await self._keep(list(self._entries(streams, wrong)), len(body))
        if refusal is not None:
            return refusal
        return self._bad(400, wrong[0]) if wrong else web.Response(status=204)

    async def _raw(self, request: web.Request) -> web.Response:
        """Take lines of text, as promtail does."""
        if (refusal := self._refusal(request)) is not None:
            return refusal
        body = await self._body(request)
        labels = self._labels.of(self._config.labels)
        if labels is None:
            return web.Response(status=204)
        lines = (line.rstrip("\r") for line in body.decode(errors="replace").split("\n"))
        entries = [Entry(dict(labels), self._ticks.next_ns(), line) for line in lines if line]
        return await self._keep(entries, len(body)) or web.Response(status=204)

    def _refusal(self, request: web.Request) -> web.Response | None:
        """Return the answer to a request for which there is no room now, before its body is read."""
        size = self._size(request)
        if size > self._config.max_send_msg_size:
            return self._bad(413, f"{size} bytes are too many: {self._config.max_send_msg_size} are allowed")
        oldest_s = min(self._waiting.values(), default=None)
        is_stuck = oldest_s is not None and asyncio.get_running_loop().time() - oldest_s > STUCK_S
        return self._later() if is_stuck or self._waiting_bytes + size > MAX_WAITING_BYTES else None

    def _size(self, request: web.Request) -> int:
        return self._config.max_send_msg_size if request.content_length is None else request.content_length

    async def _body(self, request: web.Request) -> bytes:
        size = self._size(request)
        self._waiting_bytes += size
        try:
            return await request.read()
        finally:
            self._waiting_bytes -= size

    async def _keep(self, entries: list[Entry], read_bytes: int) -> web.Response | None:
        size = sum(len(entry.line) for entry in entries) + 200 * len(entries)
        if self._waiting and self._waiting_bytes + size > MAX_WAITING_BYTES:
            return self._later()
        ours = object()
        self._waiting[ours] = asyncio.get_running_loop().time()
        self._waiting_bytes += size
        try:
            await self._feed.put(entries, read_bytes=read_bytes, durable=True)
        finally:
            self._waiting_bytes -= size
            del self._waiting[ours]
        return None

    def _entries(self, streams: list[Stream], wrong: list[str]) -> Iterator[Entry]:
        for stream in streams:
            try:
                found = dict(parse_labels(stream.labels))
            except MalformedError as error:
                wrong.append(str(error))
                self._tools.drop("unreadable_labels", len(stream.entries))
                continue
            labels = self._labels.of({**found, **self._config.labels})
            if labels is None:
                self._tools.drop(BY_RULES, len(stream.entries))
                continue
            for entry in stream.entries:
                time_ns = entry.time_ns if self._config.use_incoming_timestamp else self._ticks.next_ns()
                yield Entry(dict(labels), time_ns, entry.line.decode(errors="replace"), dict(entry.metadata))

    def _bad(self, status: int, reason: str) -> web.Response:
        self._tools.metrics.errors.labels(self._tools.job, "loki_push_api").inc()
        logger.warning("a push request is refused: %s", reason, extra={"job": self._tools.job, "status": status})
        return web.Response(status=status, text=f"{reason}\n")

    def _later(self) -> web.Response:
        headers = {"Retry-After": str(RETRY_AFTER_S)}
        return web.Response(status=503, text="the agent's buffer is full: try again\n", headers=headers)


def loki_push_input(config: LokiPushConfig, tools: InputTools) -> Input:
    """Return what takes push requests as the section says."""
    return LokiPush(config, tools)
