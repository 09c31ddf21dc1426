"""The HTTP port: remote write, Loki's push, Clymene's calls, and the native push.

Overload is 503, not 429: a stock Prometheus sends again after 5xx only, and drops what it gets 429 for
(`retry_on_http_429` is off by default). 429 is for what the operator configured: a cluster's rate.
"""

from collections.abc import Iterable
from typing import Final

from aiohttp import web
from google.protobuf.message import DecodeError

from gateway.core import Core
from gateway.http_answer import PROTOBUF, Asked, Route, refuse, snappy_only
from gateway.http_logs import answer_clymene_logs, answer_loki, check_loki
from gateway.http_metrics import answer_clymene_metrics, answer_write
from gateway.push import PushLanes
from gateway.refusal import Refusal
from gateway.senders import Sender
from pipeline.receive.loki_push import PUSH_PATHS
from pipeline.wire.envelope import Signal
from pipeline.wire.push_pb2 import PushRequest, PushResponse


async def _push(asked: Asked) -> web.Response:
    try:
        batches = PushRequest.FromString(asked.body).batches
    except DecodeError as error:
        return refuse(Refusal(400, f"not a pronoia.push.v1.PushRequest: {error}"))
    lanes = PushLanes(asked.core, asked.publishers, asked.sender, protocol="push_http", answer_each=True)
    # The body's bytes were reserved as a whole, each batch's are until the log has it: take over from here.
    for batch in batches:
        await lanes.take(batch)
        if lanes.stopped is not None:
            return refuse(lanes.stopped)
    acks = [ack async for ack in lanes.rest()]
    return web.Response(body=PushResponse(acks=acks).SerializeToString(), content_type=PROTOBUF)


_ROUTES: Final = {
    "/api/v1/write": Route("remote_write", Signal.METRICS, answer_write, snappy_only),
    "/api/v1/push": Route("push_http", None, _push, snappy_only),
    "/api/metrics": Route("clymene_http", Signal.METRICS, answer_clymene_metrics, snappy_only),
    "/api/logs": Route("clymene_http", Signal.LOGS, answer_clymene_logs, snappy_only),
    **{path: Route("loki_push", Signal.LOGS, answer_loki, check_loki) for path in PUSH_PATHS},
}


class HttpFront:
    """Answers the HTTP port's requests; give it to `aiohttp.web.Server`."""

    def __init__(self, core: Core) -> None:
        self._core = core

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        route = _ROUTES.get(request.rel_url.raw_path)
        if route is None:
            return web.Response(status=404, text=f"not here: POST to one of {', '.join(_ROUTES)}\n")
        if request.method != "POST":
            return web.Response(status=405, text="POST only\n", headers={"Allow": "POST"})
        core = self._core
        began_s = core.monotonic()
        response = await self._guarded(request, route)
        core.metrics.requests.labels(route.protocol, str(response.status)).inc()
        core.metrics.request_seconds.labels(route.protocol).observe(core.monotonic() - began_s)
        return response

    async def _guarded(self, request: web.BaseRequest, route: Route) -> web.Response:
        """Check what can be checked before the body is read, reserve its bytes, read it, answer."""
        core = self._core
        sender = core.senders.authenticate(request.headers.get("Authorization"), _certificate_names(request))
        if isinstance(sender, Refusal):
            return refuse(sender)
        if (refusal := _check(core, sender, request, route)) is not None:
            return refuse(refusal)
        publishers = core.publishers
        declared = request.content_length
        # Without a length the most that may come is reserved.
        size = core.rules.max_body_bytes if declared is None else declared
        if (refusal := core.reserve(size)) is not None:
            return refuse(refusal)
        try:
            body = await _read(request, size)
            if isinstance(body, Refusal):
                return refuse(body)
            return await route.answer(Asked(core, route.protocol, request, body, sender, publishers))
        finally:
            core.in_flight.release(size)


def _check(core: Core, sender: Sender | None, request: web.BaseRequest, route: Route) -> Refusal | None:
    """Return why a request will not be taken whatever its body, or None."""
    where = core.unready_refusal() if route.signal is None else core.publisher_or_refusal(route.signal)
    if isinstance(where, Refusal):
        return where
    return core.throttled(sender, route.signal) or route.check(request)


async def _read(request: web.BaseRequest, max_bytes: int) -> bytes | Refusal:
    """Read the body; whatever is declared, not more than `max_bytes` of it."""
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0
    chunks, size = [], 0
    try:
        while chunk := await request.content.readany():
            size += len(chunk)
            if size > max_bytes:
                return Refusal(413, f"a body of more than {max_bytes} bytes")
            chunks.append(chunk)
    except (ConnectionError, web.RequestPayloadError) as error:
        return Refusal(400, f"the body ended early: {error}")
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _certificate_names(request: web.BaseRequest) -> Iterable[str]:
    """Return the names that a verified client certificate stands for."""
    transport = request.transport
    certificate = transport.get_extra_info("peercert") if transport is not None else None
    if not certificate:
        return ()
    common = [value for part in certificate.get("subject", ()) for name, value in part if name == "commonName"]
    return (*common, *(value for _, value in certificate.get("subjectAltName", ())))
