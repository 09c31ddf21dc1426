import asyncio
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from pipeline.errors import TransientError
from pipeline.log.interface import LogFullError
from pipeline.wire import snappy
from pipeline.wire.envelope import Envelope, Origin, Signal, from_headers, partition_of
from pipeline.wire.push_pb2 import Ack, Batch, PushRequest, PushResponse
from pipeline.wire.remote_write import decode
from tests.gateway.running import Running, batch, own, running, series, stream, to_batch, until


async def push(run: Running, *batches: Batch) -> list[Ack]:
    """Send batches on one stream, and return all that comes back."""
    async with stream(run.gateway.grpc_port) as call:
        for one in batches:
            await call.write(one)
        await call.done_writing()
        return [ack async for ack in call]


async def post(run: Running, *batches: Batch) -> list[Ack]:
    """Send batches over HTTP."""
    body = PushRequest(batches=batches).SerializeToString()
    async with run.session.post(run.url("/api/v1/push"), data=body, headers=run.headers) as answer:
        assert answer.status == 200
        return list(PushResponse.FromString(await answer.read()).acks)


TRANSPORTS = pytest.mark.parametrize("send", [push, post], ids=["grpc", "http"])


@TRANSPORTS
async def test_a_batch_is_in_the_log_as_the_agent_made_it_before_it_is_acknowledged(tmp_path: Path, send: Any) -> None:
    one = batch(own(1), 5, traceparent="00-1-2-01", tenant="t")
    async with running(tmp_path) as run:
        (ack,) = await send(run, one)
        assert (ack.signal, ack.lane, ack.sequence, ack.status) == ("metrics", 3, 5, Ack.ACCEPTED)
        (record,) = await run.records()
        assert record.payload == one.payload
        envelope = from_headers(record.headers)
        assert (envelope.agent, envelope.epoch, envelope.lane_items, envelope.tenant) == ("node-1", 7, 5, "t")
        assert (envelope.traceparent, envelope.origin) == ("00-1-2-01", Origin.AGENT)
        assert record.at.number == partition_of("c1", 3, 4)
        assert run.metric("pronoia_gateway_in_flight_bytes") == 0


async def test_over_http_every_batch_gets_its_own_answer(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        acks = await post(run, batch(own(1), 0), batch(own(2), 0, lane=4), batch(own(3), 1))
        assert [(ack.lane, ack.sequence) for ack in acks] == [(3, 0), (3, 1), (4, 0)]


async def test_over_grpc_the_last_answer_of_a_lane_speaks_for_those_before_it(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        acks = await push(run, *(batch(own(n), n) for n in range(30)))
        assert [ack.sequence for ack in acks] == sorted({ack.sequence for ack in acks})
        assert acks[-1].sequence == 29
        assert {ack.status for ack in acks} == {Ack.ACCEPTED}
        assert [envelope.sequence for envelope in await run.envelopes()] == list(range(30))


async def test_nothing_is_acknowledged_before_the_log_has_it(tmp_path: Path) -> None:
    async with running(tmp_path) as run, stream(run.gateway.grpc_port) as call:
        run.log.open.clear()
        await call.write(batch(own(1), 0))
        await until(lambda: _reserved(run), "the batch is taken")
        answer = asyncio.ensure_future(call.read())
        await asyncio.wait([answer], timeout=0.2)
        assert not answer.done()
        run.log.open.set()
        assert (await answer).sequence == 0


async def _reserved(run: Running) -> bool:
    return run.metric("pronoia_gateway_in_flight_bytes") > 0


async def test_after_a_failed_append_nothing_above_it_is_appended_until_it_comes_again(tmp_path: Path) -> None:
    async with running(tmp_path) as run, stream(run.gateway.grpc_port) as call:
        await call.write(batch(own(0), 0))
        assert (await call.read()).sequence == 0
        run.log.refusals.append(LogFullError("no room", 0.25))
        for sequence in (1, 2, 3):
            await call.write(batch(own(sequence), sequence))
        await call.write(batch(own(9), 0, lane=4))
        acks = [await call.read(), await call.read()]
        acks.sort(key=lambda ack: int(ack.lane))
        assert [(ack.lane, ack.sequence, ack.status, ack.retry_after_ms) for ack in acks] == [
            (3, 1, Ack.RETRY, 250),
            (4, 0, Ack.ACCEPTED, 0),
        ]
        assert "no room" in acks[0].reason
        for sequence in (1, 2):
            await call.write(batch(own(sequence), sequence))
        await call.done_writing()
        rest: list[Ack] = []
        while isinstance(ack := await call.read(), Ack):
            rest.append(ack)
        assert (rest[-1].sequence, {ack.status for ack in rest}) == (2, {Ack.ACCEPTED})
        found = [(envelope.lane, envelope.sequence) for envelope in await run.envelopes()]
        assert sorted(found) == [(3, 0), (3, 1), (3, 2), (4, 0)]


async def test_what_was_placed_behind_a_failed_append_is_not_acknowledged(tmp_path: Path) -> None:
    async with running(tmp_path) as run, stream(run.gateway.grpc_port) as call:
        run.log.open.clear()
        run.log.failures += [TransientError("gone"), TransientError("gone with it")]
        await call.write(batch(own(0), 0))
        await call.write(batch(own(1), 1))
        await until(lambda: _failing(run), "both are placed")
        run.log.open.set()
        first = await call.read()
        assert (first.sequence, first.status) == (0, Ack.RETRY)
        await call.write(batch(own(0), 0))
        second = await call.read()
        assert (second.sequence, second.status) == (0, Ack.ACCEPTED)
        assert [envelope.sequence for envelope in await run.envelopes()] == [0]
        assert run.metric("pronoia_gateway_in_flight_bytes") == 0


async def _failing(run: Running) -> bool:
    return not run.log.failures


async def test_over_http_what_follows_a_failed_batch_is_told_to_come_again(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        run.log.refusals.append(LogFullError("no room", 0.25))
        acks = await post(run, batch(own(0), 0), batch(own(1), 1), batch(own(2), 0, lane=4))
        statuses = [(ack.lane, ack.sequence, ack.status) for ack in acks]
        assert statuses == [(3, 0, Ack.RETRY), (3, 1, Ack.RETRY), (4, 0, Ack.ACCEPTED)]
        assert [(envelope.lane, envelope.sequence) for envelope in await run.envelopes()] == [(4, 0)]


@TRANSPORTS
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"crc32c": 1}, "CRC32C"),
        ({"items": 2}, "the envelope says 2 items, the payload has 1"),
        ({"encoding": "zstd"}, "encoding 'zstd' is not supported"),
        ({"part": 2, "parts": 2}, "part 2 of 2"),
        ({"items": -1}, "cannot be"),
        ({"gap_to": 9}, "gap record with a payload"),
    ],
)
async def test_a_batch_that_can_never_be_taken_is_refused_and_the_lane_goes_on(
    tmp_path: Path, send: Any, changes: dict[str, Any], reason: str
) -> None:
    async with running(tmp_path) as run:
        acks = await send(run, batch(own(0), 0), batch(own(1), 1, **changes), batch(own(2), 2))
        assert [(ack.sequence, ack.status) for ack in acks] == [(0, Ack.ACCEPTED), (1, Ack.REFUSED), (2, Ack.ACCEPTED)]
        assert reason in acks[1].reason
        assert [envelope.sequence for envelope in await run.envelopes()] == [0, 2]


