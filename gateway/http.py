"""The HTTP port: remote write 1.0 and 2.0, Clymene's call, and the native push.

Specifications: Prometheus Remote-Write 1.0 and 2.0 (negotiation, status codes, written-headers, partial writes).
Overload is 503, not 429: a stock Prometheus sends again after 5xx only, and drops what it gets 429 for
(`retry_on_http_429` is off by default). 429 is for what the operator configured: a cluster's rate.
"""

import math
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Final

from aiohttp import web
from google.protobuf.message import DecodeError

from gateway.accept import Accepted, accept_write, show_refused
from gateway.core import VERSION_2_FACTOR, Core, log_refusal, raw_size
from gateway.publish import ForeignBatch, Publisher
from gateway.push import PushLanes
from gateway.refusal import Refusal
from gateway.senders import Sender
from gateway.spans import TRACEPARENT, accept_span, note_accepted
from pipeline.errors import PipelineError
from pipeline.tracing import Span
from pipeline.wire.push_pb2 import PushRequest, PushResponse

_PROTOBUF: Final = "application/x-protobuf"
_MESSAGES: Final = {"prometheus.WriteRequest": 1, "io.prometheus.write.v2.Request": 2}
_WRITTEN: Final = "X-Prometheus-Remote-Write-{}-Written"


@dataclass(slots=True)
class Asked:
    """One request whose sender is known and whose body is read."""

    request: web.BaseRequest
    body: bytes
    sender: Sender | None
    publisher: Publisher


Answer = Callable[[Asked], Awaitable[web.Response]]


class HttpFront:
    """Answers the HTTP port's requests; give it to `aiohttp.web.Server`."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._routes: dict[str, tuple[str, Answer]] = {
            "/api/v1/write": ("remote_write", self._write),
            "/api/v1/push": ("push_http", self._push),
            "/api/metrics": ("clymene_http", self._clymene),
        }

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        route = self._routes.get(request.rel_url.raw_path)
        if route is None:
            return web.Response(status=404, text="not here: POST /api/v1/write, /api/v1/push or /api/metrics\n")
        if request.method != "POST":
            return web.Response(status=405, text="POST only\n", headers={"Allow": "POST"})
        protocol, answer = route
        core = self._core
        began_s = core.monotonic()
        response = await self._guarded(request, answer)
        core.metrics.requests.labels(protocol, str(response.status)).inc()
        core.metrics.request_seconds.labels(protocol).observe(core.monotonic() - began_s)
        return response

    async def _guarded(self, request: web.BaseRequest, answer: Answer) -> web.Response:
        """Check what can be checked before the body is read, reserve its bytes, read it, answer."""
        core = self._core
        sender = core.senders.authenticate(request.headers.get("Authorization"), _certificate_names(request))
        if isinstance(sender, Refusal):
            return _refuse(sender)
        publisher = core.publisher_or_refusal()
        if isinstance(publisher, Refusal):
            return _refuse(publisher)
        if (refusal := core.throttled(sender) or _check_encoding(request)) is not None:
            return _refuse(refusal)
        declared = request.content_length
        # Without a length the most that may come is reserved.
        size = core.rules.max_body_bytes if declared is None else declared
        if (refusal := core.reserve(size)) is not None:
            return _refuse(refusal)
        try:
            body = await _read(request, size)
            if isinstance(body, Refusal):
                return _refuse(body)
            return await answer(Asked(request, body, sender, publisher))
        finally:
            core.in_flight.release(size)

    async def _write(self, asked: Asked) -> web.Response:
        version = _message_version(asked.request.headers.get("Content-Type", ""))
        if isinstance(version, Refusal):
            return _refuse(version)
        return await self._store(asked, version, 204)

    async def _clymene(self, asked: Asked) -> web.Response:
        """Take Clymene's `POST /api/metrics`: the same body as remote write 1.0, whatever its headers say."""
        return await self._store(asked, 1, 204)

    async def _store(self, asked: Asked, version: int, done: int) -> web.Response:
        protocol, parent = self._routes[asked.request.rel_url.raw_path][0], asked.request.headers.get(TRACEPARENT)
        with accept_span(self._core.tracing, parent, protocol, len(asked.body)) as span:
            response = await self._stored(asked, version, done, span)
            if response.status != done:
                span.end(response.text or "")
            return response

    async def _stored(self, asked: Asked, version: int, done: int, span: Span) -> web.Response:
        core, body, sender = self._core, asked.body, asked.sender
        cost = raw_size(body) * (VERSION_2_FACTOR if version == 2 else 1)
        judged = await core.judge(
            cost,
            lambda scratch: accept_write(body, sender, core.senders, core.rules, version=version, scratch=scratch),
        )
        if isinstance(judged, Refusal):
            return _refuse(judged, _written((), version))
        note_accepted(span, judged)
        try:
            batches = await store(asked.publisher, core, judged, len(body), span)
        except PipelineError as error:
            return _refuse(log_refusal(error))
        transport = asked.request.transport
        if transport is None or transport.is_closing():
            for batch in batches:
                batch.unanswered()
        refused = "; ".join(show_refused(one.refused, one.sender.cluster) for one in judged if one.refused)
        if refused:
            return _refuse(Refusal(400, refused), _written(judged, version))
        return web.Response(status=done, headers=_written(judged, version))

    async def _push(self, asked: Asked) -> web.Response:
        try:
            batches = PushRequest.FromString(asked.body).batches
        except DecodeError as error:
            return _refuse(Refusal(400, f"not a pronoia.push.v1.PushRequest: {error}"))
        lanes = PushLanes(self._core, asked.publisher, asked.sender, protocol="push_http", answer_each=True)
        # The body's bytes were reserved as a whole, each batch's are until the log has it: take over from here.
        for batch in batches:
            await lanes.take(batch)
            if lanes.stopped is not None:
                return _refuse(lanes.stopped)
        acks = [ack async for ack in lanes.rest()]
        return web.Response(body=PushResponse(acks=acks).SerializeToString(), content_type=_PROTOBUF)


