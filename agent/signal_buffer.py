"""What the buffers of metrics and logs have in common: lanes of numbered batches, and what each destination has of it.

A signal is a topic of the buffer's file, with a lane as partition, so a record's offset is the batch's sequence
(ARCHITECTURE 2). A batch is on disk before it is sent, and leaves when every destination has it.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from agent.buffer_file import BufferFile, Identity
from pipeline.errors import PermanentError
from pipeline.log.interface import Partition, Record, TopicSpec
from pipeline.log.sqlite import SqliteLog
from pipeline.telemetry import AgentMetrics
from pipeline.wire.envelope import Envelope, Signal, crc32c, lane_of


class Batch(Protocol):
    """What every signal's batches have: a payload, and what its envelope says of it. Times are Unix milliseconds."""

    @property
    def payload(self) -> bytes: ...  # noqa: D102
    @property
    def items(self) -> int: ...  # noqa: D102
    @property
    def raw_bytes(self) -> int: ...  # noqa: D102
    @property
    def earliest_ms(self) -> int: ...  # noqa: D102
    @property
    def latest_ms(self) -> int: ...  # noqa: D102


@dataclass(slots=True)
class SignalBuffer:
    """Batches of one signal on their way to its destinations. Used on one event loop; `clock` gives Unix seconds."""

    file: BufferFile
    destinations: Sequence[str]
    metrics: AgentMetrics
    clock: Callable[[], float] = field(default=time.time, kw_only=True)
    _changed: dict[str, asyncio.Event] = field(default_factory=dict, init=False)
    _acknowledged: dict[str, dict[int, int]] = field(default_factory=dict, init=False)
    _progress: asyncio.Event = field(default_factory=asyncio.Event, init=False)

    signal: ClassVar[Signal]
    encoding: ClassVar[str]
    items: ClassVar[str]
    """What its items are called."""

    @property
    def log(self) -> SqliteLog:
        """The log that it lies in."""
        return self.file.log

    @property
    def identity(self) -> Identity:
        """Whose batches these are."""
        return self.file.identity

    async def start(self) -> None:
        """Open the file where no other signal has, and see where each destination stands; raises PermanentError."""
        await self.file.start()
        lanes = await self.log.ensure_topic(TopicSpec(self.signal, self.identity.lanes))
        if lanes != self.identity.lanes:
            raise PermanentError(
                f"the buffer was made with {lanes} lanes, the configuration says {self.identity.lanes}: let it drain"
                " with `lanes` as it was, then remove the folder and change the number (on all the cluster's agents)"
            )
        for name in self.destinations:
            self._acknowledged[name] = {lane: self.settled(name, lane) for lane in range(lanes)}
            self._changed[name] = asyncio.Event()

    async def close(self) -> None:
        """Let go of the file, for all signals; what is buffered stays for the next start."""
        await self.file.close()

    def partition(self, lane: int) -> Partition:
        """Return the log's partition of a lane."""
        return Partition(self.signal, lane)

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

    def tell_changed(self) -> None:
        """Tell every destination that there is more to send."""
        for event in self._changed.values():
            event.set()

    def lane_of(self, source: str) -> int:
        """Return the lane of a source (a target, a file), the same on every agent of the cluster."""
        return lane_of(source, self.identity.lanes)

    def envelope(self, lane: int, batch: Batch, *, tenant: str = "", traceparent: str = "") -> Envelope:
        """Return the envelope of a batch that is about to be kept; the log numbers it."""
        return Envelope(
            signal=self.signal,
            encoding=self.encoding,
            cluster=self.identity.cluster,
            agent=self.identity.agent,
            epoch=self.log.epoch,
            lane=lane,
            sequence=0,
            items=batch.items,
            raw_bytes=batch.raw_bytes,
            created_ms=int(self.clock() * 1000),
            earliest_ms=batch.earliest_ms,
            latest_ms=batch.latest_ms,
            crc32c=crc32c(batch.payload),
            tenant=tenant,
            traceparent=traceparent,
        )

    async def read(self, lane: int, sequence: int, *, max_bytes: int) -> Sequence[Record]:
        """Return a lane's batches from a sequence on, as many as fit, at least one where there is one."""
        return await self.log.read(self.partition(lane), sequence, max_bytes=max_bytes)

    def acknowledge(self, destination: str, lane: int, behind: int) -> None:
        """Note that a destination has everything before `behind`; `settle` makes it durable."""
        self._acknowledged[destination][lane] = behind
        self._progress.set()

    def everybody_has(self, lane: int) -> int:
        """Return a lane's lowest sequence that some destination has not acknowledged; its end where there is none."""
        return min((lanes[lane] for lanes in self._acknowledged.values()), default=self.bounds(lane)[1])

    def refused(self, destination: str, items: int) -> None:
        """Count what a destination refused for good."""
        counter = self.metrics.refused if self.signal is Signal.METRICS else self.metrics.refused_entries
        counter.labels(destination).inc(items)

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
        done = {lane: self.everybody_has(lane) for lane in range(self.identity.lanes)}
        steps += [
            self.log.delete_before(self.partition(lane), upto)
            for lane, upto in done.items()
            if upto > self.bounds(lane)[0]
        ]
        # Placed together they are one transaction of the log's group commit.
        await asyncio.gather(*steps)
        self.metrics.buffered_bytes.set(self.log.stored_bytes())
