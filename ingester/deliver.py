"""The way of a stream's records to the store: send, remember what keeps it from going on, bury what is refused."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from ingester.config import SinkConfig
from ingester.dead_letters import DeadLetters
from ingester.progress import Progress
from ingester.sinks import Sink
from ingester.stream import Entry, Stream
from pipeline.delivery import Delivered, Outcome, Partly, Rejected, Retry
from pipeline.log.interface import Partition
from pipeline.send.codec import CODECS
from pipeline.send.deliver import Delivery
from pipeline.send.request import Piece, Request
from pipeline.telemetry import IngesterMetrics
from pipeline.tracing import NO_SPAN, Span, Tracing

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Budget:
    """Payload bytes that the feeds of one sink hold; each may hold a megabyte whatever the others do."""

    max_bytes: int
    used: int = 0


@dataclass(frozen=True, slots=True)
class Context:
    """What all partitions of a sink share."""

    config: SinkConfig
    sink: Sink
    dead_letters: DeadLetters
    metrics: IngesterMetrics
    clock: Callable[[], float]
    commit: Callable[[Partition, int], Awaitable[None]]
    write: Callable[[Partition, Progress], Awaitable[None]]
    """Writes progress down, durably."""
    hurry: Callable[[], None]
    """Called when the progress should be written down at once: something was rejected."""
    room: Callable[[Partition], None]
    """Called when a feed that was full has room again."""
    budget: Budget
    tracing: Tracing


class _StoppedError(Exception):
    """A stream in trouble was left as it is, because its partition is let go."""


@dataclass(frozen=True, slots=True)
class Shipment:
    """Consecutive records of one stream, on their way. `stopping` is set when the partition is to be let go."""

    context: Context
    stream: Stream
    entries: list[Entry]
    stopping: asyncio.Event

    async def deliver(self) -> bool:
        """Settle every record; False where it was given up between two tries, because the partition is let go."""
        pieces = [
            Piece(entry.record.payload, entry.counts.received, index, entry.doubt, entry.envelope)
            for index, entry in enumerate(self.entries)
            if entry.record is not None
        ]
        stream, codec = self.stream, CODECS[self.context.sink.signal]
        request = Request(pieces, codec, stream.cluster, stream.tenant)
        backoff = self.context.config.backoff()
        with self._span(request) as span:
            delivery = Delivery(partial(self._send, span), self._refuse, backoff=backoff, sleep=self._rest)
            try:
                tally = await delivery.run(request)
            except _StoppedError:
                span.note(given_up=True)
                return False
            span.note(delivered=tally.delivered, already=tally.already, refused=tally.refused)
        self.entries[0].counts.already += tally.already
        return True

    def _span(self, request: Request) -> Span:
        tracing = self.context.tracing
        if not tracing.on:
            return NO_SPAN
        parents = [entry.traceparent for entry in self.entries if entry.traceparent]
        records, items = len(request.pieces), request.items
        return tracing.span("deliver", parents, **self._attributes(records=records, items=items))

    async def _send(self, above: Span, request: Request) -> Outcome:
        context = self.context
        name, started_s = context.config.name, context.clock()
        payload_bytes = sum(len(piece.payload) for piece in request.pieces)
        with above.child("send", items=request.items, payload_bytes=payload_bytes) as span:
            outcome = await context.sink.send(request)
            span.note(outcome=type(outcome).__name__.lower())
        context.metrics.request_seconds.labels(name).observe(context.clock() - started_s)
        context.metrics.requests.labels(name, type(outcome).__name__.lower()).inc()
        self._note(outcome)
        return outcome

    async def _refuse(self, piece: Piece, refusal: Rejected) -> None:
        entry = self.entries[piece.source]
        assert entry.record is not None
        await self.context.dead_letters.bury(
            entry.record, piece.payload, piece.items, status=refusal.status, reason=refusal.reason
        )
        entry.counts.rejected += piece.items
        logger.error("items refused by the store", extra=self._attributes(items=piece.items, reason=refusal.reason))

    async def _rest(self, delay_s: float) -> None:
        """Wait before the next try; raises _StoppedError when the partition is to be let go: nothing is in flight."""
        try:
            async with asyncio.timeout(delay_s):
                await self.stopping.wait()
        except TimeoutError:
            return
        raise _StoppedError

    def _note(self, outcome: Outcome) -> None:
        """Remember and log what keeps the stream from going on."""
        before = self.stream.trouble
        retry = outcome.retry if isinstance(outcome, Partly) else outcome
        now = self.stream.trouble = retry if isinstance(retry, Retry) else None
        if now is not None and now.reason != (before.reason if before else None):
            level = logging.ERROR if now.alarm else logging.WARNING
            logger.log(level, "store does not take it, trying again", extra=self._attributes(reason=now.reason))
        elif before is not None and isinstance(outcome, Delivered | Partly):
            logger.info("store takes it again", extra=self._attributes())

    def _attributes(self, **more: str | int) -> dict[str, str | int]:
        stream = self.stream
        return {"sink": self.context.config.name, "cluster": stream.cluster, "tenant": stream.tenant, **more}
