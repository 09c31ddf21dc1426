"""One partition of one sink: in order from the log, judged, joined, sent within the window, settled, committed.

    offer → queue → admit (judge; window) → streams by (cluster, tenant) → request → answer → commit → settled

A stream has one request in flight, so that order holds within a cluster and tenant; streams are independent.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field

from crc32c import crc32c

from ingester.config import SinkConfig
from ingester.dead_letters import DeadLetters
from ingester.ledger import Counts
from ingester.progress import Progress
from ingester.settle import LaneKey, Verdict
from ingester.sinks import Sink
from pipeline.delivery import Backoff, Delivered, Outcome, Rejected, Retry
from pipeline.errors import TransientError
from pipeline.log.interface import Partition, Record
from pipeline.send.bisect import Piece
from pipeline.send.deliver import Delivery
from pipeline.telemetry import IngesterMetrics
from pipeline.wire.envelope import Envelope, UnknownVersionError, from_headers
from pipeline.wire.errors import MalformedError

logger = logging.getLogger(__name__)

_MAX_OPEN_ENTRIES = 20_000
_LATE_MS = 60_000
_MIN_QUEUED_BYTES = 2**20
_MAX_REQUEST_RAW_BYTES = 16 * 2**20  # half of what Prometheus takes in one request, decompressed
StreamKey = tuple[str, str]


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
    room: Callable[[Partition], None]
    """Called when a feed that was full has room again."""
    budget: Budget


@dataclass(slots=True, eq=False)
class Entry:
    """An admitted record until it is committed. `items` are those to be sent; `record` is let go of once it is done."""

    offset: int
    append_ms: int
    record: Record | None
    items: int
    raw_bytes: int = 0
    cluster: str = ""
    tenant: str = ""
    verdict: Verdict | None = None
    counts: Counts = field(default_factory=Counts)
    earliest_ms: int = 0
    latest_ms: int = 0
    doubt: bool = False
    counted: bool = False
    """Its items count towards the window."""
    sent: bool = False
    poison: str = ""
    done: bool = False


@dataclass(slots=True)
class Stream:
    """The records of one cluster and tenant that wait, and the request that is in flight."""

    cluster: str
    tenant: str
    waiting: deque[Entry] = field(default_factory=deque)
    items: int = 0
    task: asyncio.Task[None] | None = None
    trouble: Retry | None = None


class Feed:
    """One partition's way to the sink. `run` is its task; the consumer's task calls `offer`."""

    def __init__(self, at: Partition, context: Context, progress: Progress, committed: int) -> None:
        self.at = at
        self.committed = committed
        self.stuck = ""
        """Why this partition cannot go on, where it cannot."""
        self.dirty = False
        """The progress has changed since it was last written down."""
        self.urgent = asyncio.Event()
        """The progress should be written down at once: something was rejected."""
        self.queued_bytes = 0
        self._context = context
        self._progress = progress
        self._live = progress.settled.copy()
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
        self._doubt = Doubt(
            0 if progress.clean else max(context.config.window, progress.window), per_stream=progress.parked
        )
        self._ahead = list(progress.ahead)
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
        self._live.forget(before_ms)

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
                self._replay(record)
                continue
            entry = self._head or self._examine(record)
            if entry is None:
                return
            self._head = entry
            if entry.items and not self._within_window(entry.items):
                return
            self._queue.popleft()
            self._head = None
            self._take(entry, tasks)

    def _within_window(self, items: int) -> bool:
        return self._open_items == 0 or self._open_items + items < self._context.config.window

    def _take(self, entry: Entry, tasks: asyncio.TaskGroup) -> None:
        if entry.verdict is not None:
            self._live.apply(entry.verdict)
        self._open.append(entry)
        if entry.poison:
            self._start(tasks, self._bury(entry), f"bury {self.at} {entry.offset}")
        elif entry.items:
            self._open_items += entry.items
            entry.counted = True
            entry.doubt = self._doubt.covers((entry.cluster, entry.tenant), entry.items)
            stream = self._streams.get((entry.cluster, entry.tenant))
            if stream is None:
                stream = self._streams[entry.cluster, entry.tenant] = Stream(entry.cluster, entry.tenant)
            stream.waiting.append(entry)
            stream.items += entry.items
        else:
            self._done(entry)

    def _examine(self, record: Record) -> Entry | None:
        """Judge a record; None where the partition cannot go on."""
        entry = Entry(record.offset, record.append_time_ms, record, 0)
        try:
            envelope = from_headers(record.headers)
        except UnknownVersionError as error:
            self.stuck = f"{self.at.topic}/{self.at.number} offset {record.offset}: {error}"
            logger.error("partition stands still", extra={"partition": self.at, "reason": self.stuck})
            return None
        except MalformedError as error:
            if self._settled_ahead(record.offset) is None:
                entry.poison = str(error)
            return entry
        clusters = self._context.config.clusters
        if clusters is not None and envelope.cluster not in clusters:
            return entry
        entry.cluster = envelope.cluster
        entry.tenant = self._context.config.tenant_of(envelope.cluster, envelope.tenant)
        entry.verdict = self._live.judge(envelope, record.append_time_ms)
        entry.counts = counts_of(envelope, entry.verdict)
        entry.earliest_ms, entry.latest_ms = envelope.earliest_ms, envelope.latest_ms
        if not entry.verdict.fresh:
            return entry
        if (rejected := self._settled_ahead(entry.offset)) is not None:
            entry.counts.rejected = rejected
            return entry
        if crc32c(record.payload) != envelope.crc32c:
            entry.poison = "the payload is not what its checksum says"
            entry.counts.rejected = envelope.items
        else:
            entry.items, entry.raw_bytes = max(1, envelope.items), envelope.raw_bytes
        return entry

    def _settled_ahead(self, offset: int) -> int | None:
        """Return the items rejected of a record that the last owner settled ahead of its commit; None for others."""
        while self._ahead and self._ahead[0][1] <= offset:
            del self._ahead[0]
        if self._ahead and self._ahead[0][0] <= offset:
            return self._ahead[0][2]
        return None

    def _replay(self, record: Record) -> None:
        """Count a record that the last owner settled after it last wrote its progress down."""
        progress = self._progress
        progress.offset, progress.head_ms = record.offset + 1, record.append_time_ms
        try:
            envelope = from_headers(record.headers)
        except MalformedError:
            return  # it lies in the dead letters
        clusters = self._context.config.clusters
        if clusters is not None and envelope.cluster not in clusters:
            return
        verdict = self._live.judge(envelope, record.append_time_ms)
        self._live.apply(verdict)
        progress.settled.apply(verdict)
        counts = counts_of(envelope, verdict)
        counts.delivered = counts.received
        progress.ledger.setdefault(envelope.cluster, Counts()).add(counts)
        self.dirty = True

    # Sending.

    def _dispatch(self, tasks: asyncio.TaskGroup) -> None:
        """Start a request for every stream that has none in flight."""
        config = self._context.config
        # A request that is not full waits for the commit that is under way, if more records are there to fill it.
        hold = self._committing is not None and bool(self._queue)
        for stream in self._streams.values():
            if stream.task is None and stream.waiting and (not hold or stream.items >= config.request_items):
                entries = _next_request(stream, config.request_items)
                for entry in entries:
                    # What was parked counts again, now that it is sent.
                    self._open_items += 0 if entry.counted else entry.items
                    entry.counted = entry.sent = True
                stream.task = self._start(tasks, self._deliver(stream, entries), f"deliver {self.at} {stream.cluster}")

    def _start(self, tasks: asyncio.TaskGroup, work: "asyncio._CoroutineLike[None]", name: str) -> asyncio.Task[None]:
        task = tasks.create_task(work, name=name)
        self._in_flight.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._in_flight.discard(task)
        self._wake.set()

    async def _deliver(self, stream: Stream, entries: list[Entry]) -> None:
        context = self._context

        async def send(payload: bytes, items: int) -> Outcome:
            started_s = context.clock()
            outcome = await context.sink.send(payload, cluster=stream.cluster, tenant=stream.tenant)
            context.metrics.request_seconds.labels(context.config.name).observe(context.clock() - started_s)
            context.metrics.requests.labels(context.config.name, type(outcome).__name__.lower()).inc()
            self._note(stream, outcome)
            return outcome

        async def refuse(piece: Piece, refusal: Rejected) -> None:
            entry = entries[piece.source]
            assert entry.record is not None
            await context.dead_letters.bury(
                entry.record, piece.payload, piece.items, status=refusal.status, reason=refusal.reason
            )
            entry.counts.rejected += piece.items
            logger.error(
                "samples refused by the store",
                extra={
                    "sink": context.config.name,
                    "cluster": entry.cluster,
                    "items": piece.items,
                    "reason": refusal.reason,
                },
            )

        pieces = [
            Piece(entry.record.payload, entry.counts.received, index, entry.doubt)
            for index, entry in enumerate(entries)
            if entry.record is not None
        ]
        try:
            tally = await Delivery(send, refuse, backoff=self._backoff(), sleep=self._rest).run(pieces)
        except _StoppedError:
            return
        entries[0].counts.already += tally.already
        stream.task = None
        for entry in entries:
            self._done(entry)

    def _backoff(self) -> Backoff:
        remote_write = self._context.config.remote_write
        if remote_write is None:
            return Backoff()
        return Backoff(remote_write.queue_config.min_backoff, remote_write.queue_config.max_backoff)

    async def _rest(self, delay_s: float) -> None:
        """Wait before the next try; raises _StoppedError when the partition is to be let go: nothing is in flight."""
        try:
            async with asyncio.timeout(delay_s):
                await self._stopping.wait()
        except TimeoutError:
            return
        raise _StoppedError

    def _note(self, stream: Stream, outcome: Outcome) -> None:
        """Remember and log what keeps a stream from going on."""
        before = stream.trouble
        stream.trouble = outcome if isinstance(outcome, Retry) else None
        extra = {"sink": self._context.config.name, "cluster": stream.cluster, "tenant": stream.tenant}
        if stream.trouble is not None and stream.trouble.reason != (before.reason if before else None):
            level = logging.ERROR if stream.trouble.alarm else logging.WARNING
            logger.log(level, "store does not take it, trying again", extra={**extra, "reason": stream.trouble.reason})
        elif before is not None and isinstance(outcome, Delivered):
            logger.info("store takes it again", extra=extra)

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
            beyond = self._open[-1].offset
            self._progress.ahead = _ranges(self._open) + [span for span in self._ahead if span[0] > beyond]
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
            self.urgent.set()
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


class _StoppedError(Exception):
    """A stream in trouble was left as it is, because its partition is let go."""


@dataclass(slots=True)
class Doubt:
    """The records that may have been sent before: those that the window let pass beyond the committed offset.

    Where a tenant was in trouble others were sent beyond it: then each stream has a window of its own.
    """

    window: int
    per_stream: bool = False
    items: dict[StreamKey, int] = field(default_factory=dict)

    def covers(self, stream: StreamKey, items: int) -> bool:
        """Tell whether the next record, of that many items, is in doubt."""
        key = stream if self.per_stream else ("", "")
        before = self.items.get(key, 0)
        if before >= self.window or (before and before + items >= self.window):
            self.items[key] = self.window
            return False
        self.items[key] = before + items
        return True


def counts_of(envelope: Envelope, verdict: Verdict) -> Counts:
    """Return what a record adds to the ledger before the store was asked."""
    counts = Counts(missing=verdict.missing_items, missing_records=verdict.missing_records)
    if verdict.fresh:
        counts.received = envelope.items
    elif envelope.gap_to is None:
        counts.duplicated, counts.duplicated_records = envelope.items, 1
    return counts


def _next_request(stream: Stream, max_items: int) -> list[Entry]:
    """Take the records of the next request: at least one, in order."""
    entries: list[Entry] = []
    items = raw_bytes = latest_ms = 0
    latest_key: LaneKey | None = None
    while stream.waiting:
        entry = stream.waiting[0]
        items, raw_bytes = items + entry.items, raw_bytes + entry.raw_bytes
        verdict = entry.verdict
        assert verdict is not None
        if entries and (
            items > max_items
            or raw_bytes > _MAX_REQUEST_RAW_BYTES
            # What comes late begins a request: behind newer samples in the same one, Prometheus without an out-of-order
            # window says 204 and drops it.
            or verdict.missing_records < 0
            or (verdict.key != latest_key and 0 < entry.earliest_ms < latest_ms - _LATE_MS)
        ):
            break
        if entry.latest_ms >= latest_ms:
            latest_ms, latest_key = entry.latest_ms, verdict.key
        entries.append(stream.waiting.popleft())
        stream.items -= entry.items
    return entries


def _ranges(entries: Iterable[Entry]) -> list[tuple[int, int, int]]:
    """Return what is done as ranges of offsets; a record of which something was rejected is one of its own."""
    out: list[tuple[int, int, int]] = []
    joinable = False
    for entry in entries:
        rejected = entry.counts.rejected
        if not entry.done:
            joinable = False
        elif joinable and not rejected:
            out[-1] = (out[-1][0], entry.offset + 1, 0)
        else:
            out.append((entry.offset, entry.offset + 1, rejected))
            joinable = not rejected
    return out
