"""The buffer of scraped batches, which may be evicted.

At its bound, in bytes or age, the oldest go, and a gap record travels in their place; batches that may already be on
their way are never touched, since nobody could say whether they are lost. Logs have a buffer beside it that evicts
nothing (`agent.logs.buffer`).
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Final

from agent.buffer_file import BufferFile, Identity
from agent.part import Part
from agent.push.lanes import WINDOW_BATCHES
from agent.signal_buffer import SignalBuffer
from pipeline.errors import PipelineError
from pipeline.log.interface import Appending, LogFullError, Partition
from pipeline.wire.envelope import METRICS_ENCODING, Headers, Signal, from_headers, to_headers

__all__ = ["EVICT_BATCHES", "Buffer", "BufferFile", "Identity"]

logger = logging.getLogger(__name__)

Numbered = tuple[Headers, Part]
"""A batch as it is kept; the log writes its number into the headers."""

EVICT_BATCHES: Final = 16
"""Batches that make room at once: few enough that little goes, many enough that not every append has to evict."""
MAKE_ROOM_TRIES: Final = 64


@dataclass(slots=True)
class Buffer(SignalBuffer):
    """Batches between scraping and sending."""

    max_age_s: float
    _room: asyncio.Lock = field(default_factory=asyncio.Lock)

    signal: ClassVar[Signal] = Signal.METRICS
    encoding: ClassVar[str] = METRICS_ENCODING
    items: ClassVar[str] = "samples"

    def __post_init__(self) -> None:
        self.file.evict_scraped = self._make_room

    async def put(self, lane: int, parts: Sequence[Part]) -> None:
        """Keep parts as batches of a lane; they are on disk when this returns.

        Where the disk does not take them, or there is no room that may be made, they are dropped, counted and logged:
        the latter only when what is left in the buffer may be on its way already.
        """
        at = self.partition(lane)
        left = [(to_headers(self.envelope(lane, part, traceparent=part.traceparent)), part) for part in parts]
        why_not: PipelineError | None = None
        for _ in range(MAKE_ROOM_TRIES):
            left, why_not = await self._append(at, left)
            if not isinstance(why_not, LogFullError):
                break
            if not await self._make_room():
                break
        if left:
            samples = sum(part.items for _, part in left)
            self.metrics.dropped.inc(samples)
            logger.error("%d samples are dropped: %s", samples, why_not, extra={"lane": lane})
        self.tell_changed()

    async def _append(self, at: Partition, batches: list[Numbered]) -> tuple[list[Numbered], PipelineError | None]:
        """Append batches to a lane; return those that the log did not take, and why. The others are on disk."""
        placed: list[Appending] = []
        why_not: PipelineError | None = None
        try:
            for headers, part in batches:
                placed.append(await self.log.append_numbered(at, headers, part.payload))
        except PipelineError as error:
            why_not = error
        for done, appending in enumerate(placed):
            try:
                await appending
            except PipelineError as error:
                # What was placed behind a failed append has failed too.
                return batches[done:], error
            self.metrics.buffered_samples.inc(batches[done][1].items)
        return batches[len(placed) :], why_not

    async def evict_old(self) -> None:
        """Evict what is older than the bound; the gap records that stand for it are small and stay."""
        async with self._room:
            bound_ms = int((self.clock() - self.max_age_s) * 1000)
            while (oldest := await self._oldest()) is not None and oldest[0] < bound_ms:
                _, lane, first, last = oldest
                young = await self.log.offset_at(self.partition(lane), bound_ms)
                await self._evict(lane, first, min(last, young - 1))

    async def _make_room(self) -> bool:
        """Evict the oldest batches that cannot be on their way yet; returns False where there are none.

        Or where the disk does not even take that they go.
        """
        async with self._room:
            try:
                oldest = await self._oldest()
                if oldest is not None:
                    await self._evict(*oldest[1:])
            except PipelineError as error:
                logger.error("no room can be made in the buffer: %s", error)
                return False
            return oldest is not None

    async def _oldest(self) -> tuple[int, int, int, int] | None:
        """Return (time in ms, lane, first, last) of the lane whose oldest evictable batches are the oldest of all."""
        found = []
        for lane in range(self.identity.lanes):
            # A gap record, if this is where evicting has begun before, and the batch behind it.
            first = self.everybody_has(lane) + WINDOW_BATCHES
            end = self.bounds(lane)[1]
            if first >= end:
                continue
            head = await self.read(lane, first, max_bytes=1)
            gap_to = from_headers(head[0].headers).gap_to if head else None
            if gap_to is not None:
                first, head = head[0].offset, await self.read(lane, gap_to + 1, max_bytes=1)
            if head:
                last = min(head[0].offset + EVICT_BATCHES, end) - 1
                found.append((head[0].append_time_ms, lane, first if gap_to is not None else head[0].offset, last))
        return min(found, default=None)

    async def _evict(self, lane: int, first: int, last: int) -> None:
        gap = self.envelope(lane, Part(b"", 0, 0, 0, 0))
        before = from_headers((await self.read(lane, first, max_bytes=1))[0].headers)
        items = await self.log.evict(self.partition(lane), first, last, to_headers(gap))
        lost = items - (before.items if before.gap_to is not None else 0)
        self.metrics.evicted.inc(lost)
        logger.error(
            "the buffer is full or too old: %d samples are lost, and a gap record says so downstream",
            lost,
            extra={"lane": lane, "from": first, "to": last},
        )
        self.tell_changed()
