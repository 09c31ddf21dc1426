"""One partition of one sink: in order from the log, judged, joined, sent within the window, settled, committed.

    offer → queue → admit (judge; window) → streams by (cluster, tenant) → request → answer → commit → settled

A stream has one request in flight, so that order holds within a cluster and tenant; streams are independent.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Coroutine, Sequence
from typing import Any

from ingester.deliver import Context, Shipment
from ingester.examine import Examiner
from ingester.ledger import Counts
from ingester.progress import Progress
from ingester.stream import Entry, Stream, StreamKey, next_request, ranges
from pipeline.delivery import Backoff, Retry
from pipeline.errors import TransientError
from pipeline.log.interface import Partition, Record
from pipeline.wire.envelope import Signal, UnknownVersionError

logger = logging.getLogger(__name__)

_MAX_OPEN_ENTRIES = 20_000
_MIN_QUEUED_BYTES = 2**20


class Feed:
    """One partition's way to the sink. `run` is its task; the consumer's task calls `offer`."""

    def __init__(self, at: Partition, context: Context, progress: Progress, committed: int) -> None:
        self.at = at
        self.committed = committed
        self.stuck = ""
        """Why this partition cannot go on, where it cannot."""
        self.dirty = False
        """The progress has changed since it was last written down."""
        self.queued_bytes = 0
        self._context = context
        self._progress = progress
        self._examiner = Examiner(context.config, progress)
        self._next_offset = progress.offset
        self._queue: deque[Record] = deque()
        self._head: Entry | None = None
        self._open: deque[Entry] = deque()
        self._open_items = 0
        self._streams: dict[StreamKey, Stream] = {}
        self._in_flight: set[asyncio.Task[None]] = set()
        self._committing: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._stopping = asyncio.Event()
        self._was_full = False

    # What the consumer's task calls.

    def offer(self, records: Sequence[Record]) -> None:
        """Take the next records; the caller pauses the partition while `full`."""
        for record in records:
            if record.offset < self._next_offset:
                continue
            self._next_offset = record.offset + 1
            self._queue.append(record)
            self._hold(len(record.payload))
        self._was_full = self.full
        self._wake.set()

    @property
    def full(self) -> bool:
        """Tell whether there is enough for now; a partition that stands still leaves half of the room to the others."""
        budget, queued = self._context.budget, self.queued_bytes
        return queued >= _MIN_QUEUED_BYTES and (queued >= budget.max_bytes // 2 or budget.used >= budget.max_bytes)

    @property
    def next_offset(self) -> int:
        """The offset behind the last record taken."""
        return self._next_offset

    def oldest_ms(self) -> int | None:
        """Return when the oldest record that is not settled was appended; None where everything taken is settled."""
        if self._open:
            return self._open[0].append_ms
        return self._queue[0].append_time_ms if self._queue else None

    def trouble(self) -> list[tuple[str, str, Retry]]:
        """Return (cluster, tenant, what the store answers) of the streams that are being tried again."""
        return [(s.cluster, s.tenant, s.trouble) for s in self._streams.values() if s.trouble is not None]

    def progress(self) -> Progress:
        """Return what is settled as of the committed offset; not to be changed."""
        return self._progress

    def forget(self, before_ms: int) -> None:
        """Forget lanes that were not seen since."""
        self._progress.settled.forget(before_ms)
        self._examiner.forget(before_ms)

    # The partition's own task.

    async def run(self) -> None:
        """Work until `stop`."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._wake.clear()
                if not self._stopping.is_set():
                    self._admit(tasks)
                    self._dispatch(tasks)
                self._park(tasks)
                self._commit(tasks)
                if self._stopping.is_set() and not self._in_flight and self._committing is None:
                    return
                await self._wake.wait()

    async def stop(self, running: asyncio.Task[None], timeout_s: float) -> bool:
        """Send nothing more, wait for answers, commit; True when nothing sent is left without its commit."""
        self._stopping.set()
        self._wake.set()
        _, pending = await asyncio.wait([running], timeout=timeout_s)
        if pending:
            # What is in flight now is in doubt for the next owner.
            running.cancel()
            await asyncio.wait([running])
        self._mark_ahead()
        self._hold(-self.queued_bytes)
        return not pending and not any(entry.sent and not entry.done for entry in self._open)

    def _admit(self, tasks: asyncio.TaskGroup) -> None:
        """Take records from the queue as far as the window allows."""
        while self._queue and not self.stuck and len(self._open) < _MAX_OPEN_ENTRIES:
            record = self._queue[0]
            if record.offset < self.committed:
                self._queue.popleft()
                self._release(len(record.payload))
                self._examiner.replay(record, self._progress)
                self.dirty = True
                continue
            try:
                entry = self._head = self._head or self._examiner.examine(record)
            except UnknownVersionError as error:
                self.stuck = f"{self.at.topic}/{self.at.number} offset {record.offset}: {error}"
                logger.error("partition stands still", extra={"partition": self.at, "reason": self.stuck})
                return
            if entry.items and not self._within_window(entry.items):
                return
            self._queue.popleft()
            self._head = None
            self._take(entry, tasks)

    def _within_window(self, items: int) -> bool:
        return self._open_items == 0 or self._open_items + items < self._context.config.window

    def _take(self, entry: Entry, tasks: asyncio.TaskGroup) -> None:
        self._examiner.admit(entry)
        self._open.append(entry)
        if entry.poison:
            self._start(tasks, self._bury(entry), f"bury {self.at} {entry.offset}")
        elif entry.items:
            self._open_items += entry.items
            entry.counted = True
            stream = self._streams.get((entry.cluster, entry.tenant))
            if stream is None:
                stream = self._streams[entry.cluster, entry.tenant] = Stream(entry.cluster, entry.tenant)
            stream.waiting.append(entry)
            stream.items += entry.items
        else:
            self._done(entry)

    # Sending.

    def _dispatch(self, tasks: asyncio.TaskGroup) -> None:
        """Start a request for every stream that has none in flight."""
        config = self._context.config
        late_first = self._context.sink.signal is Signal.METRICS
        # A request that is not full waits for the commit that is under way, if more records are there to fill it.
        hold = self._committing is not None and bool(self._queue)
        for stream in self._streams.values():
            if stream.task is None and stream.waiting and (not hold or stream.items >= config.request_items):
                entries = next_request(stream, config.request_items, config.request_bytes(), late_first=late_first)
                for entry in entries:
                    # What was parked counts again, now that it is sent.
                    self._open_items += 0 if entry.counted else entry.items
                    entry.counted = entry.sent = True
                stream.task = self._start(tasks, self._deliver(stream, entries), f"deliver {self.at} {stream.cluster}")

    def _start(self, tasks: asyncio.TaskGroup, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = tasks.create_task(work, name=name)
        self._in_flight.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._in_flight.discard(task)
        self._wake.set()

    async def _deliver(self, stream: Stream, entries: list[Entry]) -> None:
        if await Shipment(self._context, stream, entries, self._stopping).deliver():
            stream.task = None
            for entry in entries:
                self._done(entry)

    async def _bury(self, entry: Entry) -> None:
        context, record = self._context, entry.record
        assert record is not None
        context.metrics.poison.labels(context.config.name).inc()
        logger.error("poison record", extra={"partition": self.at, "offset": entry.offset, "reason": entry.poison})
        await context.dead_letters.bury(record, record.payload, entry.counts.rejected, status=0, reason=entry.poison)
        self._done(entry)

    def _done(self, entry: Entry) -> None:
        entry.done = True
        if entry.record is not None:
            self._release(len(entry.record.payload))
            entry.record = None

    def _hold(self, size: int) -> None:
        self.queued_bytes += size
        self._context.budget.used += size

    def _release(self, size: int) -> None:
        self._hold(-size)
        # Fetching begins again well before the queue is empty, since the next records are a round trip away.
        if self._was_full and self.queued_bytes < max(_MIN_QUEUED_BYTES, self._context.budget.max_bytes // 2) // 2:
            self._was_full = False
            self._context.room(self.at)

    # Settling.

    def _park(self, tasks: asyncio.TaskGroup) -> None:
        """Let others go on where a tenant in trouble holds the commit back and the window is full.

        What they have settled is written down as `ahead`, and does not count towards the window any more; neither does
        what waits for the tenant in trouble, since none of it is sent. The bound in bytes still holds.
        """
        if self._committing is not None or self._head is None or not self._open or self._open[0].done:
            return
        head = self._open[0]
        stream = self._streams.get((head.cluster, head.tenant))
        if stream is None or stream.trouble is None:
            return
        waiting = [e for s in self._streams.values() if s.trouble is not None for e in s.waiting if e.counted]
        settled = [entry for entry in self._open if entry.done and entry.counted]
        if waiting or settled:
            self._committing = tasks.create_task(self._write_ahead(waiting + settled), name=f"park {self.at}")

    def _mark_ahead(self) -> None:
        if self._open:
            self._progress.ahead = ranges(self._open) + self._examiner.ahead_beyond(self._open[-1].offset)
            self._progress.parked = True

    async def _write_ahead(self, entries: list[Entry]) -> None:
        progress, backoff = self._progress, Backoff()
        self._mark_ahead()
        while not self._stopping.is_set():
            try:
                await self._context.write(self.at, progress)
            except TransientError as error:
                logger.warning("settled state not written", extra={"partition": self.at, "reason": str(error)})
                await asyncio.sleep(backoff.next_s(error.retry_after_s))
                continue
            for entry in entries:
                # What began to be sent meanwhile counts.
                if entry.counted and (entry.done or not entry.sent):
                    entry.counted = False
                    self._open_items -= entry.items
            break
        self._committing = None
        self._wake.set()

    def _commit(self, tasks: asyncio.TaskGroup) -> None:
        """Begin to commit what is done without a gap, if no commit is under way."""
        if self._committing is not None or not self._open or not self._open[0].done:
            return
        done: list[Entry] = []
        for entry in self._open:
            if not entry.done:
                break
            done.append(entry)
        self._committing = tasks.create_task(self._commit_up_to(done), name=f"commit {self.at}")

    async def _commit_up_to(self, done: list[Entry]) -> None:
        target, backoff = done[-1].offset + 1, Backoff()
        while True:
            try:
                await self._context.commit(self.at, target)
            except TransientError as error:
                logger.warning("commit failed", extra={"partition": self.at, "offset": target, "reason": str(error)})
                if self._stopping.is_set():
                    self._committing = None
                    self._wake.set()
                    return
                await asyncio.sleep(backoff.next_s(error.retry_after_s))
            else:
                break
        self._settle(done, target)

    def _settle(self, done: list[Entry], target: int) -> None:
        progress = self._progress
        sums: dict[str, Counts] = {}
        for entry in done:
            self._open.popleft()
            if entry.counted:
                self._open_items -= entry.items
            if entry.verdict is not None:
                progress.settled.apply(entry.verdict)
                entry.counts.delivered = entry.counts.received - entry.counts.rejected
                sums.setdefault(entry.cluster, Counts()).add(entry.counts)
        for cluster, counts in sums.items():
            progress.ledger.setdefault(cluster, Counts()).add(counts)
            self._tell(cluster, counts)
        self.committed = progress.offset = target
        progress.head_ms = done[-1].append_ms
        progress.ahead = [span for span in progress.ahead if span[1] > target]
        progress.parked = progress.parked and any(entry.items and not entry.counted for entry in self._open)
        self.dirty = True
        self._committing = None
        self._wake.set()

    def _tell(self, cluster: str, counts: Counts) -> None:
        metrics = self._context.metrics
        if counts.rejected:
            self._context.hurry()
        for counter, items in (
            (metrics.received, counts.received),
            (metrics.delivered, counts.delivered),
            (metrics.rejected, counts.rejected),
            (metrics.missing, max(0, counts.missing)),
            (metrics.late, max(0, -counts.missing)),
            (metrics.duplicated, counts.duplicated),
        ):
            if items:
                counter.labels(self._context.config.name, cluster).inc(items)
