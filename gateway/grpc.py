"""The gRPC port: the native push (a stream), and Clymene's calls. Methods are named here; no stubs are generated.

/pronoia.push.v1.Push/Push                     stream of Batch -> stream of Ack
/prometheus.ClymeneService/RequestMetrics      prometheus.WriteRequest -> an empty message
/logproto.Gateway/TransferBatch                logproto.Batch -> an empty message
"""

import asyncio
import math
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any, Final, NoReturn, TypeAlias

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from gateway.accept import accept_raw
from gateway.clymene import read_message
from gateway.codec import LOGS, METRICS
from gateway.core import JSON_FACTOR, Core
from gateway.foreign import Request, check_tenant, take
from gateway.push import PushLanes
from gateway.refusal import Refusal
from gateway.senders import Sender
from gateway.spans import TRACEPARENT, accept_span
from pipeline.tracing import Span
from pipeline.wire.envelope import Signal
from pipeline.wire.push_pb2 import Ack, Batch

PUSH: Final = ("pronoia.push.v1.Push", "Push")
CLYMENE_METRICS: Final = ("prometheus.ClymeneService", "RequestMetrics")
CLYMENE_LOGS: Final = ("logproto.Gateway", "TransferBatch")

_STATUS: Final = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.UNIMPLEMENTED,
    413: grpc.StatusCode.INVALID_ARGUMENT,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
}
Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"
Handler: TypeAlias = "grpc.RpcMethodHandler[bytes, bytes]"


