"""Between inputs and the buffer: what the sources of a lane give within half a second is one transaction.

A thousand files with a line now and then cost a few batches a second this way, and not a thousand; what is read at full
speed fills batches by itself and waits for nobody. Sources and their positions move together: a take is in one
transaction, whole, and no take of a lane before those that were put first.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from agent.logs.buffer import LogBatch, LogBuffer
from agent.logs.chunk import Chunk, State, Take
from agent.logs.fit import fitting
from pipeline.errors import TransientError
from pipeline.log.interface import LogFullError
from pipeline.wire import snappy

logger = logging.getLogger(__name__)

LINGER_S: Final = 0.5
MAX_WAITING_BYTES: Final = 16 * 2**20
"""Uncompressed bytes that may wait for all lanes; reading waits beyond that."""
BATCH_BYTES: Final = 2**20
"""How long a batch gets before it is compressed, unless one chunk is longer: what Loki's own agents send at once."""
BATCH_ENTRIES: Final = 10_000
TRANSACTION_BYTES: Final = 4 * BATCH_BYTES
"""How much is written at once: a transaction must fit into what is free of a small buffer."""
RETRY_S: Final = 1.0


class _Put(NamedTuple):
    take: Take
    size: int
    kept: "asyncio.Future[None] | None"


@dataclass(slots=True)
class _Lane:
    """What waits to be written to one lane."""

    waiting: deque[_Put] = field(default_factory=deque)
    bytes: int = 0
    entries: int = 0
    some: asyncio.Event = field(default_factory=asyncio.Event)
    enough: asyncio.Event = field(default_factory=asyncio.Event)
    writing: asyncio.Lock = field(default_factory=asyncio.Lock)
    is_cut: bool = False
    """A write was cancelled: nobody knows what became of it, so nothing may be written behind it any more."""


@dataclass(slots=True)
class LogBatcher:
    """The `Keep` of all inputs. `run` is its task; before it ends, and after inputs have, `flush` writes what waits."""

    buffer: LogBuffer
    linger_s: float = LINGER_S
    max_waiting_bytes: int = MAX_WAITING_BYTES
    _state: dict[bytes, bytes] = field(default_factory=dict)
    _lanes: list[_Lane] = field(default_factory=list)
    _bytes: int = 0
    _door: asyncio.Lock = field(default_factory=asyncio.Lock)
    _room: asyncio.Event = field(default_factory=asyncio.Event)
    _trouble: str | None = None

    async def start(self) -> None:
        """Read the state that the buffer holds; call it once the buffer is open, and before anything is put."""
        self._state = dict(await self.buffer.log.state())
        self._lanes = [_Lane() for _ in range(self.buffer.identity.lanes)]

    def state(self, prefix: bytes) -> Mapping[bytes, bytes]:
        """Return what the keys with this prefix hold, as of what was put last: a job begun anew goes on from there."""
        return {key: value for key, value in self._state.items() if key.startswith(prefix)}

    def waits(self) -> bool:
        """Return whether too much waits to be written just now."""
        return self._bytes >= self.max_waiting_bytes or self._door.locked()

    def trouble(self) -> str | None:
        """Return why nothing is kept just now, or None."""
        return self._trouble

    async def put(self, take: Take) -> None:
        """Take entries and state, as `Keep` says; waits while too much waits to be written."""
        await self._put(take, None)
        await _pause(take)

    async def keep(self, take: Take) -> None:
        """Do as `put`, and return when it is on disk."""
        kept = asyncio.get_running_loop().create_future()
        await self._put(take, kept)
        await kept
        await _pause(take)

    async def _put(self, take: Take, kept: "asyncio.Future[None] | None") -> None:
        if self.waits():
            # In the order in which they came, also those of one source.
            async with self._door:
                while self._bytes >= self.max_waiting_bytes:
                    self._room.clear()
                    await self._room.wait()
        lane, size = self._lanes[self.buffer.lane_of(take.lane_key)], 0
        for chunk in take.chunks:
            size += len(chunk.raw)
            lane.entries += chunk.items
        lane.waiting.append(_Put(take, size, kept))
        lane.bytes += size
        self._bytes += size
        for key, value in take.state.items():
            if value is None:
                self._state.pop(key, None)
            else:
                self._state[key] = value
        lane.some.set()
        if lane.bytes >= BATCH_BYTES or lane.entries >= BATCH_ENTRIES:
            lane.enough.set()

    async def run(self) -> None:
        """Write what has waited long enough, or is enough for a batch, until cancelled.

        Ends by itself only where the buffer cannot be written any more at all: raises PermanentError then.
        """
        async with asyncio.TaskGroup() as tasks:
            for number, lane in enumerate(self._lanes):
                tasks.create_task(self._run_lane(number, lane), name=f"logs-lane-{number}")

    async def _run_lane(self, number: int, lane: _Lane) -> None:
        while True:
            await lane.some.wait()
            with suppress(TimeoutError):
                async with asyncio.timeout(self.linger_s):
                    await lane.enough.wait()
            await self._write(number, lane)

    async def flush(self) -> None:
        """Write everything that waits; it is on disk when this returns."""
        await asyncio.gather(*(self._write(number, lane) for number, lane in enumerate(self._lanes)))

    async def _write(self, number: int, lane: _Lane) -> None:
        """Write what waits for a lane now, in as many transactions as that takes."""
        async with lane.writing:
            if lane.is_cut:
                return
            lane.is_cut = True
            waiting, lane.waiting, lane.bytes, lane.entries = lane.waiting, deque(), 0, 0
            lane.some.clear()
            lane.enough.clear()
            while waiting:
                group = _first_of(waiting)
                await self._append(number, group)
                self._bytes -= sum(put.size for put in group)
                self._room.set()
                for put in group:
                    if put.kept is not None and not put.kept.done():
                        put.kept.set_result(None)
            lane.is_cut = False

    async def _append(self, lane: int, group: Sequence[_Put]) -> None:
        """Write takes in one transaction, however often that has to be tried."""
        state: dict[bytes, bytes | None] = {}
        for put in group:
            state.update(put.take.state)
        batches = list[LogBatch]()
        for chunks in _batches(chunk for put in group for chunk in put.take.chunks):
            batches += self._fitting(_batch(chunks))
            await asyncio.sleep(0)
        if sum(len(batch.payload) for batch in batches) > self.buffer.most_at_once_bytes:
            # One read gave more than the whole buffer takes: a kill in between repeats it, waiting would be for ever.
            while len(batches) > 1:
                await self._append_at_once(lane, [batches.pop(0)], {})
        await self._append_at_once(lane, batches, state)

    async def _append_at_once(self, lane: int, batches: Sequence[LogBatch], state: State) -> None:
        while True:
            try:
                await self.buffer.append(lane, batches, state)
            except TransientError as error:
                self._failed(error)
                await asyncio.sleep(error.retry_after_s or RETRY_S)
            else:
                self._succeeded()
                return

    def _fitting(self, batch: LogBatch) -> list[LogBatch]:
        """Return a batch in parts that a record may hold; an entry that is too long for one is counted as dropped."""
        parts = fitting(batch, self.buffer.max_batch_bytes)
        if lost := batch.items - sum(part.items for part in parts):
            self.buffer.metrics.dropped_entries.inc(lost)
            logger.error("%d log entries are lost: longer than a record of the buffer may be", lost)
        return parts

    def _failed(self, error: TransientError) -> None:
        if self._trouble is None:
            waits = "it is full" if isinstance(error, LogFullError) else "it cannot be written"
            logger.warning("logs wait where they are, nothing is lost: the buffer: %s: %s", waits, error)
            self.buffer.metrics.logs_wait.set(1)
        self._trouble = str(error)

    def _succeeded(self) -> None:
        if self._trouble is not None:
            self._trouble = None
            self.buffer.metrics.logs_wait.set(0)
            logger.info("the buffer takes logs again")


