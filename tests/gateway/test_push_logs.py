import random
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import TransientError
from pipeline.log.interface import LogFullError
from pipeline.wire import snappy
from pipeline.wire.envelope import LOGS_ENCODING, Envelope, Origin, Signal, from_headers, partition_of
from pipeline.wire.loki import MAX_TIME_NS, encode_entry, encode_stream
from pipeline.wire.push_pb2 import Ack
from tests.gateway.logs import kept_lines, lines, lines_of, logs_batch, own_line
from tests.gateway.running import TIME_MS, Running, batch, own, running, stream, to_batch, until
from tests.gateway.test_push import TRANSPORTS, push


@TRANSPORTS
async def test_a_batch_of_logs_is_in_its_topic_as_the_agent_made_it(tmp_path: Path, send: Any) -> None:
    one = logs_batch(lines("a", "b", cluster="c1"), 5, items=2, tenant="t", latest_ms=TIME_MS)
    async with running(tmp_path) as run:
        (ack,) = await send(run, one)
        assert (ack.signal, ack.lane, ack.sequence, ack.status) == ("logs", 3, 5, Ack.ACCEPTED)
        assert await run.records() == []
        (record,) = await run.records(Signal.LOGS)
        assert record.payload == one.payload
        envelope = from_headers(record.headers)
        assert (envelope.signal, envelope.encoding) == (Signal.LOGS, LOGS_ENCODING)
        assert (envelope.agent, envelope.items, envelope.tenant, envelope.origin) == ("node-1", 2, "t", Origin.AGENT)
        assert (envelope.earliest_ms, envelope.latest_ms) == (TIME_MS, TIME_MS)
        assert record.at.number == partition_of("c1", 3, 4)
        assert run.metric("pronoia_gateway_received_items_total", cluster="c1", signal="logs") == 2
        assert run.metric("pronoia_gateway_received_bytes_total", cluster="c1", signal="logs") == len(one.payload)
        assert run.metric("pronoia_gateway_in_flight_bytes") == 0


@TRANSPORTS
async def test_one_stream_carries_both_signals_and_their_lanes_are_apart(tmp_path: Path, send: Any) -> None:
    mixed = [one for n in range(20) for one in (batch(own(n), n), logs_batch(own_line(n), n))]
    async with running(tmp_path) as run:
        acks = await send(run, *mixed)
        last = {ack.signal: ack.sequence for ack in acks}
        assert last == {"metrics": 19, "logs": 19}
        assert {ack.status for ack in acks} == {Ack.ACCEPTED}
        for signal in (Signal.METRICS, Signal.LOGS):
            envelopes = await run.envelopes(signal)
            assert [(one.signal, one.sequence) for one in envelopes] == [(signal, n) for n in range(20)]


async def test_a_failed_append_of_one_signal_holds_up_its_own_lane_only(tmp_path: Path) -> None:
    async with running(tmp_path) as run, stream(run.gateway.grpc_port) as call:
        await call.write(logs_batch(own_line(0), 0))
        assert (await call.read()).signal == "logs"
        run.log.refusals.append(LogFullError("no room", 0.25))
        await call.write(logs_batch(own_line(1), 1))
        await call.write(logs_batch(own_line(2), 2))
        await call.write(batch(own(0), 0))
        acks = sorted([await call.read(), await call.read()], key=lambda ack: str(ack.signal))
        assert [(ack.signal, ack.sequence, ack.status) for ack in acks] == [
            ("logs", 1, Ack.RETRY),
            ("metrics", 0, Ack.ACCEPTED),
        ]
        for number in (1, 2):
            await call.write(logs_batch(own_line(number), number))
        await call.done_writing()
        rest: list[Ack] = []
        while isinstance(ack := await call.read(), Ack):
            rest.append(ack)
        assert (rest[-1].sequence, {ack.status for ack in rest}) == (2, {Ack.ACCEPTED})
        assert [line for _, line in await kept_lines(run)] == ["line 0", "line 1", "line 2"]


async def test_what_was_placed_behind_a_failed_append_is_not_acknowledged(tmp_path: Path) -> None:
    async with running(tmp_path) as run, stream(run.gateway.grpc_port) as call:
        run.log.open.clear()
        run.log.failures += [TransientError("gone"), TransientError("gone with it")]
        await call.write(logs_batch(own_line(0), 0))
        await call.write(logs_batch(own_line(1), 1))

        async def placed() -> bool:
            return not run.log.failures

        await until(placed, "both are placed")
        run.log.open.set()
        first = await call.read()
        assert (first.signal, first.sequence, first.status) == ("logs", 0, Ack.RETRY)
        await call.write(logs_batch(own_line(0), 0))
        assert (await call.read()).status == Ack.ACCEPTED
        assert [envelope.sequence for envelope in await run.envelopes(Signal.LOGS)] == [0]


