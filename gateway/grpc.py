"""The gRPC port: the native push (a stream), and Clymene's call. Methods are named here; no stubs are generated.

/pronoia.push.v1.Push/Push                     stream of Batch -> stream of Ack
/prometheus.ClymeneService/RequestMetrics      prometheus.WriteRequest -> an empty message
"""

import asyncio
import math
import random
from collections.abc import AsyncIterator, Iterable
from typing import Any, Final, NoReturn, TypeAlias

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from gateway.accept import accept_raw, show_refused
from gateway.core import Core, log_refusal
from gateway.http import store
from gateway.publish import Publisher
from gateway.push import PushLanes
from gateway.refusal import Refusal
from gateway.senders import Sender
from gateway.spans import TRACEPARENT, accept_span, note_accepted
from pipeline.errors import PipelineError
from pipeline.tracing import Span
from pipeline.wire.push_pb2 import Ack, Batch

PUSH: Final = ("pronoia.push.v1.Push", "Push")
CLYMENE: Final = ("prometheus.ClymeneService", "RequestMetrics")

_STATUS: Final = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
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
        clymene: Handler = grpc.unary_unary_rpc_method_handler(self._clymene)
        return (
            grpc.method_handlers_generic_handler(PUSH[0], {PUSH[1]: push}),
            grpc.method_handlers_generic_handler(CLYMENE[0], {CLYMENE[1]: clymene}),
        )

    async def _push(self, batches: AsyncIterator[bytes], context: Context) -> None:
        """Serve one stream until its end, its age, or a batch that may not be."""
        core = self._core
        sender, publisher = await self._admit(context)
        lanes = PushLanes(core, publisher, sender, answer_each=False, protocol="push_grpc")
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

    async def _clymene(self, raw: bytes, context: Context) -> bytes:
        core = self._core
        sender, publisher = await self._admit(context)
        parent = _text(dict(context.invocation_metadata() or ()).get(TRACEPARENT)) if core.tracing.on else None
        with accept_span(core.tracing, parent, "clymene_grpc", len(raw)) as span:
            await self._store(raw, sender, publisher, context, span)
        core.metrics.requests.labels("clymene_grpc", "ok").inc()
        return b""

    async def _store(
        self, raw: bytes, sender: Sender | None, publisher: Publisher, context: Context, span: Span
    ) -> None:
        """Append Clymene's data, or end the call."""
        core = self._core
        if (refusal := core.throttled(sender) or core.reserve(len(raw))) is not None:
            await self._refuse(context, refusal, span)
        try:
            judged = await core.judge(len(raw), lambda _: accept_raw(raw, sender, core.senders, core.rules))
            if isinstance(judged, Refusal):
                await self._refuse(context, judged, span)
            note_accepted(span, judged)
            try:
                await store(publisher, core, judged, len(raw), span)
            except PipelineError as error:
                await self._refuse(context, log_refusal(error), span)
        finally:
            core.in_flight.release(len(raw))
        refused = "; ".join(show_refused(one.refused, one.sender.cluster) for one in judged if one.refused)
        if refused:
            await self._refuse(context, Refusal(400, refused), span)

    async def _refuse(self, context: Context, refusal: Refusal, span: Span) -> NoReturn:
        span.end(refusal.reason)
        self._core.metrics.requests.labels("clymene_grpc", _status(refusal).name.lower()).inc()
        await _abort(context, refusal)

    async def _admit(self, context: Context) -> tuple[Sender | None, Publisher]:
        """Return who calls and where it goes, or end the call."""
        metadata = dict(context.invocation_metadata() or ())
        sender = self._core.senders.authenticate(_text(metadata.get("authorization")), _certificate_names(context))
        if isinstance(sender, Refusal):
            await _abort(context, sender)
        publisher = self._core.publisher_or_refusal()
        if isinstance(publisher, Refusal):
            await _abort(context, publisher)
        return sender, publisher


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
