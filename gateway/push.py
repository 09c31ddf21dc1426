"""The native push, over either transport: batches of several signals and lanes in, acknowledgements out (push.proto).

A lane belongs to one signal. Its appends are placed in sequence, one behind the other. When one fails, nothing above it
is appended until the agent sends from there again: what it had sent meanwhile is dropped, the agent has all of it on
disk.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace

from gateway.accept import show_refused
from gateway.batches import AcceptedBatch, accept_batch
from gateway.core import Core, log_refusal, raw_size
from gateway.lane import Lane, Pending, error_of, is_covered, place_of
from gateway.publish import Placed, Publisher
from gateway.refusal import Refusal
from gateway.senders import Sender
from gateway.spans import batch_span, end_when_durable
from pipeline.errors import PipelineError
from pipeline.tracing import Span
from pipeline.wire.envelope import Signal
from pipeline.wire.push_pb2 import Ack, Batch


class PushLanes:
    """The lanes of one stream, or of one request (`answer_each`: an Ack for every batch, none coalesced).

    Of one agent and epoch. `stopped` says why nothing more is taken: 403 another cluster, 400 not a batch at all.
    """

    def __init__(
        self,
        core: Core,
        publishers: Mapping[Signal, Publisher],
        sender: Sender | None,
        *,
        answer_each: bool,
        protocol: str = "push_http",
    ) -> None:
        self._core = core
        self._publishers = publishers
        self._sender = sender
        self._answer_each = answer_each
        self._protocol = protocol
        self._lanes: dict[tuple[str, int], Lane] = {}
        self._agent: tuple[str, str, int] | None = None
        self._something = asyncio.Event()
        self.stopped: Refusal | None = None

    async def take(self, batch: Batch) -> None:
        """Judge and place one batch; what becomes of it is among the acknowledgements."""
        headers = [(header.name, header.value) for header in batch.headers]
        span = batch_span(self._core.tracing, headers, self._protocol, len(batch.payload))
        if why_not := await self._take(headers, batch.payload, span):
            span.end(why_not)

    async def _take(self, headers: list[tuple[str, bytes]], payload: bytes, span: Span) -> str:
        """Place a batch, or return why not; the span of one that was placed ends with its answer."""
        core, sender = self._core, self._sender
        signals = tuple(self._publishers)
        judged = await core.judge(
            raw_size(payload),
            lambda scratch: accept_batch(headers, payload, sender, core.senders, core.rules, signals, scratch=scratch),
        )
        if isinstance(judged, Refusal):
            self._refuse(judged, place_of(headers))
            return judged.reason
        envelope = judged.envelope
        agent = (envelope.cluster, envelope.agent, envelope.epoch)
        self._agent = self._agent or agent
        if agent != self._agent:
            self.stopped = Refusal(400, "batches of two agents, clusters or epochs in one stream")
            return self.stopped.reason
        ack = Ack(signal=envelope.signal, lane=envelope.lane, sequence=envelope.sequence)
        lane = self._lanes.setdefault((envelope.signal, envelope.lane), Lane())
        if not self._may_follow(lane, ack):
            return "a batch before it was not taken"
        refusal = core.throttled(sender, envelope.signal) or core.reserve(len(payload))
        if refusal is not None:
            self._postpone(lane, ack, refusal)
            return refusal.reason
        span.note(cluster=envelope.cluster, items=envelope.items, lane=envelope.lane, sequence=envelope.sequence)
        if span.traceparent and not envelope.traceparent:
            judged = judged._replace(envelope=replace(envelope, traceparent=span.traceparent))
        pending, append = Pending(ack, judged=judged, reserved=len(payload), span=span), span.child("append")
        try:
            pending.placed = await self._place(judged)
        except PipelineError as error:
            core.in_flight.release(pending.reserved)
            self._postpone(lane, ack, log_refusal(error))
            append.end(str(error))
            return str(error)
        except BaseException:
            core.in_flight.release(pending.reserved)
            raise
        lane.pending.append(pending)
        for placed in pending.placed:
            placed.add_done_callback(lambda _: self._something.set())
        end_when_durable(append, pending.placed[-1])
        return ""

    def answers(self) -> list[Ack]:
        """Return the acknowledgements that can be given now, in each lane's order."""
        self._something.clear()
        acks: list[Ack] = []
        for lane in self._lanes.values():
            acks += self._answer_lane(lane)
        return acks

    async def wait(self) -> None:
        """Return once there may be something to answer."""
        await self._something.wait()

    def wake(self) -> None:
        """Let `wait` return."""
        self._something.set()

    async def rest(self) -> AsyncIterator[Ack]:
        """Yield the acknowledgements of all that was taken, as they come."""
        while True:
            for ack in self.answers():
                yield ack
            if not any(lane.pending for lane in self._lanes.values()):
                return
            await self.wait()

    def close(self) -> None:
        """Let go of what will not be answered any more: its bytes stay reserved until the log is done with them."""
        for lane in self._lanes.values():
            for pending in lane.pending:
                self._release_when_done(pending)
                pending.span.end("the stream ended before its answer")
            lane.pending.clear()

    async def _place(self, judged: AcceptedBatch) -> list[Placed]:
        sender = judged.accepted.sender if judged.accepted is not None else self._sender
        cluster = sender.cluster if sender is not None else judged.envelope.cluster or self._core.rules.default_cluster
        placed = await self._publishers[judged.envelope.signal].batch(
            judged.envelope, judged.accepted, cluster, sender.tenant if sender is not None else ""
        )
        if self._sender is not None:
            size = sum(len(part.payload) for part in judged.accepted.parts) if judged.accepted is not None else 0
            self._sender.took(size, judged.envelope.signal, judged.envelope.items)
        return placed

    def _may_follow(self, lane: Lane, ack: Ack) -> bool:
        """Tell whether a batch may be appended, after what failed before it in its lane."""
        # One that failed and is not answered yet blocks the lane already.
        failing = lane.pending and any(placed.done() and error_of(placed) for placed in lane.pending[-1].placed)
        if not failing and (lane.blocked is None or ack.sequence <= lane.blocked):
            lane.blocked = None
            return True
        if self._answer_each:
            self._postpone(lane, ack, Refusal(503, "a batch before it was not taken", 0.0))
        return False

    def _postpone(self, lane: Lane, ack: Ack, refusal: Refusal) -> None:
        _ask_again(lane, ack, refusal)
        lane.pending.append(Pending(ack))
        self._something.set()

    def _refuse(self, refusal: Refusal, place: tuple[str, int, int] | None) -> None:
        """Answer a batch that was refused: forbidden, unreadable, to be sent again, or never to be taken."""
        if refusal.status == 403 or place is None:
            self.stopped = refusal
            return
        signal, number, sequence = place
        ack = Ack(signal=signal, lane=number, sequence=sequence, status=Ack.REFUSED, reason=refusal.reason)
        lane = self._lanes.setdefault((signal, number), Lane())
        if not self._may_follow(lane, ack):
            return
        if refusal.status == 503:
            self._postpone(lane, ack, refusal)
            return
        lane.pending.append(Pending(ack))
        self._something.set()

    def _answer_lane(self, lane: Lane) -> list[Ack]:
        acks: list[Ack] = []
        while lane.pending and lane.pending[0].done:
            ack = self._answer(lane, lane.pending.popleft())
            if ack is None:
                continue
            if acks and not self._answer_each and is_covered(acks[-1], ack):
                acks.pop()
            acks.append(ack)
        return acks

    def _answer(self, lane: Lane, pending: Pending) -> Ack | None:
        """Return a done batch's acknowledgement, None where an earlier one says it all."""
        core, ack = self._core, pending.ack
        core.in_flight.release(pending.reserved)
        error = next((error for placed in pending.placed if (error := error_of(placed)) is not None), None)
        if error is not None:
            pending.span.end(str(error))
            if lane.blocked is not None and ack.sequence > lane.blocked and not self._answer_each:
                return None
            _ask_again(lane, ack, log_refusal(error))
        elif pending.judged is not None and pending.judged.accepted is not None:
            accepted = pending.judged.accepted
            self._publishers[accepted.codec.signal].count(accepted)
            ack.refused_items = sum(refused.items for refused in accepted.refused)
            ack.reason = show_refused(accepted)
            pending.span.note(refused=ack.refused_items)
        pending.span.end()
        core.metrics.requests.labels(self._protocol, Ack.Status.Name(ack.status).lower()).inc()
        return ack

    def _release_when_done(self, pending: Pending) -> None:
        waiting = [placed for placed in pending.placed if not placed.done()]
        if not waiting:
            self._core.in_flight.release(pending.reserved)
            return
        # The last one to be done is the last one placed, or all fail together.
        waiting[-1].add_done_callback(lambda _: self._core.in_flight.release(pending.reserved))


def _ask_again(lane: Lane, ack: Ack, refusal: Refusal) -> None:
    """Have a batch sent again, and nothing of its lane above it before that."""
    ack.status = Ack.RETRY
    ack.retry_after_ms = int((refusal.retry_after_s or 0.0) * 1000)
    ack.reason = refusal.reason
    lane.blocked = ack.sequence if lane.blocked is None else min(lane.blocked, ack.sequence)