@TRANSPORTS
@pytest.mark.parametrize(
    ("raw", "changes", "reason"),
    [
        (own_line(1), {"crc32c": 1}, "CRC32C"),
        (own_line(1), {"items": 2}, "the envelope says 2 items, the payload has 1"),
        (own_line(1), {"encoding": "json"}, "encoding 'json' is not supported: snappy(logproto.PushRequest) is"),
        (own(1), {}, "a stream with two label sets at byte"),
        (own_line(1)[:-1], {}, "beyond the end of its message at byte 0"),
    ],
)
async def test_a_batch_that_can_never_be_taken_is_refused_and_the_lane_goes_on(
    tmp_path: Path, send: Any, raw: bytes, changes: dict[str, Any], reason: str
) -> None:
    async with running(tmp_path) as run:
        acks = await send(run, logs_batch(own_line(0), 0), logs_batch(raw, 1, **changes), logs_batch(own_line(2), 2))
        assert [(ack.sequence, ack.status) for ack in acks] == [(0, Ack.ACCEPTED), (1, Ack.REFUSED), (2, Ack.ACCEPTED)]
        assert reason in acks[1].reason


@TRANSPORTS
async def test_a_signal_that_is_not_taken_waits_and_is_not_lost(tmp_path: Path, send: Any) -> None:
    async with running(tmp_path, signals=["metrics"]) as run:
        acks = await send(run, logs_batch(own_line(0), 0), batch(own(0), 0), batch(b"", 0, signal=Signal.TRACES))
        found = {ack.signal: ack for ack in acks}
        assert found["metrics"].status == Ack.ACCEPTED
        for signal in ("logs", "traces"):
            assert (found[signal].status, found[signal].retry_after_ms) == (Ack.RETRY, 60_000)
            assert f"signal {signal} is not taken by this gateway: it takes metrics" in found[signal].reason


@TRANSPORTS
async def test_another_clusters_streams_in_a_batch_are_left_out_and_counted(tmp_path: Path, send: Any) -> None:
    async with running(tmp_path) as run:
        acks = await send(
            run,
            logs_batch(own_line(0) + own_line(1, "c2") + lines("bare", job="x"), 0, items=3),
            logs_batch(own_line(3, "c2"), 1, lane_items=3),
            logs_batch(own_line(4), 2, lane_items=4),
        )
        assert [(ack.sequence, ack.status, ack.refused_items) for ack in acks] == [
            (0, Ack.ACCEPTED, 1),
            (1, Ack.ACCEPTED, 1),
            (2, Ack.ACCEPTED, 0),
        ]
        assert (
            '1 streams (1 entries) refused: they carry another cluster\'s label, the sender is c1: {cluster="c2"}'
            in (acks[0].reason)
        )
        records = await run.records(Signal.LOGS)
        assert [lines_of(record) for record in records] == [
            [('{cluster="c1"}', "line 0"), ('{cluster="c1", job="x"}', "bare")],
            [],
            [('{cluster="c1"}', "line 4")],
        ]
        assert [from_headers(record.headers).items for record in records] == [2, 0, 1]
        assert run.metric("pronoia_gateway_refused_items_total", cluster="c1", signal="logs", reason="foreign") == 2


@TRANSPORTS
async def test_a_gap_record_of_logs_travels_through(tmp_path: Path, send: Any) -> None:
    values: dict[str, Any] = {"signal": Signal.LOGS, "encoding": "", "cluster": "c1", "agent": "node-1", "epoch": 7}
    values |= {"lane": 3, "sequence": 4, "gap_to": 9, "items": 600, "lane_items": 40, "crc32c": 0}
    gap = Envelope(**values, raw_bytes=0, created_ms=1)
    async with running(tmp_path) as run:
        (ack,) = await send(run, to_batch(gap, b""))
        assert (ack.signal, ack.sequence, ack.status) == ("logs", 4, Ack.ACCEPTED)
        (record,) = await run.records(Signal.LOGS)
        assert (record.payload, from_headers(record.headers)) == (b"", gap)