@TRANSPORTS
async def test_a_malformed_payload_is_refused_with_its_position(tmp_path: Path, send: Any) -> None:
    async with running(tmp_path) as run:
        (ack,) = await send(run, batch(own(0) + b"\x0a\x7f", 0))
        assert ack.status == Ack.REFUSED
        assert f"at byte {len(own(0))}" in ack.reason


@TRANSPORTS
async def test_an_envelope_of_a_newer_pronoia_waits_for_an_upgrade(tmp_path: Path, send: Any) -> None:
    newer = batch(own(0), 0)
    newer.headers[0].value = b"2"
    async with running(tmp_path) as run:
        (ack,) = await send(run, newer)
        assert (ack.status, ack.retry_after_ms) == (Ack.RETRY, 60_000)
        assert "upgrade this gateway" in ack.reason


@TRANSPORTS
async def test_another_clusters_series_in_a_batch_are_left_out_and_counted(tmp_path: Path, send: Any) -> None:
    async with running(tmp_path) as run:
        acks = await send(
            run,
            batch(own(0) + own(1, "c2") + series(("n", "2")), 0, items=3),
            batch(own(3, "c2"), 1, lane_items=3),
            batch(own(4), 2, lane_items=4),
        )
        assert [(ack.sequence, ack.status, ack.refused_items) for ack in acks] == [
            (0, Ack.ACCEPTED, 1),
            (1, Ack.ACCEPTED, 1),
            (2, Ack.ACCEPTED, 0),
        ]
        assert "another cluster" in acks[0].reason
        records = await run.records()
        found = [sorted(dict(one.labels)["n"] for one in decode(snappy.decompress(r.payload))) for r in records]
        # The batch of which nothing is left still has its place: its sequence is not missing.
        assert found == [["0", "2"], [], ["4"]]
        assert [from_headers(record.headers).items for record in records] == [2, 0, 1]
        assert run.metric("pronoia_gateway_refused_items_total", cluster="c1", signal="metrics", reason="foreign") == 2


@TRANSPORTS
async def test_a_gap_record_travels_through(tmp_path: Path, send: Any) -> None:
    values: dict[str, Any] = {"signal": Signal.METRICS, "encoding": "", "cluster": "c1", "agent": "node-1", "epoch": 7}
    values |= {"lane": 3, "sequence": 4, "gap_to": 9, "items": 600, "lane_items": 40, "crc32c": 0}
    gap = Envelope(**values, raw_bytes=0, created_ms=1)
    async with running(tmp_path) as run:
        (ack,) = await send(run, to_batch(gap, b""))
        assert (ack.sequence, ack.status) == (4, Ack.ACCEPTED)
        (record,) = await run.records()
        assert (record.payload, from_headers(record.headers)) == (b"", gap)


