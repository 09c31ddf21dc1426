import asyncio
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from pipeline.delivery import Delivered, Outcome, Rejected, Retry
from pipeline.send.config import RemoteWriteConfig
from pipeline.send.remote_write import RemoteWrite
from pipeline.send.request import Piece
from pipeline.wire import remote_write2, snappy
from pipeline.wire.remote_write import decode, encode_labels, encode_sample, encode_series
from tests.servers.processes import free_port
from tests.servers.prometheus import Prometheus

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def payload(*names: str, at_ms: int = 1_790_000_000_000) -> bytes:
    content = b"".join(
        encode_series(encode_labels((("__name__", name),)) + encode_sample(struct.pack("<d", 1.0), at_ms))
        for name in names
    )
    return snappy.compress(content)


@asynccontextmanager
async def server(handler: Handler, path: str = "/api/v1/write", method: str = "POST") -> AsyncIterator[str]:
    app = web.Application(client_max_size=1 << 30)
    app.router.add_route(method, path, handler)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def sender(url: str, **more: Any) -> AsyncIterator[RemoteWrite]:
    config = RemoteWriteConfig.model_validate({"url": url, **more})
    client = RemoteWrite(config)
    await client.start()
    try:
        yield client
    finally:
        await client.close()


class Seen:
    """Keeps every request, and answers 204."""

    def __init__(self) -> None:
        self.requests: list[tuple[Any, bytes]] = []

    async def take(self, request: web.Request) -> web.Response:
        self.requests.append((request.headers, await request.read()))
        return web.Response(status=204)


async def test_a_request_is_what_remote_write_1_0_asks_for() -> None:
    seen = Seen()
    async with server(seen.take) as url, sender(url + "/api/v1/write", headers={"X-Team": "a"}) as client:
        assert await client.send(payload("a", "b"), tenant="t1") == Delivered()
    [(headers, body)] = seen.requests
    assert body == payload("a", "b")
    assert headers["Content-Encoding"] == "snappy"
    assert headers["Content-Type"] == "application/x-protobuf"
    assert headers["X-Prometheus-Remote-Write-Version"] == "0.1.0"
    assert headers["User-Agent"]
    assert (headers["X-Scope-OrgID"], headers["X-Team"]) == ("t1", "a")


async def test_a_request_is_what_remote_write_2_0_asks_for() -> None:
    seen: list[tuple[Any, bytes]] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append((request.headers, await request.read()))
        return web.Response(status=204, headers={"X-Prometheus-Remote-Write-Samples-Written": "2"})

    message = "io.prometheus.write.v2.Request"
    async with server(handler) as url, sender(url + "/api/v1/write", protobuf_message=message) as client:
        assert await client.send(payload("a", "b")) == Delivered()
    [(headers, body)] = seen
    assert headers["Content-Type"] == f"application/x-protobuf;proto={message}"
    assert headers["X-Prometheus-Remote-Write-Version"] == "2.0.0"
    request = remote_write2.to_v1(snappy.decompress(body))
    assert [series.labels[0][1] for series in decode(request)] == ["a", "b"]


async def test_a_receiver_that_does_not_confirm_a_2_0_request_is_not_believed() -> None:
    message = "io.prometheus.write.v2.Request"
    async with server(Seen().take) as url, sender(url + "/api/v1/write", protobuf_message=message) as client:
        outcome = await client.send(payload("a", "b"))
    assert isinstance(outcome, Retry)
    assert outcome.alarm


async def test_credentials_are_sent(tmp_path: Path) -> None:
    seen = Seen()
    password = tmp_path / "password"
    password.write_text("secret\n")
    basic = {"username": "u", "password_file": str(password)}
    async with server(seen.take) as url, sender(url + "/api/v1/write", basic_auth=basic) as client:
        await client.send(payload("a"))
    assert seen.requests[0][0]["Authorization"] == "Basic dTpzZWNyZXQ="


async def test_a_file_that_cannot_be_read_is_tried_again_with_an_alarm(tmp_path: Path) -> None:
    authorization = {"credentials_file": str(tmp_path / "gone")}
    async with server(Seen().take) as url, sender(url + "/api/v1/write", authorization=authorization) as client:
        outcome = await client.send(payload("a"))
    assert isinstance(outcome, Retry)
    assert outcome.alarm


async def test_nobody_there_is_tried_again() -> None:
    async with sender(f"http://127.0.0.1:{free_port()}/api/v1/write") as client:
        outcome = await client.send(payload("a"))
    assert isinstance(outcome, Retry)
    assert not outcome.alarm