def noise(size: int, seed: int = 1) -> str:
    """Return text that hardly compresses."""
    return random.Random(seed).randbytes(size // 2).hex()


async def test_a_batch_larger_than_a_record_is_split_between_streams_and_between_entries(tmp_path: Path) -> None:
    texts = [noise(300, n) for n in range(200)]
    raw = lines(*texts[:150], cluster="c1") + b"".join(lines(text, cluster="c1", n="1") for text in texts[150:])
    async with running(tmp_path, log_options={"max_record_bytes": 10_000}) as run:
        acks = await push(run, logs_batch(raw, 0, items=200), logs_batch(own_line(1), 1, lane_items=200))
        assert acks[-1].sequence == 1
        *parts, _ = await run.records(Signal.LOGS)
        envelopes = [from_headers(record.headers) for record in parts]
        assert [(envelope.sequence, envelope.part) for envelope in envelopes] == [(0, n) for n in range(len(parts))]
        assert {envelope.parts for envelope in envelopes} == {len(parts)}
        assert [line for _, line in lines_of(*parts)] == texts
        first = 0
        for envelope in envelopes:
            assert envelope.first_item == first
            first += envelope.items


async def test_an_entry_larger_than_a_record_is_refused_alone(tmp_path: Path) -> None:
    raw = lines("before", noise(40_000), "behind", cluster="c1") + own_line(1)
    async with running(tmp_path, log_options={"max_record_bytes": 10_000}) as run:
        acks = await push(run, logs_batch(raw, 0, items=4), logs_batch(own_line(2), 1, lane_items=4))
        assert (acks[0].status, acks[0].refused_items) == (Ack.ACCEPTED, 1)
        assert "an entry that is larger than a record of the log may be" in acks[0].reason
        assert [line for _, line in await kept_lines(run)] == ["before", "behind", "line 1", "line 2"]
        assert run.metric("pronoia_gateway_refused_items_total", cluster="c1", signal="logs", reason="oversized") == 1
        assert run.metric("pronoia_gateway_received_items_total", cluster="c1", signal="logs") == 4


async def test_a_large_batch_is_judged_like_a_small_one(tmp_path: Path) -> None:
    raw = b"".join(lines("x" * 200, cluster="c1", n=str(n)) for n in range(20_000))
    async with running(tmp_path) as run:
        (ack,) = await push(run, logs_batch(raw, 0, items=20_000))
        assert ack.status == Ack.ACCEPTED
        (record,) = await run.records(Signal.LOGS)
        assert snappy.decompress(record.payload) == raw


async def test_garbled_lines_are_cleaned_and_entries_that_no_store_can_keep_left_out(tmp_path: Path) -> None:
    odd = encode_stream(b'{cluster="c1"}', encode_entry(MAX_TIME_NS + 1, b"2262") + encode_entry(0, b"1970"))
    async with running(tmp_path) as run:
        (ack,) = await push(run, logs_batch(lines(b"caf\xe9", "next", cluster="c1") + odd, 0, items=4))
        assert (ack.status, ack.refused_items) == (Ack.ACCEPTED, 1)
        assert "1 streams (1 entries) refused: they have an entry without a time between 1678 and 2262" in ack.reason
        assert [line for _, line in await kept_lines(run)] == ["caf�", "next", "1970"]
        assert run.metric("pronoia_gateway_refused_items_total", cluster="c1", signal="logs", reason="mistimed") == 1


async def test_entries_have_a_rate_of_their_own_and_bytes_are_shared(tmp_path: Path) -> None:
    limits = {"entries_per_second": 2, "burst": "1s"}
    async with running(tmp_path, clusters=[{"name": "c1", "tokens": ["secret-1"], "limits": limits}]) as run:
        acks = await _throttled(run)
        assert {ack.signal for ack in acks if ack.status == Ack.RETRY} == {"logs"}
        assert "more than 2 entries a second" in next(ack.reason for ack in acks if ack.status == Ack.RETRY)
    limits = {"bytes_per_second": "100", "burst": "1s"}
    async with running(tmp_path / "2", clusters=[{"name": "c1", "tokens": ["secret-1"], "limits": limits}]) as run:
        acks = await _throttled(run)
        assert {ack.signal for ack in acks if ack.status == Ack.RETRY} == {"logs", "metrics"}


async def _throttled(run: Running) -> list[Ack]:
    async with stream(run.gateway.grpc_port) as call:
        for number in range(9):
            await call.write(logs_batch(own_line(number), number))
            await call.write(batch(own(number), number))
        await call.done_writing()
        return [ack async for ack in call]
