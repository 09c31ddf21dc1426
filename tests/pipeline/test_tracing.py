from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from pipeline.config import ConfigError, parse, validate
from pipeline.tracing import TracingConfig, open_tracing

ABOVE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
BESIDE = "00-1af7651916cd43dd8448eb211c80319c-b7ad6b7169203332-01"


@asynccontextmanager
async def collector() -> AsyncIterator[tuple[str, list[Any]]]:
    spans: list[Any] = []

    async def take(request: web.Request) -> web.Response:
        sent = ExportTraceServiceRequest.FromString(await request.read())
        spans.extend(span for resource in sent.resource_spans for scope in resource.scope_spans for span in scope.spans)
        return web.Response(content_type="application/x-protobuf")

    app = web.Application()
    app.router.add_post("/v1/traces", take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1/traces", spans
    finally:
        await runner.cleanup()


def attributes(span: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in span.attributes}


async def test_spans_reach_the_collector_with_what_was_noted() -> None:
    async with collector() as (endpoint, spans):
        tracing = open_tracing(TracingConfig(endpoint=endpoint, ratio=1.0), "ingester")
        with tracing.span("outer", sink="s") as outer:
            context = outer.traceparent
            with tracing.span("inner") as inner:
                inner.note(items=3)
        await tracing.close()
    found = {span.name: span for span in spans}
    assert attributes(found["outer"]) == {"sink": "s"}
    assert attributes(found["inner"]) == {"items": 3}
    assert found["inner"].parent_span_id == found["outer"].span_id
    assert context.split("-")[1:3] == [found["outer"].trace_id.hex(), found["outer"].span_id.hex()]


async def test_one_context_is_the_parent_and_several_are_links() -> None:
    async with collector() as (endpoint, spans):
        tracing = open_tracing(TracingConfig(endpoint=endpoint, ratio=1.0), "ingester")
        with tracing.span("child", [ABOVE]):
            pass
        with tracing.span("joint", [ABOVE, "nonsense", BESIDE]):
            pass
        await tracing.close()
    found = {span.name: span for span in spans}
    assert found["child"].trace_id.hex() == ABOVE.split("-")[1]
    assert found["child"].parent_span_id.hex() == ABOVE.split("-")[2]
    assert [link.trace_id.hex()[0] for link in found["joint"].links] == ["0", "1"]


async def test_nothing_is_traced_without_an_endpoint() -> None:
    tracing = open_tracing(None, "ingester")
    with tracing.span("outer", ["nonsense"], sink="s") as span:
        span.note(items=1)
        assert span.traceparent == ""
    await tracing.close()


def test_an_endpoint_that_is_no_url_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"f\.yaml:1: endpoint"):
        validate(parse("endpoint: 127.0.0.1:4318\n", "f.yaml"), TracingConfig)