def _first_of(waiting: deque[_Put]) -> list[_Put]:
    """Take the first takes off, as many as one transaction holds, at least one."""
    group = [waiting.popleft()]
    size = group[0].size
    while waiting and size + waiting[0].size <= TRANSACTION_BYTES:
        size += waiting[0].size
        group.append(waiting.popleft())
    return group


def _batches(chunks: Iterable[Chunk]) -> list[list[Chunk]]:
    """Group the chunks of each tenant, in their order, as far as they stay within one batch."""
    groups: list[list[Chunk]] = []
    open_: dict[str, tuple[list[Chunk], int, int]] = {}
    for chunk in chunks:
        if not chunk.raw:
            continue
        group, size, entries = open_.get(chunk.tenant, ([], 0, 0))
        if size + len(chunk.raw) > BATCH_BYTES or entries + chunk.items > BATCH_ENTRIES:
            group, size, entries = [], 0, 0
        if not group:
            groups.append(group)
        group.append(chunk)
        open_[chunk.tenant] = group, size + len(chunk.raw), entries + chunk.items
    return groups


def _batch(chunks: Sequence[Chunk]) -> LogBatch:
    raw = b"".join([chunk.raw for chunk in chunks])
    return LogBatch(
        payload=snappy.compress(raw),
        items=sum(chunk.items for chunk in chunks),
        raw_bytes=len(raw),
        earliest_ms=min(chunk.earliest_ms for chunk in chunks),
        latest_ms=max(chunk.latest_ms for chunk in chunks),
        tenant=chunks[0].tenant,
    )


async def _pause(take: Take) -> None:
    """Wait as long as a stage that limits rates says of what it let through."""
    pause_s = max((chunk.pause_s for chunk in take.chunks), default=0.0)
    if pause_s:
        await asyncio.sleep(pause_s)
