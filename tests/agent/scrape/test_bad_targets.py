"""Targets that misbehave, on real sockets: each is one failed scrape with a reason, within its time and memory."""

import asyncio
import gzip
import time
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from agent.config.scrape import ScrapeConfig
from agent.scrape.body import Buffers
from agent.scrape.fetch import Answer, BodyLimitError, HttpFetch, new_session
from agent.scrape.labelling import ScrapeError
from pipeline.http_client import HttpAccess
from tests.agent.scrape.test_fetch import fetch

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"


@asynccontextmanager
async def raw(serve: Serve) -> AsyncIterator[str]:
    """Serve bytes as they are: no server library would send what these tests need."""
    tasks: set[asyncio.Task[None]] = set()

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            await serve(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(one(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/metrics"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def fetch_raw(serve: Serve, timeout_s: float = 10.0, **config: Any) -> Answer:
    async with raw(serve) as url, new_session("test/1") as session:
        job = ScrapeConfig.model_validate({"job_name": "j", **config})
        return await HttpFetch(session, HttpAccess(job, time.time), job, url, timeout_s, "test/1")(Buffers())


def saying(*pieces: bytes) -> Serve:
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()

    return serve


async def test_a_target_that_trickles_is_cut_off_at_its_timeout() -> None:
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK + b"\r\n")
        while True:
            writer.write(b"a")
            await writer.drain()
            await asyncio.sleep(0.01)

    with pytest.raises(ScrapeError, match=r"no complete answer within 0\.2 s"):
        await fetch_raw(serve, timeout_s=0.2)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (OK + b"Content-Length: 100\r\n\r\na 1\n", "not enough data|not completed"),
        (OK + b"Content-Length: 4\r\n\r\na 1\nb 2\n", "Bad status line"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\na 1\n", "not completed|TransferEncoding"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\nnonsense\r\n", "400|chunk"),
        (OK + b"Content-Length: many\r\n\r\na 1\n", "Content-Length"),
        (OK + b"Content-Length: -5\r\n\r\na 1\n", "Content-Length"),
        (OK + b"X: " + b"y" * 100_000 + b"\r\n\r\n", "too (large|long)|Got more than"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "400|Bad|HTTP|protocol"),
        (b"", "disconnected"),
    ],
    ids=["short", "long", "chunk cut", "no chunk", "no number", "negative", "long header", "no HTTP", "nothing"],
)
async def test_an_answer_that_breaks_its_own_rules_is_a_failed_scrape(answer: bytes, reason: str) -> None:
    with pytest.raises(ScrapeError, match=reason):
        await fetch_raw(saying(answer))


async def test_a_page_beyond_its_limit_is_not_read_to_its_end() -> None:
    line = b"metric 1\n" * 10_000
    sent = 0

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(OK + b"\r\n")
        for _unused in range(100 * 2**20 // len(line)):
            writer.write(line)
            await writer.drain()
            sent += len(line)

    with pytest.raises(BodyLimitError):
        await fetch_raw(serve, body_size_limit="2MB")
    assert sent < 20 * 2**20


async def test_a_length_that_is_told_takes_no_memory_before_the_page_is_there() -> None:
    def body(size: int) -> Serve:
        return saying(OK + b"Content-Length: 1000000000000\r\n\r\n", b"a 1\n" * (size // 4))

    tracemalloc.start()
    try:
        with pytest.raises(ScrapeError, match=r"not completed|not enough"):
            await fetch_raw(body(1000))
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()
    with pytest.raises(BodyLimitError):
        await fetch_raw(body(3 << 20), body_size_limit="2MB")


async def test_a_loop_of_redirects_ends() -> None:
    asked = 0

    async def handler(request: web.Request) -> web.StreamResponse:
        nonlocal asked
        asked += 1
        raise web.HTTPFound(request.path + "x")

    with pytest.raises(ScrapeError, match="stopped after 10 redirects"):
        await fetch(handler)
    assert asked == 10


async def test_a_redirect_to_what_is_no_http_is_a_failed_scrape() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        raise web.HTTPFound("file:///etc/passwd")

    with pytest.raises(ScrapeError, match="file:///etc/passwd"):
        await fetch(handler)


async def test_gzip_that_nobody_asked_for_is_inflated_within_the_limit() -> None:
    body = gzip.compress(b"a 1\n" * 2_000_000)

    async def handler(request: web.Request) -> web.StreamResponse:
        return web.Response(body=body, headers={"Content-Encoding": "gzip"})

    with pytest.raises(BodyLimitError):
        await fetch(handler, body_size_limit="1MB", enable_compression=False)
