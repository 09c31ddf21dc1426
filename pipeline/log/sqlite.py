"""The embedded log: one SQLite file in a folder of a local disk, for one process; also the agent's disk buffer.

Everything that writes is a job for one writer thread (`sqlite_writer`), which commits in groups with synchronous=FULL.
Readers are short transactions on threads of their own.
"""

import asyncio
import fcntl
import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final, TypeVar

from pipeline.errors import PermanentError, PipelineError
from pipeline.log.interface import (
    Appending,
    Consumer,
    LogFullError,
    Partition,
    Rebalance,
    Record,
    Start,
    TopicSpec,
    record_bytes,
)
from pipeline.log.sqlite_group import Group, SqliteConsumer
from pipeline.log.sqlite_reader import (
    Reader,
    find_offset_at,
    read_committed,
    read_epoch,
    read_held,
    read_many,
    read_newest,
    read_state,
    read_topics,
    unknown,
)
from pipeline.log.sqlite_schema import MAX_RECORD_BYTES, PAGE_BYTES
from pipeline.log.sqlite_store import Store
from pipeline.log.sqlite_writer import Job, Settled, Writer
from pipeline.telemetry import LogMetrics
from pipeline.wire.envelope import Headers

logger = logging.getLogger(__name__)

FILE: Final = "log.db"
LOCK: Final = "lock"
# How long a caller should wait when the log is full: by then something was committed or deleted.
FULL_RETRY_S: Final = 0.5
# Under steady pressure loss goes on with every commit: it is logged this often for a group and partition.
TELL_LOSS_S: Final = 10.0
ResultT = TypeVar("ResultT")


