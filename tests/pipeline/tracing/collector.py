"""A collector of spans on a real socket, and what a test asks of the spans it got."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc.aio
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client import CollectorRegistry

from pipeline.telemetry import TracingMetrics
from pipeline.tracing import Tracing, TracingConfig, open_tracing
from tests.certificates import CA, SERVER, SERVER_KEY

ABOVE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
BESIDE = "00-1af7651916cd43dd8448eb211c80319c-b7ad6b7169203332-01"
UNSAMPLED = "00-2af7651916cd43dd8448eb211c80319c-b7ad6b7169203333-00"


@dataclass
class Span:
    """What arrived of a span: ids in hex, "" for no parent; `error` is None where it went well."""

    service: str
    name: str
    trace: str
    id: str
    parent: str
    attributes: dict[str, Any]
    links: list[str]
    error: str | None
    seconds: float

    @property
    def traceparent(self) -> str:
        return f"00-{self.trace}-{self.id}-01"


@dataclass
class Collector:
    """What was received. `status` is what HTTP requests are answered with; `hold` lets them wait."""

    port: int = 0
    spans: list[Span] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    status: int = 200
    hold: asyncio.Event | None = None

    def take(self, body: bytes) -> None:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            service = _attributes(resource.resource.attributes)["service.name"]
            for scope in resource.scope_spans:
                self.spans += [_span(service, span) for span in scope.spans]

    def named(self, name: str, service: str = "") -> list[Span]:
        return [span for span in self.spans if span.name == name and service in ("", span.service)]

    def one(self, name: str) -> Span:
        (span,) = self.named(name)
        return span

    def config(self, client_type: str = "http", **more: Any) -> TracingConfig:
        base = {"client_type": client_type, "endpoint": f"127.0.0.1:{self.port}", "insecure": "tls_config" not in more}
        return TracingConfig.model_validate({**base, "sampling_fraction": 1, "timeout": "1s", **more})


def _span(service: str, span: Any) -> Span:
    return Span(
        service=service,
        name=span.name,
        trace=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        attributes=_attributes(span.attributes),
        links=[f"00-{link.trace_id.hex()}-{link.span_id.hex()}-01" for link in span.links],
        error=span.status.message if span.status.code == 2 else None,
        seconds=(span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
    )


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}


@asynccontextmanager
async def collecting(*, tls: bool = False) -> AsyncIterator[Collector]:
    """Run a collector that takes OTLP over HTTP; with `tls` it wants a client certificate."""
    collector = Collector()

    async def take(request: web.Request) -> web.Response:
        if collector.hold is not None:
            await collector.hold.wait()
        collector.headers.append(dict(request.headers))
        if collector.status == 200:
            collector.take(await request.read())
        return web.Response(status=collector.status, content_type="application/x-protobuf")

    app = web.Application()
    app.router.add_post("/v1/traces", take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    context = None
    if tls:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=CA)
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_cert_chain(SERVER, SERVER_KEY)
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    collector.port = runner.addresses[0][1]
    try:
        yield collector
    finally:
        if collector.hold is not None:
            collector.hold.set()
        await runner.cleanup()


@asynccontextmanager
async def collecting_grpc(*, tls: bool = False) -> AsyncIterator[Collector]:
    """Run a collector that takes OTLP over gRPC; with `tls` it wants a client certificate."""
    collector = Collector()

    async def export(body: bytes, context: Any) -> bytes:
        collector.headers.append({key: str(value) for key, value in context.invocation_metadata()})
        collector.take(body)
        return b""

    service = "opentelemetry.proto.collector.trace.v1.TraceService"
    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(export)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"Export": handler}),))
    if tls:
        pair = (SERVER_KEY.read_bytes(), SERVER.read_bytes())
        credentials = grpc.ssl_server_credentials([pair], CA.read_bytes(), require_client_auth=True)
        collector.port = server.add_secure_port("127.0.0.1:0", credentials)
    else:
        collector.port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield collector
    finally:
        await server.stop(None)


@asynccontextmanager
async def tracing(
    config: TracingConfig | None, component: str = "agent", registry: CollectorRegistry | None = None
) -> AsyncIterator[Tracing]:
    """Open tracing, and close it: then everything has arrived."""
    opened = open_tracing(config, component, "1.2.3", TracingMetrics(registry or CollectorRegistry()))
    await opened.start()
    try:
        yield opened
    finally:
        await opened.close()