async def test_a_batch_larger_than_a_record_becomes_parts_of_its_sequence(tmp_path: Path) -> None:
    raw = b"".join(series(("cluster", "c1"), ("n", f"{n:x}-{n * 7919:x}-{n * 104729:x}")) for n in range(2000))
    async with running(tmp_path, log_options={"max_record_bytes": 10_000}) as run:
        acks = await push(run, batch(raw, 0, items=2000), batch(own(1), 1, lane_items=2000))
        assert acks[-1].sequence == 1
        *parts, last = await run.records()
        envelopes = [from_headers(record.headers) for record in parts]
        assert [(envelope.sequence, envelope.part) for envelope in envelopes] == [(0, n) for n in range(len(parts))]
        assert {envelope.parts for envelope in envelopes} == {len(parts)}
        assert b"".join(snappy.decompress(record.payload) for record in parts) == raw
        assert from_headers(last.headers).sequence == 1


async def _status(run: Running, *batches: Batch, token: str | None = "secret-1") -> tuple[grpc.StatusCode, str]:
    async with stream(run.gateway.grpc_port, token) as call:
        try:
            for one in batches:
                await call.write(one)
            await call.done_writing()
            async for _ in call:
                pass
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            pass
        return await call.code(), await call.details()


async def test_a_stream_without_a_valid_token_is_unauthenticated(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        for token in ("no", None):
            # Without a batch on its way, whose stream being reset could come before why.
            assert (await _status(run, token=token))[0] is grpc.StatusCode.UNAUTHENTICATED


async def test_a_batch_of_another_cluster_ends_the_stream_and_is_not_lost_as_refused(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        code, details = await _status(run, batch(own(0, "c2"), 0, cluster="c2"))
        assert code is grpc.StatusCode.PERMISSION_DENIED
        assert "the batch is of cluster c2, the sender is c1" in details
        body = PushRequest(batches=[batch(own(0, "c2"), 0, cluster="c2")]).SerializeToString()
        assert (await run.post("/api/v1/push", body))[0] == 403
        assert await run.records() == []


async def test_what_is_no_batch_ends_the_stream(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        assert (await _status(run, Batch(payload=b"x")))[0] is grpc.StatusCode.INVALID_ARGUMENT
        other = batch(own(0), 0, agent="node-2")
        code, details = await _status(run, batch(own(0), 0), other)
        assert (code, "two agents" in details) == (grpc.StatusCode.INVALID_ARGUMENT, True)
        assert (await run.post("/api/v1/push", b"\xff\xff"))[0] == 400


async def test_a_stream_ends_at_its_age_with_everything_answered(tmp_path: Path) -> None:
    async with (
        running(tmp_path, limits={"stream_age": "100ms"}) as run,
        stream(run.gateway.grpc_port) as call,
    ):
        await call.write(batch(own(0), 0))
        assert [ack.sequence async for ack in call] == [0]
        assert await call.code() is grpc.StatusCode.OK


async def test_draining_answers_what_was_taken_and_ends_streams(tmp_path: Path) -> None:
    async with running(tmp_path) as run, stream(run.gateway.grpc_port) as call:
        run.log.open.clear()
        await call.write(batch(own(0), 0))
        await until(lambda: _reserved(run), "the batch is taken")
        draining = asyncio.create_task(run.gateway.drain())
        run.log.open.set()
        assert [ack.sequence async for ack in call] == [0]
        await draining
        assert run.gateway.ready() == "draining"


async def test_a_throttled_cluster_is_told_when_to_come_again(tmp_path: Path) -> None:
    limits = {"bytes_per_second": "100", "burst": "1s"}
    async with running(tmp_path, clusters=[{"name": "c1", "tokens": ["secret-1"], "limits": limits}]) as run:
        acks = await post(run, *(batch(own(n), n) for n in range(9)))
        assert [ack.status for ack in acks] == sorted(ack.status for ack in acks)
        late = next(ack for ack in acks if ack.status == Ack.RETRY)
        assert late.retry_after_ms > 0
        assert "bytes a second" in late.reason
        assert [envelope.sequence for envelope in await run.envelopes()] == list(range(late.sequence))


async def test_clymenes_grpc_call_takes_a_write_request(tmp_path: Path) -> None:
    async with (
        running(tmp_path, clusters=None) as run,
        grpc.aio.insecure_channel(f"127.0.0.1:{run.gateway.grpc_port}") as channel,
    ):
        method: Any = channel.unary_unary
        call = method("/prometheus.ClymeneService/RequestMetrics")
        assert await call(own(1) + own(2)) == b""
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await call(b"\x08\x01")
        assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        run.log.failures.append(TransientError("gone", 3.0))
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await call(own(1))
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
        trailers: Any = raised.value.trailing_metadata()
        assert dict(trailers)["retry-after-ms"] == "3000"
        (record,) = await run.records()
        assert snappy.decompress(record.payload) == own(1) + own(2)
        assert from_headers(record.headers).origin is Origin.FOREIGN