class SqliteLog:
    """A `Log` in one folder, and what only a local log can do: number batches, keep state beside them, evict.

    `max_bytes` bounds live pages plus write-ahead log, and so does the disk, of which a little stays free
    (`sqlite_space`). At the bound the oldest records go where `discard_oldest` is set; otherwise `append` raises
    LogFullError until `delete_before` or `evict` made room. All methods are called on the event loop that called
    `start`.
    """

    def __init__(
        self,
        path: Path,
        metrics: LogMetrics,
        *,
        max_bytes: int | None = None,
        max_pending_bytes: int = 64 * 2**20,
        max_record_bytes: int = MAX_RECORD_BYTES,
        discard_oldest: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._path = path
        self._metrics = metrics
        self._max_bytes = max_bytes
        self._max_pending_bytes = max_pending_bytes
        self._max_record_bytes = max_record_bytes if max_bytes is None else min(max_record_bytes, max_bytes // 4)
        self._discard_oldest = discard_oldest
        self._clock = clock
        self._lock: IO[bytes] | None = None
        self._writer: Writer | None = None
        self._epoch = 0
        self._pending_bytes = 0
        self._stored_bytes = 0
        self._limit_bytes = 0
        self._bounds: dict[Partition, tuple[int, int]] = {}
        self._generations: dict[Partition, int] = {}
        self._topics: dict[str, tuple[int, bool]] = {}
        self._committed: dict[str, dict[Partition, int]] = {}
        self._groups: dict[str, Group] = {}
        self._told_loss_s: dict[tuple[str, Partition], float] = {}

    @property
    def max_record_bytes(self) -> int:
        """The most bytes that payload, key and headers of one record may have together."""
        return self._max_record_bytes

    @property
    def epoch(self) -> int:
        """The random 64-bit number that was drawn when this log's file was created; known once started."""
        return self._epoch

    def stored_bytes(self) -> int:
        """Return the bytes held on disk as of the last commit: live pages and write-ahead log."""
        return self._stored_bytes

    def limit_bytes(self) -> int:
        """Return what `stored_bytes` may become: the log's bound, or less where the disk has no more."""
        return self._limit_bytes

    async def start(self) -> None:
        """Open or create the log; raises PermanentError where another process has it, or it cannot be used."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, self._take_lock)
        file = self._path / FILE
        self._writer = Writer(
            file,
            now_ms=lambda: int(self._clock() * 1000),
            settled=self._settled,
            max_bytes=self._max_bytes,
            discard_oldest=self._discard_oldest,
        )
        self._reader = Reader(file)
        try:
            self._settled(await loop.run_in_executor(None, self._writer.open))
        except BaseException:
            self._let_go()
            raise
        try:
            self._epoch = await self._reader.run(read_epoch)
            self._topics = dict(await self._reader.run(read_topics))
            self._committed = await self._reader.run(read_committed)
        except BaseException:
            await self.close()
            raise

    def _take_lock(self) -> None:
        try:
            self._path.mkdir(parents=True, exist_ok=True)
            self._lock = (self._path / LOCK).open("ab")
        except OSError as error:
            raise PermanentError(f"{self._path} cannot be written: {error}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._let_go()
            raise PermanentError(f"{self._path} is in use by another process of Pronoia: give each its own") from error

    def _let_go(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    async def close(self) -> None:
        """Write what was placed, then let go of the folder."""
        if self._lock is None or self._writer is None:
            return
        for group in list(self._groups.values()):
            await group.close()
        await self._reader.close()
        await self._writer.close()
        self._writer = None
        self._let_go()

    async def ensure_topic(self, spec: TopicSpec) -> int:
        """Create the topic if it is not there; its retention is what this call says from now on."""
        partitions = await self._do(lambda store: store.ensure_topic(spec))
        self._topics[spec.name] = (partitions, spec.compacted)
        return partitions

    async def append(self, at: Partition, headers: Headers, payload: bytes, *, key: bytes | None = None) -> Appending:
        """Put a record at the end of a partition; see `pipeline.log.interface.Log`."""
        items, size = _items_of(headers), record_bytes(headers, payload, key)
        if size > self._max_record_bytes:
            raise PermanentError(f"a record of {size} bytes; this log takes {self._max_record_bytes}")
        return self._place(
            at,
            size,
            lambda store: store.append(at, key, headers, payload, items=items, numbered=False),
            keyed=key is not None,
        )

    async def append_numbered(
        self, at: Partition, headers: Headers, payload: bytes, *, state: Mapping[bytes, bytes | None] | None = None
    ) -> Appending:
        """Append an agent's batch: the log numbers it, and may keep state beside it in the same transaction.

        The headers `sequence` (the record's offset) and `lane_items` (the sum of the header `items` of all records ever
        appended before it) are set by the log, whatever the caller put there. `state` updates the key-value table; None
        deletes a key. Otherwise as `append`.
        """
        return await self.append_together(at, [(headers, payload)], state=state)

    async def append_together(
        self,
        at: Partition,
        records: Sequence[tuple[Headers, bytes]],
        *,
        state: Mapping[bytes, bytes | None] | None = None,
    ) -> Appending:
        """Append several batches of one partition as `append_numbered` does, and state, all in one transaction.

        Resolves to the offset of the first; those of the others follow. Without records it is the state alone, which
        keeps its place among the partition's appends: where one before it fails, it fails, too.
        """
        sizes = [record_bytes(headers, payload, None) for headers, payload in records]
        if sizes and (largest := max(sizes)) > self._max_record_bytes:
            raise PermanentError(f"a record of {largest} bytes; this log takes {self._max_record_bytes}")
        counted = [(headers, payload, _items_of(headers)) for headers, payload in records]

        def run(store: Store) -> int:
            first = store.state(at).next
            for headers, payload, items in counted:
                store.append(at, None, headers, payload, items=items, numbered=True)
            if state:
                store.update_state(state)
            return first

        extra = sum(len(name) + len(value or b"") for name, value in (state or {}).items())
        return self._place(at, sum(sizes) + extra, run)

    def _place(
        self, at: Partition, size: int, run: Callable[[Store], int], *, keyed: bool = False
    ) -> "asyncio.Future[int]":
        writer = self._open_writer()
        if at not in self._bounds:
            raise unknown(at)
        if self._topics[at.topic][1] and not keyed:
            raise PermanentError(f"topic {at.topic} is compacted: its records need a key")
        if self._pending_bytes and self._pending_bytes + size > self._max_pending_bytes:
            raise LogFullError(f"{self._pending_bytes} bytes wait to be written", FULL_RETRY_S)
        if self._stored_bytes + self._disk_bytes(size) > self._limit_bytes:
            why = "" if self._limit_bytes == self._max_bytes else ": the disk has no more"
            raise LogFullError(
                f"the log in {self._path} holds {self._stored_bytes} of {self._limit_bytes} bytes{why}", FULL_RETRY_S
            )
        job = Job(run, _quiet_future(), size, at, self._generations.get(at, 0), time.monotonic())
        self._pending_bytes += size
        writer.put(job)
        return job.future

    def _disk_bytes(self, size: int) -> int:
        """Return what the disk may hold more once a record of `size` bytes and what waits are written.

        Each goes into the write-ahead log and into the data base, in whole pages.
        """
        return 2 * (self._pending_bytes + size) + 4 * PAGE_BYTES

    async def _do(self, run: Callable[[Store], ResultT]) -> ResultT:
        """Run something in the writer's next transaction; return once that is durable."""
        job = Job(run, _quiet_future())
        self._open_writer().put(job)
        result: ResultT = await job.future
        return result

    def _open_writer(self) -> Writer:
        if self._writer is None:
            raise PermanentError("the log is not open")
        return self._writer

    def _settled(self, settled: Settled) -> None:
        """Tell callers, groups and metrics what a transaction did; the writer calls this on the event loop."""
        self._bounds.update(settled.bounds)
        for at, generation in settled.failed.items():
            # What is placed from now on was placed by somebody who could know of the failure.
            self._generations[at] = max(generation + 1, self._generations.get(at, 0))
        if settled.has_moved:
            self._stored_bytes, self._limit_bytes = settled.stored_bytes, settled.limit_bytes
        self._metrics.stored_bytes.set(self._stored_bytes)
        self._metrics.fsyncs.inc(settled.commits)
        now_s = time.monotonic()
        for job, result in settled.done:
            self._finish(job, result, now_s)
        for at, count in settled.discarded.items():
            self._metrics.discarded_records.labels(at.topic).inc(count)
            self._tell_loss(at, now_s)
        if settled.bounds:
            for group in self._groups.values():
                group.wake()

    def _tell_loss(self, at: Partition, now_s: float) -> None:
        """Log that records went which a group had not settled; the group's reader counts them."""
        first = self._bounds[at][0]
        behind = {group: first - offsets[at] for group, offsets in self._committed.items() if at in offsets}
        for group, records in behind.items():
            if records > 0 and now_s - self._told_loss_s.get((group, at), -TELL_LOSS_S) >= TELL_LOSS_S:
                self._told_loss_s[group, at] = now_s
                where = {"group": group, "topic": at.topic, "partition": at.number, "records": records}
                logger.error("retention dropped records that a group had not read", extra=where)

    def _finish(self, job: Job, result: Any, now_s: float) -> None:
        failed = isinstance(result, PipelineError)
        if job.at is not None:
            self._pending_bytes -= job.size
            if failed:
                self._metrics.append_failures.labels(job.at.topic).inc()
            else:
                self._metrics.appended_bytes.labels(job.at.topic).inc(job.size)
                self._metrics.append_seconds.labels(job.at.topic).observe(now_s - job.placed_s)
        if job.future.done():
            return
        if failed:
            job.future.set_exception(result)
        else:
            job.future.set_result(result)

    async def bounds(self, at: Partition) -> tuple[int, int]:
        """Return the first offset kept and the offset that the next record will get."""
        return self.bounds_now(at)

    async def read(self, at: Partition, offset: int, *, max_bytes: int) -> Sequence[Record]:
        """Read records from `offset` on; empty at the end. Raises OffsetOutOfRangeError."""
        return (await self.read_many([(at, offset)], max_bytes)).get(at, [])

    async def offset_at(self, at: Partition, time_ms: int) -> int:
        """Return the first offset appended at or after `time_ms`; the end where there is none."""
        return await self._reader.run(lambda db: find_offset_at(db, at, time_ms))

    async def compacted(self, at: Partition) -> Mapping[bytes, bytes]:
        """Return the newest payload of every key of a compacted topic's partition."""
        return await self._reader.run(lambda db: read_newest(db, at))

    async def committed(self, group: str, partitions: Collection[Partition]) -> Mapping[Partition, int]:
        """Return a group's committed offsets where it has any."""
        known = self.committed_now(group)
        return {at: known[at] for at in partitions if at in known}

    async def subscribe(
        self, group: str, topics: Collection[str], rebalance: Rebalance, *, start: Start = Start.EARLIEST
    ) -> Consumer:
        """Join a group; `assigned` is called in the background once the partitions are shared out."""
        self._open_writer()
        for topic in topics:
            if topic not in self._topics:
                raise PermanentError(f"the log has no topic {topic}")
        joined = self._groups.setdefault(group, Group(group, self))
        consumer = SqliteConsumer(joined, self, topics, rebalance, start)
        consumer.begin()
        return consumer

    async def delete_before(self, at: Partition, offset: int) -> None:
        """Drop a partition's records before an offset, durably; raises PermanentError beyond the end."""
        await self._do(lambda store: store.delete_before(at, offset))

    async def held_bytes(self, topic: str) -> int:
        """Return the bytes of a topic's records that are kept; what `evict` replaced counts, too."""
        return await self._reader.run(lambda db: read_held(db, topic))

    async def evict(self, at: Partition, first: int, last: int, headers: Headers) -> int:
        """Replace the records first..last by one gap record at `first`, atomically; return how many items went.

        The gap record has an empty payload and the given headers, in which the log sets `sequence` (first), `gap_to`
        (last), `items` (those of the records that went, gaps among them included) and `lane_items`. A fetch behind it
        goes on at last + 1. Works at the bound; raises PermanentError where the range cuts through an earlier gap.
        """
        return await self._do(lambda store: store.evict(at, first, last, headers))

    async def update_state(self, updates: Mapping[bytes, bytes | None]) -> None:
        """Set keys of the key-value table, durably; None deletes one."""
        await self._do(lambda store: store.update_state(updates))

    async def state(self, prefix: bytes = b"") -> Mapping[bytes, bytes]:
        """Return the key-value pairs whose key starts with `prefix`."""
        return await self._reader.run(lambda db: read_state(db, prefix))

    # What follows is for the groups (`sqlite_group.Host`).

    def partitions_of(self, topic: str) -> int:
        """Return how many partitions a topic has: 0 where there is no such topic."""
        return self._topics.get(topic, (0, False))[0]

    def bounds_now(self, at: Partition) -> tuple[int, int]:
        """Return the first offset kept and the next one, as of the last commit."""
        if at not in self._bounds:
            raise unknown(at)
        return self._bounds[at]

    def committed_now(self, group: str) -> Mapping[Partition, int]:
        """Return a group's committed offsets."""
        return self._committed.get(group, {})

    async def commit(self, group: str, offsets: Mapping[Partition, int]) -> None:
        """Commit a group's offsets."""
        offsets = dict(offsets)
        await self._do(lambda store: store.commit_offsets(group, offsets))
        self._committed.setdefault(group, {}).update(offsets)

    async def read_many(
        self, wanted: Sequence[tuple[Partition, int]], max_bytes: int
    ) -> Mapping[Partition, Sequence[Record]]:
        """Read several partitions from offsets on, up to what `bounds_now` says now."""
        spans = [(at, offset, self.bounds_now(at)[1]) for at, offset in wanted]
        return await self._reader.run(lambda db: read_many(db, spans, max_bytes))


def _items_of(headers: Headers) -> int:
    for name, value in headers:
        if name == "items":
            return int(value)
    return 0


def _quiet_future() -> "asyncio.Future[Any]":
    """Return a future whose error need not be looked at: failures are counted and logged where they happen."""
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    future.add_done_callback(lambda done: done.cancelled() or done.exception())
    return future
