import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from agent.config import HttpSdConfig
from agent.discovery import Place
from agent.discovery.http import fetch_groups, http_groups
from pipeline.errors import PipelineError
from pipeline.http_client import HttpAccess
from pipeline.http_config import BasicAuth
from tests.agent.discovery.tools import addresses, bench

AT = Place("job", "http_sd_configs", 0)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_get("/targets", handler)
    async with TestServer(app, host="127.0.0.1") as server:
        yield str(server.make_url("/targets"))


async def test_answers_are_asked_for_again_and_failures_keep_the_last_good_one() -> None:
    answers = iter(
        [
            web.json_response([{"targets": ["a:1"], "labels": {"x": "1"}}]),
            web.Response(status=503),
            web.Response(text="[]", content_type="text/html"),
            web.json_response([{"targets": ["a:1", "b:1"]}]),
        ]
    )
    requests: list[web.Request] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        requests.append(request)
        return next(answers)

    async with serving(handler) as url, bench() as made:
        stream = http_groups(HttpSdConfig(url=url, refresh_interval=30.0), AT, made.tools)
        (group,) = await anext(stream)
        assert addresses([group]) == ["a:1"]
        assert dict(group.labels) == {"x": "1", "__meta_url": url}
        headers = requests[0].headers
        assert headers["Accept"] == "application/json"
        assert headers["X-Prometheus-Refresh-Interval-Seconds"] == "30"

        following = asyncio.ensure_future(anext(stream))
        for _ in range(3):
            await made.time.sleeping()
            made.time.move(30.0)
        async with asyncio.timeout(10):
            assert addresses(await following) == ["a:1", "b:1"]
        assert len(requests) == 4
        assert made.failures("job", "http_sd_configs") == 2
        assert not made.tools.failures


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"status": 404}, "answered 404 Not Found"),
        ({"text": "[]", "content_type": "text/plain"}, 'unsupported content type "text/plain; charset=utf-8"'),
        ({"text": "[null]", "content_type": "application/json"}, "nil target group item found"),
        ({"text": "no", "content_type": "application/json"}, "not JSON"),
    ],
)
async def test_what_is_wrong_with_an_answer_is_said(answer: dict[str, str], reason: str) -> None:
    async def handler(_: web.Request) -> web.StreamResponse:
        return web.Response(**answer)  # type: ignore[arg-type] # a status is a number

    async with serving(handler) as url, bench() as made:
        config = HttpSdConfig(url=url)
        with pytest.raises(PipelineError, match=reason):
            await fetch_groups(config, HttpAccess(config, made.time.clock), made.tools.session)


async def test_a_server_that_does_not_answer_in_time_is_a_failure() -> None:
    forever = asyncio.Event()

    async def handler(_: web.Request) -> web.StreamResponse:
        await forever.wait()
        return web.Response()

    async with serving(handler) as url, bench() as made:
        config = HttpSdConfig(url=url, refresh_interval=0.05)
        with pytest.raises(PipelineError, match=r"no answer within 0\.05 s"):
            await fetch_groups(config, HttpAccess(config, made.time.clock), made.tools.session)
        forever.set()


async def test_nobody_listening_is_a_failure() -> None:
    async with bench() as made:
        config = HttpSdConfig(url="http://127.0.0.1:1/targets")
        with pytest.raises(PipelineError, match="Cannot connect"):
            await fetch_groups(config, HttpAccess(config, made.time.clock), made.tools.session)


async def test_requests_carry_the_configured_identity() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        return web.json_response([{"targets": [request.headers["Authorization"]]}])

    async with serving(handler) as url, bench() as made:
        config = HttpSdConfig(url=url, basic_auth=BasicAuth.model_validate({"username": "u", "password": "p"}))
        groups = await fetch_groups(config, HttpAccess(config, made.time.clock), made.tools.session)
        assert addresses(groups) == ["Basic dTpw"]
