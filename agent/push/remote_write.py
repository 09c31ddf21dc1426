"""Sends the buffer straight to a remote-write receiver, for set-ups that need no gateway.

Each lane is delivered by itself, in order; consecutive batches are joined as bytes. What the receiver refuses for good
is counted and logged in its own words: an agent has no dead letters.
"""

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from agent.buffer import Buffer
from agent.push.lanes import WINDOW_BATCHES
from pipeline.delivery import Rejected
from pipeline.errors import PipelineError
from pipeline.log.interface import Record
from pipeline.send.remote_write import RemoteWrite
from pipeline.send.request import Piece
from pipeline.send.rewrite import Rewrite
from pipeline.telemetry import AgentMetrics
from pipeline.tracing import NO_SPAN, OFF, Span, Tracing
from pipeline.wire.envelope import from_headers

logger = logging.getLogger(__name__)

READ_BYTES: Final = 2 * 2**20
MAX_SAMPLES: Final = 10_000
"""Samples that are joined into one request; a larger batch goes by itself."""


@dataclass(slots=True)
class RemoteWritePush:
    """Delivers every lane to one receiver; `name` is the destination's name in the buffer."""

    name: str
    buffer: Buffer
    client: RemoteWrite
    metrics: AgentMetrics
    max_samples: int = MAX_SAMPLES
    rewrite: Rewrite | None = None
    tracing: Tracing = OFF
    _more: dict[int, asyncio.Event] = field(default_factory=dict)
    _sending: int = 0

    def trouble(self) -> str | None:
        """Return None: a receiver that is down shows in what waits, and in the client's own words in the log."""
        return None

    async def run(self) -> None:
        """Deliver until cancelled."""
        await self.client.start()
        starts = self.buffer.acknowledged(self.name)
        self._more = {lane: asyncio.Event() for lane in starts}
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._wake(), name=f"{self.name}-wake")
                for lane, start in starts.items():
                    tasks.create_task(self._deliver(lane, start), name=f"{self.name}-lane-{lane}")
        finally:
            await self.client.close()

    async def _wake(self) -> None:
        changed = self.buffer.changed(self.name)
        while True:
            await changed.wait()
            changed.clear()
            for event in self._more.values():
                event.set()

    async def _deliver(self, lane: int, sequence: int) -> None:
        # What was sent before a crash and not settled: for these batches a refusal as duplicate is success.
        doubt_end = sequence + WINDOW_BATCHES
        while True:
            self._more[lane].clear()
            records = await self.buffer.read(lane, sequence, max_bytes=READ_BYTES)
            if records and records[0].offset > sequence:
                # Evicted for another destination, whose gap record lies behind this one.
                sequence = records[0].offset
                self.buffer.acknowledge(self.name, lane, sequence)
                continue
            # Beyond the window batches may be evicted; what is read here is sent at once, so it must lie within.
            within = [record for record in records if record.offset < sequence + WINDOW_BATCHES]
            if not within:
                await self._more[lane].wait()
                continue
            for group in joined(within, self.max_samples):
                pieces = await self._rewritten(
                    [piece for record in group if (piece := _piece(record, doubt_end)) is not None]
                )
                await self._settle_before(lane, group[-1].offset)
                if pieces:
                    with self._span(lane, group) as span:
                        tally = await self.client.deliver(pieces, self._refuse)
                        span.note(delivered=tally.delivered, already=tally.already, refused=tally.refused)
                    self.metrics.sent_bytes.labels(self.name).inc(sum(len(piece.payload) for piece in pieces))
                sequence = _behind(group[-1])
                self.buffer.acknowledge(self.name, lane, sequence)
                self.metrics.connected.labels(self.name).set(1)

    async def _settle_before(self, lane: int, sequence: int) -> None:
        """Write down what is acknowledged where otherwise more than a window would be in doubt after a crash."""
        if sequence >= self.buffer.settled(self.name, lane) + WINDOW_BATCHES:
            # A disk that is full keeps nobody from sending what is on it.
            with contextlib.suppress(PipelineError):
                await self.buffer.settle()

    def _span(self, lane: int, group: list[Record]) -> Span:
        if not self.tracing.on:
            return NO_SPAN
        parents = [context for record in group if (context := from_headers(record.headers).traceparent)]
        if not parents:
            return NO_SPAN
        sequence, records = group[0].offset, len(group)
        return self.tracing.span("push", parents, destination=self.name, lane=lane, sequence=sequence, records=records)

    async def _rewritten(self, pieces: list[Piece]) -> list[Piece]:
        """Return what this receiver is to get of the pieces; what its rules drop is dropped on purpose."""
        if self.rewrite is None:
            return pieces
        out = []
        for piece in pieces:
            # Python takes microseconds a series: the loop must not wait for thousands of them.
            payload, items = await asyncio.to_thread(self.rewrite.apply, piece.payload)
            if payload:
                out.append(replace(piece, payload=payload, items=items))
        return out

    async def _refuse(self, piece: Piece, refusal: Rejected) -> None:
        self.metrics.refused.labels(self.name).inc(piece.items)
        logger.error("%s refused %d samples, they are lost: %s", self.name, piece.items, refusal.reason)


def joined(records: Sequence[Record], max_samples: int) -> list[list[Record]]:
    """Group consecutive records so that no group has more than `max_samples`, unless one record has."""
    groups: list[list[Record]] = []
    room = 0
    for record in records:
        items = from_headers(record.headers).items
        if not groups or items > room:
            groups.append([])
            room = max_samples
        groups[-1].append(record)
        room -= items
    return groups


def _piece(record: Record, doubt_end: int) -> Piece | None:
    envelope = from_headers(record.headers)
    if envelope.gap_to is not None:
        return None  # counted and logged when it was evicted
    return Piece(record.payload, envelope.items, in_doubt=record.offset < doubt_end)


def _behind(record: Record) -> int:
    gap_to = from_headers(record.headers).gap_to
    return (record.offset if gap_to is None else gap_to) + 1
