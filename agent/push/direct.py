"""Sends the buffer straight to a receiver (remote write, or Loki), for set-ups that need no gateway.

Each lane is delivered by itself, in order; consecutive batches of a tenant are joined as bytes. What the receiver
refuses for good is counted and logged in its own words: an agent has no dead letters.
"""

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final, Protocol

from agent.push.lanes import WINDOW_BATCHES
from agent.push.standing import Standing
from agent.signal_buffer import SignalBuffer
from pipeline.delivery import Rejected
from pipeline.errors import PipelineError
from pipeline.log.interface import Record
from pipeline.send.deliver import Note, Refuse, Tally
from pipeline.send.request import Piece
from pipeline.telemetry import AgentMetrics
from pipeline.tracing import NO_SPAN, OFF, Span, Tracing
from pipeline.wire.envelope import from_headers

logger = logging.getLogger(__name__)

READ_BYTES: Final = 2 * 2**20
MAX_ITEMS: Final = 10_000
"""Samples or entries that are joined into one request; a larger batch goes by itself."""

MAX_BYTES: Final = 64 * 2**20
"""The same in bytes, uncompressed."""


class Receiver(Protocol):
    """The client of one receiver: `pipeline.send.remote_write.RemoteWrite`, `pipeline.send.loki.client.Loki`."""

    async def start(self) -> None:
        """Make ready."""

    async def close(self) -> None:
        """Close every connection."""

    async def deliver(
        self, pieces: Sequence[Piece], refuse: Refuse, *, tenant: str = "", note: Note | None = None
    ) -> Tally:
        """Send until everything is delivered or was handed to `refuse`; waits as long as the receiver is down."""


class Rewrite(Protocol):
    """What a receiver is to get instead of what the buffer holds."""

    def apply(self, payload: bytes) -> tuple[bytes, int]:
        """Return a payload anew, and how many items it has; empty where nothing is left."""


@dataclass(slots=True)
class DirectPush:
    """Delivers every lane to one receiver; `name` is the destination's name in the buffer."""

    name: str
    buffer: SignalBuffer
    client: Receiver
    metrics: AgentMetrics
    max_items: int = MAX_ITEMS
    max_bytes: int = MAX_BYTES
    """How long the batches of one request are together, uncompressed; a longer one goes by itself."""
    rewrite: Rewrite | None = None
    tracing: Tracing = OFF
    _more: dict[int, asyncio.Event] = field(default_factory=dict)
    _standing: Standing = field(init=False)

    def __post_init__(self) -> None:
        self._standing = Standing(self.name, self.metrics)

    def trouble(self) -> str | None:
        """Return why batches do not get through just now, or None."""
        return self._standing.trouble()

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
            for group in joined(within, self.max_items, self.max_bytes):
                pieces = await self._rewritten(
                    [
                        piece
                        for source, record in enumerate(group)
                        if (piece := _piece(record, source, doubt_end)) is not None
                    ]
                )
                await self._settle_before(lane, group[-1].offset)
                if pieces:
                    with self._span(lane, group) as span:
                        tenant = from_headers(group[0].headers).tenant
                        note = partial(self._standing.note, lane)
                        tally = await self.client.deliver(pieces, self._refuse, tenant=tenant, note=note)
                        span.note(delivered=tally.delivered, already=tally.already, refused=tally.refused)
                    self.metrics.sent_bytes.labels(self.name).inc(sum(len(piece.payload) for piece in pieces))
                sequence = _behind(group[-1])
                self.buffer.acknowledge(self.name, lane, sequence)

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
        self.buffer.refused(self.name, piece.items)
        lost = f"{piece.items} {self.buffer.items}"
        logger.error("%s refused %s, they are lost: %s", self.name, lost, refusal.reason)


def joined(records: Sequence[Record], max_items: int, max_bytes: int) -> list[list[Record]]:
    """Group consecutive records of one tenant so that no group has more items or bytes, unless one record has."""
    groups: list[list[Record]] = []
    room = room_bytes = 0
    tenant = ""
    for record in records:
        envelope = from_headers(record.headers)
        other = envelope.tenant != tenant and envelope.gap_to is None
        if not groups or other or envelope.items > room or envelope.raw_bytes > room_bytes:
            groups.append([])
            room, room_bytes, tenant = max_items, max_bytes, envelope.tenant
        groups[-1].append(record)
        room -= envelope.items
        room_bytes -= envelope.raw_bytes
    return groups


def _piece(record: Record, source: int, doubt_end: int) -> Piece | None:
    envelope = from_headers(record.headers)
    if envelope.gap_to is not None:
        return None  # counted and logged when it was evicted
    return Piece(record.payload, envelope.items, in_doubt=record.offset < doubt_end, envelope=envelope)


def _behind(record: Record) -> int:
    gap_to = from_headers(record.headers).gap_to
    return (record.offset if gap_to is None else gap_to) + 1
