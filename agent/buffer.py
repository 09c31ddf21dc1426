"""The agent's disk buffer: every batch is on disk before it is sent, and leaves when every destination has it.

It is the embedded log, with a lane as partition, so a record's offset is the batch's sequence (ARCHITECTURE 2). At
its bound, in bytes or age, only *scraped* batches go, oldest first, and a gap record travels in their place; batches
that may already be on their way are never touched, since nobody could say whether they are lost.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from agent.part import Part
from agent.push.lanes import WINDOW_BATCHES
from pipeline.errors import PermanentError, PipelineError
from pipeline.log.interface import Appending, LogFullError, Partition, Record, TopicSpec
from pipeline.log.sqlite import SqliteLog
from pipeline.telemetry import AgentMetrics
from pipeline.wire.envelope import METRICS_ENCODING, Envelope, Headers, Signal, from_headers, lane_of, to_headers
from pipeline.wire.envelope import crc32c as checksum

logger = logging.getLogger(__name__)

Numbered = tuple[Headers, Part]
"""A batch as it is kept; the log writes its number into the headers."""

_AGENT_KEY: Final = b"agent"
EVICT_BATCHES: Final = 16
"""Batches that make room at once: few enough that little goes, many enough that not every append has to evict."""
MAKE_ROOM_TRIES: Final = 64


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose batches these are."""

    cluster: str
    agent: str
    lanes: int


