import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from pipeline.errors import TransientError
from pipeline.wire import snappy
from pipeline.wire.envelope import Origin, Signal, from_headers
from pipeline.wire.loki import decode
from pipeline.wire.protobuf import encode_bytes
from tests.gateway.logs import kept_lines
from tests.gateway.running import Running, running

LABELS = '{cluster="c1", job="varlogs"}'


def clymene(*lines: str, labels: str = LABELS, tenant: str = "") -> bytes:
    """Write a batch as Go's encoder writes Clymene's ProducerBatch."""
    entries = [{"ts": f"2026-09-21T14:13:20.{n:09}+02:00", "line": line} for n, line in enumerate(lines, 1)]
    stream = {"labels": labels, "entries": entries}
    batch = {"streams": {labels: stream}, "bytes": 1, "createdAt": "2026-09-21T14:13:20.123456789+02:00"}
    return json.dumps({"batch": batch, "tenantID": tenant}).encode()


@asynccontextmanager
async def calling(run: Running) -> AsyncIterator[Any]:
    """Call `TransferBatch` as Clymene's promtail does, but for the token that it has not."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{run.gateway.grpc_port}") as channel:
        method: Any = channel.unary_unary

        async def call(batch: bytes) -> bytes:
            sent = method("/logproto.Gateway/TransferBatch")
            return bytes(await sent(encode_bytes(0x0A, batch), metadata=(("authorization", "Bearer secret-1"),)))

        yield call


async def test_the_http_call_needs_no_headers_and_gets_204(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        assert (await run.post("/api/logs", clymene("a", "b", tenant="t")))[:2] == (204, "")
        (record,) = await run.records(Signal.LOGS)
        (stream,) = decode(snappy.decompress(record.payload))
        assert stream.labels == LABELS
        first_ns = 1_790_000_000_000_000_001 - 7_200_000_000_000
        assert [(one.time_ns, one.line) for one in stream.entries] == [(first_ns, b"a"), (first_ns + 1, b"b")]
        envelope = from_headers(record.headers)
        assert (envelope.tenant, envelope.items, envelope.origin) == ("t", 2, Origin.FOREIGN)
        assert run.metric("pronoia_gateway_requests_total", protocol="clymene_http", outcome="204") == 1


async def test_the_grpc_call_is_answered_with_an_empty_message(tmp_path: Path) -> None:
    async with running(tmp_path) as run, calling(run) as call:
        assert await call(clymene("a", labels='{job="x"}')) == b""
        assert await kept_lines(run) == [('{cluster="c1", job="x"}', "a")]
        assert run.metric("pronoia_gateway_requests_total", protocol="clymene_grpc", outcome="ok") == 1


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not JSON"),
        (b"{}", "missing required field `batch`"),
        (clymene("a").replace(b"2026-09-21", b"2026-02-31"), "not a time of RFC 3339"),
        (clymene("a", tenant="a|b"), "is no tenant"),
        (clymene("a", labels='{cluster="c2"}'), "carry another cluster's label"),
        (clymene("a", labels="{"), "labels that cannot be read"),
    ],
)
async def test_what_cannot_be_taken_is_said_over_both(tmp_path: Path, body: bytes, reason: str) -> None:
    async with running(tmp_path) as run, calling(run) as call:
        status, text, _ = await run.post("/api/logs", body)
        assert (status, reason in text) == (400, True), text
        with pytest.raises(grpc.aio.AioRpcError, match=reason) as raised:
            await call(body)
        assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert await run.records(Signal.LOGS) == []
        assert run.metric("pronoia_gateway_in_flight_bytes") == 0


async def test_empty_batches_are_accepted_and_leave_nothing(tmp_path: Path) -> None:
    async with running(tmp_path) as run, calling(run) as call:
        for body in (b'{"batch": {"streams": null}}', b'{"batch": {"streams": {"{}": null}}}', clymene()):
            assert await call(body) == b""
        assert await run.records(Signal.LOGS) == []


async def test_a_log_that_fails_is_told_to_come_again(tmp_path: Path) -> None:
    async with running(tmp_path) as run, calling(run) as call:
        run.log.failures.append(TransientError("gone", 3.0))
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await call(clymene("a"))
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
        assert await call(clymene("a")) == b""
        assert len(await kept_lines(run)) == 1


async def test_a_gateway_without_logs_has_no_such_call(tmp_path: Path) -> None:
    async with running(tmp_path, signals=["metrics"]) as run, calling(run) as call:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await call(clymene("a"))
        assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED
        assert (await run.post("/api/logs", clymene("a")))[0] == 404
