"""What the gateway tells a collector of what it accepts, and what it writes into records of it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from prometheus_client import CollectorRegistry

from gateway.config import GatewayConfig
from gateway.service import Gateway
from pipeline.errors import PermanentError, TransientError
from pipeline.tracing import TracingConfig
from pipeline.wire import snappy
from pipeline.wire.push_pb2 import Ack, PushRequest, PushResponse
from tests.gateway.running import BEARER, WRITE, Running, batch, own, running, series, stream, until
from tests.pipeline.tracing.collector import ABOVE, UNSAMPLED, Collector, collecting, tracing


@asynccontextmanager
async def traced(folder: Path, fraction: float = 1.0) -> AsyncIterator[tuple[Running, Collector]]:
    """Run a gateway whose spans have all arrived once its block is left."""
    async with (
        collecting() as collector,
        tracing(collector.config(sampling_fraction=fraction), "gateway") as on,
        running(folder, gateway={"tracing": on}) as run,
    ):
        yield run, collector


async def push(run: Running, *batches: Any) -> list[Ack]:
    body = PushRequest(batches=batches).SerializeToString()
    async with run.session.post(run.url("/api/v1/push"), data=body, headers=BEARER) as answer:
        return list(PushResponse.FromString(await answer.read()).acks)


async def test_a_batch_is_accepted_as_a_part_of_its_scrape_and_keeps_its_context(tmp_path: Path) -> None:
    async with traced(tmp_path, fraction=0.0) as (run, collector):
        (ack,) = await push(run, batch(own(1), 0, traceparent=ABOVE))
        assert ack.status == Ack.ACCEPTED
        assert [envelope.traceparent for envelope in await run.envelopes()] == [ABOVE]
        payload_bytes = len((await run.records())[0].payload)
    accept, append = collector.one("accept"), collector.one("append")
    assert (accept.trace, accept.parent) == tuple(ABOVE.split("-")[1:3])
    said = {"protocol": "push_http", "bytes": payload_bytes, "cluster": "c1", "items": 1, "lane": 3, "sequence": 0}
    assert accept.attributes == {**said, "refused": 0}
    assert (append.trace, append.parent, append.error) == (accept.trace, accept.id, None)


async def test_a_batch_without_a_context_gets_the_one_that_begins_here(tmp_path: Path) -> None:
    async with traced(tmp_path) as (run, collector):
        async with stream(run.gateway.grpc_port) as call:
            await call.write(batch(own(1), 0))
            assert (await call.read()).status == Ack.ACCEPTED
            await call.done_writing()
        (envelope,) = await run.envelopes()
    assert collector.one("accept").traceparent == envelope.traceparent
    assert collector.one("accept").attributes["protocol"] == "push_grpc"


@pytest.mark.parametrize("context", ["", UNSAMPLED])
async def test_what_is_not_sampled_leaves_nothing_in_the_record(tmp_path: Path, context: str) -> None:
    async with traced(tmp_path, fraction=0.0) as (run, collector):
        await run.write(own(1), {"traceparent": context})
        await push(run, batch(own(1), 0))
        names = [name for record in await run.records() for name, _ in record.headers]
        assert len(await run.records()) == 2
        assert "traceparent" not in names
    assert collector.spans == []


async def test_a_foreign_sender_may_bring_a_trace_of_its_own(tmp_path: Path) -> None:
    async with traced(tmp_path, fraction=0.0) as (run, collector):
        status, _, _ = await run.write(own(1) + own(2), {"traceparent": ABOVE})
        assert status == 204
        (envelope,) = await run.envelopes()
    accept, append = collector.one("accept"), collector.one("append")
    assert (accept.trace, accept.parent, accept.error) == (*ABOVE.split("-")[1:3], None)
    assert envelope.traceparent == accept.traceparent
    assert append.parent == accept.id
    assert accept.attributes["protocol"] == "remote_write"
    assert [accept.attributes[name] for name in ("cluster", "items", "refused")] == ["c1", 2, 0]


async def test_clymenes_call_over_grpc_may_too(tmp_path: Path) -> None:
    async with traced(tmp_path, fraction=0.0) as (run, collector):
        metadata = (("authorization", "Bearer secret-1"), ("traceparent", ABOVE))
        async with grpc.aio.insecure_channel(f"127.0.0.1:{run.gateway.grpc_port}") as channel:
            call = channel.unary_unary("/prometheus.ClymeneService/RequestMetrics", bytes, bytes)
            await call(own(1), metadata=metadata)
            with pytest.raises(grpc.aio.AioRpcError, match="another cluster"):
                await call(series(("cluster", "c2")), metadata=metadata)
        (envelope,) = await run.envelopes()
    taken, refused = collector.named("accept")
    assert {taken.parent, refused.parent} == {ABOVE.split("-")[2]}
    assert (envelope.traceparent, taken.error) == (taken.traceparent, None)
    assert refused.error is not None
    assert "another cluster" in refused.error


async def test_refusals_are_told_with_their_reasons(tmp_path: Path) -> None:
    async with traced(tmp_path) as (run, collector):
        await run.post("/api/v1/write", snappy.compress(b"\xff"), WRITE)
        await push(run, batch(own(1), 0, items=7))
    broken, wrong = collector.named("accept")
    assert broken.error
    assert wrong.error == "the envelope says 7 items, the payload has 1"
    assert collector.named("append") == []


async def test_a_log_that_fails_is_told_in_both_spans(tmp_path: Path) -> None:
    async with traced(tmp_path) as (run, collector):
        run.log.failures.append(TransientError("the disk is away"))
        (ack,) = await push(run, batch(own(1), 0))
        assert ack.status == Ack.RETRY
        run.log.refusals.append(TransientError("no leader"))
        assert (await run.write(own(1)))[0] == 503
    by_protocol = {span.attributes["protocol"]: span for span in collector.named("accept")}
    assert by_protocol["push_http"].error == "the disk is away"
    assert "no leader" in (by_protocol["remote_write"].error or "")
    assert len(collector.named("append")) == 2
    assert all(span.error for span in collector.named("append"))


async def test_a_stream_that_breaks_ends_its_spans(tmp_path: Path) -> None:
    async with traced(tmp_path) as (run, collector):
        run.log.open.clear()
        async with stream(run.gateway.grpc_port) as call:
            await call.write(batch(own(1), 0))

            async def reserved() -> bool:
                return run.metric("pronoia_gateway_in_flight_bytes") > 0

            await until(reserved, "the batch has been taken")
            call.cancel()

        async def ended() -> bool:
            return run.metric("pronoia_gateway_streams") == 0

        await until(ended, "the stream has ended")
        run.log.open.set()
    assert collector.one("accept").error == "the stream ended before its answer"


async def test_where_spans_go_is_not_changed_by_a_reload(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        elsewhere = TracingConfig(endpoint="127.0.0.1:4317")
        config = GatewayConfig.model_validate({"log": {"sqlite": {"path": str(tmp_path / "log")}}})
        gateway = Gateway(
            config, run.log, CollectorRegistry(), load=lambda: config.model_copy(update={"tracing": elsewhere})
        )
        with pytest.raises(PermanentError, match="tracing: a change needs a restart"):
            await gateway.reload()