async def test_a_connection_that_breaks_is_tried_again() -> None:
    async def handler(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async with server(handler) as url, sender(url + "/api/v1/write") as client:
        assert isinstance(await client.send(payload("a")), Retry)


async def test_no_answer_in_time_is_tried_again() -> None:
    forever = asyncio.Event()

    async def handler(_: web.Request) -> web.Response:
        await forever.wait()
        return web.Response()

    async with server(handler) as url, sender(url + "/api/v1/write", remote_timeout="50ms") as client:
        outcome = await client.send(payload("a"))
        forever.set()
    assert outcome == Retry("no answer within 0.05 s", perhaps_taken=True)


async def test_a_body_of_many_megabytes_arrives_whole() -> None:
    seen = Seen()
    body = bytes(range(256)) * 20_000
    async with server(seen.take) as url, sender(url + "/api/v1/write") as client:
        assert await client.send(body) == Delivered()
    assert seen.requests[0][1] == body


async def test_the_stores_words_are_kept() -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(status=400, text="out of order sample\n")

    async with server(handler) as url, sender(url + "/api/v1/write") as client:
        assert await client.send(payload("a")) == Rejected("HTTP 400: out of order sample", 400, duplicate=True)


async def test_deliver_waits_out_a_store_in_trouble_and_hands_over_what_it_refuses() -> None:
    answers = [503, 204]
    refused: list[Piece] = []

    async def handler(request: web.Request) -> web.Response:
        names = [s.labels[0][1] for s in decode(snappy.decompress(await request.read()))]
        return web.Response(status=400 if "bad" in names else answers.pop(0) if answers else 204, text="no")

    async def refuse(piece: Piece, refusal: Rejected) -> None:
        refused.append(piece)

    queue = {"min_backoff": "1ms", "max_backoff": "1ms"}
    async with server(handler) as url, sender(url + "/api/v1/write", queue_config=queue) as client:
        tally = await client.deliver([Piece(payload("a", "b"), 2), Piece(payload("c", "bad", "d"), 3)], refuse)
    assert (tally.delivered, tally.refused) == (4, 1)
    assert [piece.payload for piece in refused] == [payload("bad")]


@pytest.mark.parametrize(
    ("config", "window_s"),
    [
        ("storage:\n  tsdb:\n    out_of_order_time_window: 30m\n", 1800.0),
        ("storage:\n  exemplars:\n    max_exemplars: 1\n", 0.0),
        ("global: {}\n", 0.0),
        ("- nonsense", None),
    ],
)
async def test_the_out_of_order_window_is_read_from_the_stores_configuration(
    config: str, window_s: float | None
) -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.json_response({"status": "success", "data": {"yaml": config}})

    async with server(handler, "/api/v1/status/config", "GET") as url, sender(url + "/api/v1/write") as client:
        assert await client.out_of_order_window_s() == window_s


async def test_a_store_that_does_not_tell_its_configuration_has_no_window_to_speak_of() -> None:
    async with server(Seen().take) as url, sender(url + "/api/v1/write") as client:
        assert await client.out_of_order_window_s() is None
    async with sender(f"http://127.0.0.1:{free_port()}/api/v1/write") as client:
        assert await client.out_of_order_window_s() is None


@pytest.mark.prometheus
@pytest.mark.parametrize("message", ["prometheus.WriteRequest", "io.prometheus.write.v2.Request"])
async def test_a_real_prometheus_stores_what_is_sent(prometheus: Prometheus, message: str) -> None:
    if message != "prometheus.WriteRequest" and not prometheus.takes_remote_write_2:
        pytest.skip("this Prometheus does not know remote write 2.0")
    now_ms = int(time.time()) * 1000
    async with sender(prometheus.write_url, protobuf_message=message) as client:
        outcome: Outcome = await client.send(payload("a", "b", at_ms=now_ms))
        assert await client.out_of_order_window_s() == 86_400.0
    assert outcome == Delivered()
    assert set(await prometheus.query('{__name__=~"a|b"}')) == {(("__name__", "a"),), (("__name__", "b"),)}


@pytest.mark.prometheus
async def test_a_real_prometheus_confirms_less_than_it_was_sent_and_the_rest_is_found(prometheus: Prometheus) -> None:
    if not prometheus.takes_remote_write_2:
        pytest.skip("this Prometheus does not know remote write 2.0")
    now_ms = int(time.time()) * 1000
    future = payload("future", at_ms=now_ms + 3_600_000)
    mixed = snappy.join([payload("a", "b", at_ms=now_ms), future])
    refused: list[tuple[bytes, str]] = []

    async def refuse(piece: Piece, refusal: Rejected) -> None:
        refused.append((piece.payload, refusal.reason))

    async with sender(prometheus.write_url, protobuf_message="io.prometheus.write.v2.Request") as client:
        tally = await client.deliver([Piece(mixed, 3)], refuse)
    assert (tally.delivered, tally.refused) == (2, 1)
    [(body, reason)] = refused
    assert body == future
    assert "too far in the future" in reason