async def store(
    publisher: Publisher, core: Core, judged: Iterable[Accepted], size_bytes: int, span: Span
) -> list[ForeignBatch]:
    """Append a foreign sender's data and wait until it is durable; raises PipelineError where the log fails."""
    batches = []
    with span.child("append"):
        for accepted in judged:
            accepted.sender.took(size_bytes, accepted.found.items)
            batches.append(await publisher.foreign(accepted, span.traceparent))
        for accepted, batch in zip(judged, batches, strict=True):
            await batch.durable()
            publisher.count(accepted)
    return batches


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


def _check_encoding(request: web.BaseRequest) -> Refusal | None:
    encoding = request.headers.get("Content-Encoding", "")
    if encoding in ("", "snappy", "identity"):
        return None
    return Refusal(415, f"content encoding {encoding!r} is not accepted: snappy is")


def _message_version(content_type: str) -> int | Refusal:
    """Return which of the two messages a body is. No content type at all is 1.0, as in Prometheus."""
    if not content_type:
        return 1
    media, *parameters = (part.strip() for part in content_type.split(";"))
    if media.lower() != _PROTOBUF:
        return Refusal(415, f"content type {content_type!r} is not accepted: {_PROTOBUF} is")
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "proto":
            message = value.strip().strip('"')
            known = _MESSAGES.get(message)
            return known or Refusal(415, f"message {message!r} is not accepted: {', '.join(_MESSAGES)} are")
    return 1


def _written(judged: Iterable[Accepted], version: int) -> dict[str, str] | None:
    """Return the headers by which a 2.0 sender learns what was written; 1.0 does not know them."""
    if version == 1:
        return None
    found = [accepted.found for accepted in judged]
    return {
        _WRITTEN.format("Samples"): str(sum(one.samples for one in found)),
        _WRITTEN.format("Histograms"): str(sum(one.histograms for one in found)),
        _WRITTEN.format("Exemplars"): str(sum(one.exemplars for one in found)),
    }


def _refuse(refusal: Refusal, headers: dict[str, str] | None = None) -> web.Response:
    headers = dict(headers or {})
    if refusal.retry_after_s is not None:
        # RFC 9110, section 10.2.3: whole seconds.
        headers["Retry-After"] = str(max(1, math.ceil(refusal.retry_after_s)))
    if refusal.status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="pronoia"'
    return web.Response(status=refusal.status, text=refusal.reason + "\n", headers=headers)


def _certificate_names(request: web.BaseRequest) -> Iterable[str]:
    """Return the names that a verified client certificate stands for."""
    transport = request.transport
    certificate = transport.get_extra_info("peercert") if transport is not None else None
    if not certificate:
        return ()
    common = [value for part in certificate.get("subject", ()) for name, value in part if name == "commonName"]
    return (*common, *(value for _, value in certificate.get("subjectAltName", ())))