@dataclass(slots=True)
class Buffer:
    """Batches between scraping and sending. Used on one event loop; `clock` gives Unix seconds."""

    log: SqliteLog
    identity: Identity
    destinations: Sequence[str]
    metrics: AgentMetrics
    max_age_s: float
    clock: Callable[[], float] = time.time
    _changed: dict[str, asyncio.Event] = field(default_factory=dict)
    _acknowledged: dict[str, dict[int, int]] = field(default_factory=dict)
    _room: asyncio.Lock = field(default_factory=asyncio.Lock)
    _progress: asyncio.Event = field(default_factory=asyncio.Event)

    async def start(self) -> None:
        """Open the log and find out where each destination stands; raises PermanentError."""
        await self.log.start()
        lanes = await self.log.ensure_topic(TopicSpec(Signal.METRICS, self.identity.lanes))
        if lanes != self.identity.lanes:
            raise PermanentError(
                f"the buffer was made with {lanes} lanes, the configuration says {self.identity.lanes}: let it drain"
                " with `lanes` as it was, then remove the folder and change the number (on all the cluster's agents)"
            )
        await self._keep_name()
        for name in self.destinations:
            self._acknowledged[name] = {lane: self.settled(name, lane) for lane in range(lanes)}
            self._changed[name] = asyncio.Event()

    async def _keep_name(self) -> None:
        """Number on under the name that the buffered batches were numbered under."""
        kept = (await self.log.state(_AGENT_KEY)).get(_AGENT_KEY)
        if kept is None:
            await self.log.update_state({_AGENT_KEY: self.identity.agent.encode()})
        elif kept.decode() != self.identity.agent:
            logger.warning("the buffer keeps the name it was made under", extra={"agent": kept.decode()})
            self.identity = Identity(self.identity.cluster, kept.decode(), self.identity.lanes)

    async def close(self) -> None:
        """Let go of the log; what is buffered stays for the next start."""
        await self.log.close()

    def partition(self, lane: int) -> Partition:
        """Return the log's partition of a lane."""
        return Partition(Signal.METRICS, lane)

    def bounds(self, lane: int) -> tuple[int, int]:
        """Return the lane's first sequence still held and the one that its next batch will get."""
        return self.log.bounds_now(self.partition(lane))

    def ends(self) -> dict[int, int]:
        """Return the sequence that each lane's next batch will get."""
        return {lane: self.bounds(lane)[1] for lane in range(self.identity.lanes)}

    def acknowledged(self, destination: str) -> dict[int, int]:
        """Return the next sequence that a destination still has to acknowledge, by lane."""
        return dict(self._acknowledged[destination])

    def settled(self, destination: str, lane: int) -> int:
        """Return the sequence from which a start would send again; a new destination's is what the buffer holds."""
        return max(self.log.committed_now(destination).get(self.partition(lane), 0), self.bounds(lane)[0])

    def changed(self, destination: str) -> asyncio.Event:
        """Return the event that is set when there is more to send; the destination clears it."""
        return self._changed[destination]

    def lane_of(self, target: str) -> int:
        """Return the lane of a target's samples, the same on every agent of the cluster."""
        return lane_of(target, self.identity.lanes)

    async def put(self, lane: int, parts: Sequence[Part]) -> None:
        """Keep parts as batches of a lane; they are on disk when this returns.

        Where the disk does not take them, or there is no room that may be made, they are dropped, counted and logged:
        the latter only when what is left in the buffer may be on its way already.
        """
        at = self.partition(lane)
        left = [(to_headers(self._envelope(lane, part)), part) for part in parts]
        why_not: PipelineError | None = None
        for _ in range(MAKE_ROOM_TRIES):
            left, why_not = await self._append(at, left)
            if not isinstance(why_not, LogFullError):
                break
            async with self._room:
                if not await self._make_room():
                    break
        if left:
            samples = sum(part.items for _, part in left)
            self.metrics.dropped.inc(samples)
            logger.error("%d samples are dropped: %s", samples, why_not, extra={"lane": lane})
        for event in self._changed.values():
            event.set()

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

    def _envelope(self, lane: int, part: Part) -> Envelope:
        return Envelope(
            signal=Signal.METRICS,
            encoding=METRICS_ENCODING,
            cluster=self.identity.cluster,
            agent=self.identity.agent,
            epoch=self.log.epoch,
            lane=lane,
            sequence=0,  # the log numbers it
            items=part.items,
            raw_bytes=part.raw_bytes,
            created_ms=int(self.clock() * 1000),
            earliest_ms=part.earliest_ms,
            latest_ms=part.latest_ms,
            crc32c=checksum(part.payload),
            traceparent=part.traceparent,
        )

    async def read(self, lane: int, sequence: int, *, max_bytes: int) -> Sequence[Record]:
        """Return a lane's batches from a sequence on, as many as fit, at least one where there is one."""
        return await self.log.read(self.partition(lane), sequence, max_bytes=max_bytes)

    def acknowledge(self, destination: str, lane: int, behind: int) -> None:
        """Note that a destination has everything before `behind`; `settle` makes it durable."""
        self._acknowledged[destination][lane] = behind
        self._progress.set()

    async def all_acknowledged(self) -> None:
        """Wait until every destination has everything that is in the buffer."""
        while any(lanes != self.ends() for lanes in self._acknowledged.values()):
            self._progress.clear()
            await self._progress.wait()

    async def settle(self) -> None:
        """Write down what is acknowledged, and let go of what every destination has."""
        steps = []
        for name, lanes in self._acknowledged.items():
            known = self.log.committed_now(name)
            moved = {self.partition(n): to for n, to in lanes.items() if known.get(self.partition(n)) != to}
            if moved:
                steps.append(self.log.commit(name, moved))
        for lane in range(self.identity.lanes):
            done = min(lanes[lane] for lanes in self._acknowledged.values())
            if done > self.bounds(lane)[0]:
                steps.append(self.log.delete_before(self.partition(lane), done))
        # Placed together they are one transaction of the log's group commit.
        await asyncio.gather(*steps)
        self.metrics.buffered_bytes.set(self.log.stored_bytes())

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
            first = min(lanes[lane] for lanes in self._acknowledged.values()) + WINDOW_BATCHES
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
        gap = self._envelope(lane, Part(b"", 0, 0, 0, 0))
        before = from_headers((await self.read(lane, first, max_bytes=1))[0].headers)
        items = await self.log.evict(self.partition(lane), first, last, to_headers(gap))
        lost = items - (before.items if before.gap_to is not None else 0)
        self.metrics.evicted.inc(lost)
        logger.error(
            "the buffer is full or too old: %d samples are lost, and a gap record says so downstream",
            lost,
            extra={"lane": lane, "from": first, "to": last},
        )
        for event in self._changed.values():
            event.set()