class GrpcFront:
    """Answers the gRPC port's calls; `handlers` go to a `grpc.aio` server."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._waiting: set[asyncio.Timeout] = set()

    def end_streams(self) -> None:
        """Let every stream answer what it has taken, and end."""
        now_s = asyncio.get_running_loop().time()
        for waiting in self._waiting:
            waiting.reschedule(now_s)

    def handlers(self) -> "tuple[grpc.GenericRpcHandler, ...]":
        """Return the methods. Messages come and go as bytes: one that is none of ours gets our answer, not gRPC's."""
        push: Handler = grpc.stream_stream_rpc_method_handler(self._push)
        metrics: Handler = grpc.unary_unary_rpc_method_handler(self._clymene_metrics)
        logs: Handler = grpc.unary_unary_rpc_method_handler(self._clymene_logs)
        methods = ((PUSH, push), (CLYMENE_METRICS, metrics), (CLYMENE_LOGS, logs))
        return tuple(grpc.method_handlers_generic_handler(name, {method: of}) for (name, method), of in methods)

    async def _push(self, batches: AsyncIterator[bytes], context: Context) -> None:
        """Serve one stream until its end, its age, or a batch that may not be."""
        core = self._core
        sender = await self._admit(context)
        if (refusal := core.unready_refusal()) is not None:
            await _abort(context, refusal)
        lanes = PushLanes(core, core.publishers, sender, answer_each=False, protocol="push_grpc")
        core.metrics.streams.inc()
        reader = asyncio.create_task(self._read(batches, lanes), name="push stream")
        try:
            await self._answer(context, lanes, reader)
            if lanes.stopped is not None:
                await _abort(context, lanes.stopped)
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
            lanes.close()
            core.metrics.streams.dec()

    async def _read(self, batches: AsyncIterator[bytes], lanes: PushLanes) -> None:
        """Take the stream's batches, for as long as it may live."""
        age_s = self._core.config.limits.stream_age * random.uniform(0.8, 1.2)
        end_s = asyncio.get_running_loop().time() + age_s
        while lanes.stopped is None and not self._core.draining:
            raw = await self._next(batches, end_s)
            if raw is None:
                return
            try:
                batch = Batch.FromString(raw)
            except DecodeError as error:
                lanes.stopped = Refusal(400, f"not a pronoia.push.v1.Batch: {error}")
                return
            await lanes.take(batch)

    async def _next(self, batches: AsyncIterator[bytes], end_s: float) -> bytes | None:
        """Return the stream's next message, or None at its end, at `end_s`, and when streams are to end."""
        try:
            # Only the waiting is given up, never a batch that is being placed.
            async with asyncio.timeout_at(end_s) as waiting:
                self._waiting.add(waiting)
                try:
                    return await anext(batches, None)
                finally:
                    self._waiting.discard(waiting)
        except TimeoutError:
            return None

    async def _answer(self, context: Context, lanes: PushLanes, reader: "asyncio.Task[None]") -> None:
        """Send acknowledgements as they become possible, until all that was read is answered."""
        reader.add_done_callback(lambda _: lanes.wake())
        while not reader.done():
            await lanes.wait()
            await _send(context, lanes.answers())
        await reader
        async for ack in lanes.rest():
            await _send(context, [ack])

    async def _clymene_metrics(self, raw: bytes, context: Context) -> bytes:
        core = self._core

        async def read(sender: Sender | None) -> Request:
            return Request(
                lambda _: accept_raw(METRICS, raw, sender, core.senders, core.rules), len(raw), size_bytes=len(raw)
            )

        return await self._clymene(raw, context, Signal.METRICS, read)

    async def _clymene_logs(self, message: bytes, context: Context) -> bytes:
        core = self._core

        async def read(sender: Sender | None) -> Request | Refusal:
            most = core.rules.max_raw_bytes
            batch = await core.judge(len(message) * JSON_FACTOR, lambda _: read_message(message, most))
            if isinstance(batch, Refusal):
                return batch
            if (refusal := check_tenant(batch.tenant)) is not None:
                return refusal
            raw = batch.raw
            return Request(
                lambda _: accept_raw(LOGS, raw, sender, core.senders, core.rules), len(raw), len(message), batch.tenant
            )

        return await self._clymene(message, context, Signal.LOGS, read)

    async def _clymene(
        self,
        message: bytes,
        context: Context,
        signal: Signal,
        read: Callable[[Sender | None], Awaitable[Request | Refusal]],
    ) -> bytes:
        """Take one of Clymene's calls, or end it."""
        core = self._core
        sender = await self._admit(context)
        parent = _text(dict(context.invocation_metadata() or ()).get(TRACEPARENT)) if core.tracing.on else None
        with accept_span(core.tracing, parent, "clymene_grpc", len(message)) as span:
            refusal = await self._take(message, sender, signal, read, span)
            if refusal is not None:
                await self._refuse(context, refusal, span)
        core.metrics.requests.labels("clymene_grpc", "ok").inc()
        return b""

    async def _take(
        self,
        message: bytes,
        sender: Sender | None,
        signal: Signal,
        read: Callable[[Sender | None], Awaitable[Request | Refusal]],
        span: Span,
    ) -> Refusal | None:
        """Append a call's data, or return why not all of it."""
        core = self._core
        publisher = core.publisher_or_refusal(signal)
        if isinstance(publisher, Refusal):
            return publisher
        if (refusal := core.throttled(sender, signal) or core.reserve(len(message))) is not None:
            return refusal
        try:
            request = await read(sender)
            return request if isinstance(request, Refusal) else (await take(core, publisher, request, span)).refusal
        finally:
            core.in_flight.release(len(message))

    async def _refuse(self, context: Context, refusal: Refusal, span: Span) -> NoReturn:
        span.end(refusal.reason)
        self._core.metrics.requests.labels("clymene_grpc", _status(refusal).name.lower()).inc()
        await _abort(context, refusal)

    async def _admit(self, context: Context) -> Sender | None:
        """Return who calls, or end the call."""
        metadata = dict(context.invocation_metadata() or ())
        sender = self._core.senders.authenticate(_text(metadata.get("authorization")), _certificate_names(context))
        if isinstance(sender, Refusal):
            await _abort(context, sender)
        return sender


async def _send(context: Context, acks: Iterable[Ack]) -> None:
    for ack in acks:
        await context.write(ack.SerializeToString())


async def _abort(context: Context, refusal: Refusal) -> NoReturn:
    trailing: tuple[tuple[str, str], ...] = ()
    if refusal.retry_after_s is not None:
        trailing = (("retry-after-ms", str(math.ceil(refusal.retry_after_s * 1000))),)
    await context.abort(_status(refusal), refusal.reason, trailing)


def _status(refusal: Refusal) -> grpc.StatusCode:
    return grpc.StatusCode.RESOURCE_EXHAUSTED if refusal.exhausted else _STATUS[refusal.status]


def _text(value: str | bytes | None) -> str | None:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _certificate_names(context: Context) -> list[str]:
    """Return the names that a verified client certificate stands for."""
    found: dict[str, Any] = dict(context.auth_context() or {})
    names = [*found.get("x509_common_name", ()), *found.get("x509_subject_alternative_name", ())]
    return [name.decode(errors="replace") for name in names]
