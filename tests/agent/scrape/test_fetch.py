import asyncio
import gzip
import json
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from agent.config.scrape import ScrapeConfig
from agent.scrape.body import Buffers
from agent.scrape.fetch import Answer, BodyLimitError, HttpFetch, new_session
from agent.scrape.labelling import ScrapeError
from pipeline.http_client import HttpAccess

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_get("/{path:.*}", handler)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/metrics"
    finally:
        await runner.cleanup()


async def fetch(handler: Handler, timeout_s: float = 10.0, path: str = "", **config: Any) -> Answer:
    async with serving(handler) as url, new_session("test/1") as session:
        job = ScrapeConfig.model_validate({"job_name": "j", "scrape_protocols": PROTOCOLS, **config})
        get = HttpFetch(session, HttpAccess(job, time.time), job, url + path, timeout_s, "test/1")
        return await get(Buffers())


PROTOCOLS = ["OpenMetricsText1.0.0", "OpenMetricsText0.0.1", "PrometheusText1.0.0", "PrometheusText0.0.4"]


def text(answer: Answer) -> bytes:
    return bytes(answer.body.buffer[: answer.body.size])


async def test_a_scrape_asks_for_what_prometheus_asks_for() -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.json_response(dict(request.headers))

    answer = await fetch(handler, timeout_s=2.5)
    headers = json.loads(text(answer))
    assert headers["Accept"] == (
        "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.7,"
        "application/openmetrics-text;version=0.0.1;q=0.6,"
        "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=0.0.4;q=0.4,*/*;q=0.3"
    )
    assert headers["Accept-Encoding"] == "gzip"
    assert headers["User-Agent"] == "test/1"
    assert headers["X-Prometheus-Scrape-Timeout-Seconds"] == "2.5"
    assert answer.content_type == "application/json; charset=utf-8"


async def test_credentials_and_parameters_travel_along(tmp_path: Path) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(text=f"{request.path_qs} {request.headers.get('Authorization')}")

    token = tmp_path / "token"
    token.write_text("secret\n")
    assert text(await fetch(handler, path="?a=%2Fx&a=y")) == b"/metrics?a=%2Fx&a=y None"
    answer = await fetch(handler, authorization={"credentials_file": token})
    assert text(answer) == b"/metrics Bearer secret"
    answer = await fetch(handler, basic_auth={"username": "u", "password": "p"})
    assert text(answer) == b"/metrics Basic dTpw"


@pytest.mark.parametrize("members", [1, 3])
async def test_a_compressed_page_is_inflated(members: int) -> None:
    page = b"".join(b"metric_%d 1\n" % n for n in range(300_000))
    size = len(page) // members + 1

    async def handler(request: web.Request) -> web.Response:
        body = b"".join(gzip.compress(page[at : at + size]) for at in range(0, len(page), size))
        return web.Response(body=body, headers={"Content-Encoding": "gzip"})

    assert text(await fetch(handler)) == page


@pytest.mark.parametrize("body", [b"no gzip at all", gzip.compress(b"a 1\n")[:-9], gzip.compress(b"a 1\n") + b"rest"])
async def test_a_broken_compressed_page_is_a_failed_scrape(body: bytes) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(body=body, headers={"Content-Encoding": "gzip"})

    with pytest.raises(ScrapeError, match="gzip"):
        await fetch(handler)


async def test_a_gzip_bomb_is_refused_while_it_is_inflated() -> None:
    packer = zlib.compressobj(9, wbits=31)
    zeros = bytes(1 << 20)
    bomb = b"".join([packer.compress(zeros) for _ in range(200)]) + packer.flush()

    async def handler(request: web.Request) -> web.Response:
        return web.Response(body=bomb, headers={"Content-Encoding": "gzip"})

    with pytest.raises(BodyLimitError, match="body size limit exceeded"):
        await fetch(handler, body_size_limit="2MB")


@pytest.mark.parametrize(("size", "fits"), [(1023, True), (1024, False), (5000, False)])
async def test_a_body_of_its_limit_is_too_large(size: int, fits: bool) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(body=b"x" * size)

    if fits:
        assert (await fetch(handler, body_size_limit="1KB")).body.size == size
    else:
        with pytest.raises(BodyLimitError):
            await fetch(handler, body_size_limit="1KB")


async def test_a_page_may_come_in_chunks_without_a_length() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for n in range(100):
            await response.write(b"metric_%d 1\n" % n * 1000)
        return response

    assert text(await fetch(handler)) == b"".join(b"metric_%d 1\n" % n * 1000 for n in range(100))


async def test_a_status_other_than_200_is_a_failed_scrape() -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(status=503)

    with pytest.raises(ScrapeError, match="server returned HTTP status 503 Service Unavailable"):
        await fetch(handler)


@pytest.mark.parametrize("follow", [True, False])
async def test_redirects_are_followed_where_the_job_says_so(follow: bool) -> None:
    async def handler(request: web.Request) -> web.Response:
        if request.path == "/metrics":
            raise web.HTTPFound("/elsewhere")
        return web.Response(text="a 1\n")

    if follow:
        assert text(await fetch(handler)) == b"a 1\n"
    else:
        with pytest.raises(ScrapeError, match="302"):
            await fetch(handler, follow_redirects=False)


async def test_a_target_that_hangs_fails_at_its_timeout() -> None:
    released = asyncio.Event()

    async def handler(request: web.Request) -> web.Response:
        await released.wait()
        return web.Response()

    async with serving(handler) as url, new_session("test/1") as session:
        job = ScrapeConfig.model_validate({"job_name": "j", "scrape_protocols": PROTOCOLS})
        get = HttpFetch(session, HttpAccess(job, time.time), job, url, 0.05, "test/1")
        with pytest.raises(ScrapeError, match=r"no complete answer within 0\.05 s"):
            await get(Buffers())
        released.set()


async def test_a_target_that_is_not_there_is_a_failed_scrape(tmp_path: Path) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response()

    async with serving(handler) as url:
        pass
    async with new_session("test/1") as session:
        job = ScrapeConfig.model_validate({"job_name": "j", "scrape_protocols": PROTOCOLS})
        with pytest.raises(ScrapeError, match=r"Connect"):
            await HttpFetch(session, HttpAccess(job, time.time), job, url, 1.0, "test/1")(Buffers())
        job = ScrapeConfig.model_validate(
            {"job_name": "j", "scrape_protocols": PROTOCOLS, "authorization": {"credentials_file": tmp_path / "none"}}
        )
        with pytest.raises(ScrapeError, match="cannot read"):
            await HttpFetch(session, HttpAccess(job, time.time), job, url, 1.0, "test/1")(Buffers())


async def test_memory_of_pages_is_used_again() -> None:
    buffers = Buffers(max_bytes=1 << 20)
    first = buffers.take(300_000)
    buffers.give(first)
    assert buffers.take(250_000) is first
    assert buffers.take(250_000) is not first
    buffers.give(first)
    assert buffers.take(1000) is not first, "a small page does not hold a large one's memory"
    for _ in range(10):
        buffers.give(bytearray(300_000))
    assert buffers.held_bytes <= 1 << 20
