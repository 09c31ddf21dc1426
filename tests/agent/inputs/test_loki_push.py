"""Push requests to the agent, in both encodings, and what becomes of them while the buffer is full."""

import asyncio
import gzip
import json
from typing import Any

import aiohttp

from agent.config.loki_push import LokiPushConfig
from agent.inputs.loki_push import STUCK_S, LokiPush
from pipeline.wire import snappy
from pipeline.wire.loki import encode_entry, encode_stream
from tests.agent.inputs.parts import Desk, Memory, running
from tests.e2e.processes import until

JSON = {"Content-Type": "application/json"}
PROTOBUF = {"Content-Type": "application/x-protobuf"}


def config(**more: Any) -> LokiPushConfig:
    server = {"http_listen_address": "127.0.0.1", "http_listen_port": 0}
    return LokiPushConfig.model_validate({"server": server, **more})


def request_of(*lines: str, labels: str = '{app="a"}') -> bytes:
    entries = b"".join(encode_entry(number + 1, line.encode(), [("k", "v")]) for number, line in enumerate(lines))
    return snappy.compress(encode_stream(labels.encode(), entries))


async def post(port: int, body: bytes, path: str = "/loki/api/v1/push", **headers: Any) -> tuple[int, str, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"http://127.0.0.1:{port}{path}", data=body, headers=headers["headers"]) as answer,
    ):
        return answer.status, await answer.text(), answer.headers.get("Retry-After", "")


async def test_protobuf_and_json_are_taken_with_metadata_and_labels() -> None:
    desk = Desk(Memory())
    source = LokiPush(config(use_incoming_timestamp=True, labels={"by": "push"}), desk.tools())
    values = {"streams": [{"stream": {"app": "b"}, "values": [["5", "three", {"m": "1"}], ["6", "four"]]}]}
    async with running(source):
        assert (await post(source.port, request_of("one", "two"), headers=PROTOBUF))[0] == 204
        packed = gzip.compress(json.dumps(values).encode())
        assert (await post(source.port, packed, headers={**JSON, "Content-Encoding": "gzip"}))[0] == 204
        assert (await post(source.port, b"five\r\n\nsix", "/promtail/api/v1/raw", headers={}))[0] == 204
    assert desk.memory.texts == ["one", "two", "three", "four", "five", "six"]
    first, third, fifth = desk.memory.lines[0], desk.memory.lines[2], desk.memory.lines[4]
    assert (first.labels, first.time_ns, first.metadata) == ({"app": "a", "by": "push"}, 1, {"k": "v"})
    assert (third.labels, third.time_ns, third.metadata) == ({"app": "b", "by": "push"}, 5, {"m": "1"})
    assert fifth.labels == {"by": "push"}


async def test_what_cannot_be_read_is_refused_alone() -> None:
    desk = Desk(Memory())
    desk.relabel = lambda found: None if found["app"] == "noise" else dict(found)
    source = LokiPush(config(max_send_msg_size="100KB"), desk.tools())
    both = snappy.decompress(request_of("lost", labels="no labels")) + snappy.decompress(request_of("kept"))
    noise = snappy.decompress(request_of("noise", labels='{app="noise"}'))
    async with running(source):
        status, text, _ = await post(source.port, snappy.compress(both + noise), headers=PROTOBUF)
        assert (status, "braces" in text) == (400, True)
        assert (await post(source.port, b"\xff\xff", headers=PROTOBUF))[0] == 400
        assert (await post(source.port, b"{", headers=JSON))[0] == 400
        assert (await post(source.port, b"x" * (1 << 20), headers=PROTOBUF))[0] == 413
        bomb = gzip.compress(b" " * (50 << 20))
        assert (await post(source.port, bomb, headers={**JSON, "Content-Encoding": "gzip"}))[0] == 413
    assert desk.memory.texts == ["kept"]
    assert desk.value("dropped_lines", reason="unreadable_labels") == 1
    assert desk.value("dropped_lines", reason="relabel_configs") == 1


async def test_nothing_is_acknowledged_and_nothing_more_taken_while_the_buffer_is_full() -> None:
    desk = Desk(Memory())
    source = LokiPush(config(), desk.tools())
    async with running(source):
        desk.memory.room.clear()
        first = asyncio.create_task(post(source.port, request_of("first"), headers=PROTOBUF))

        async def is_refused() -> bool:
            status, _, retry_after = await post(source.port, b"", headers=PROTOBUF)
            return status == 503 and retry_after != ""

        await until(is_refused, "requests are refused while one waits", 10 * STUCK_S)
        assert not first.done()
        assert (await post(source.port, request_of("second"), headers=PROTOBUF))[0] == 503
        desk.memory.room.set()
        assert (await first)[0] == 204
        assert (await post(source.port, request_of("second"), headers=PROTOBUF))[0] == 204
    assert desk.memory.texts == ["first", "second"]


async def test_requests_wait_for_the_disk_together() -> None:
    desk = Desk(Memory())
    source = LokiPush(config(), desk.tools())
    async with running(source):
        desk.memory.room.clear()
        requests = [
            asyncio.create_task(post(source.port, request_of(f"line {number}"), headers=PROTOBUF))
            for number in range(20)
        ]

        async def all_wait() -> bool:
            return desk.value("lines") == 20

        await until(all_wait, "no request waits for another's answer", STUCK_S)
        desk.memory.room.set()
        assert [(await request)[0] for request in requests] == [204] * 20
    assert sorted(desk.memory.texts) == sorted(f"line {number}" for number in range(20))
