"""The embedded log's one writer: a thread that owns the only connection which writes and checkpoints.

The event loop puts jobs into a queue; the thread runs as many as wait in one transaction (group commit), and tells the
loop what became of each. A job that finds nothing else queued is committed at once.
"""

import asyncio
import contextlib
import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pipeline.errors import PermanentError, PipelineError, TransientError
from pipeline.log.interface import Partition
from pipeline.log.sqlite_schema import WAL_BYTES, explain, open_writer
from pipeline.log.sqlite_space import Space
from pipeline.log.sqlite_store import Store

logger = logging.getLogger(__name__)

GROUP_BYTES: Final = 8 * 2**20
GROUP_COMMIT_S: Final = 0.05
# A group of several jobs that nothing joined for this long is committed: its writers are all waiting for it.
QUIET_S: Final = 0.002
HOUSEKEEPING_S: Final = 1.0


@dataclass(slots=True)
class Job:
    """Something to do in the writer's transaction.

    `run` returns the future's result, or raises PipelineError before it changed anything. An append also names its
    partition, and the partition's generation when it was placed: see `Writer._run_job`.
    """

    run: Callable[[Store], Any]
    future: "asyncio.Future[Any]"
    size: int = 0
    at: Partition | None = None
    generation: int = 0
    placed_s: float = 0.0


@dataclass(slots=True)
class Settled:
    """What one transaction did, for the event loop: each job with its result or error."""

    done: list[tuple[Job, Any]] = field(default_factory=list)
    # First and next offset of the partitions that changed.
    bounds: dict[Partition, tuple[int, int]] = field(default_factory=dict)
    # Partitions on which an append failed, with the generation that failed.
    failed: dict[Partition, int] = field(default_factory=dict)
    # Records that went because of age or size, read or not.
    discarded: dict[Partition, int] = field(default_factory=dict)
    stored_bytes: int = 0
    limit_bytes: int = 0
    has_moved: bool = False
    """Whether these two have changed."""
    commits: int = 0


class Writer:
    """Owns the data base file. `put` and `close` are called by the event loop; `settled` is called on it."""

    def __init__(
        self,
        file: Path,
        *,
        now_ms: Callable[[], int],
        settled: Callable[[Settled], None],
        max_bytes: int | None,
        discard_oldest: bool,
    ) -> None:
        self._file = file
        self._now_ms = now_ms
        self._settled = settled
        self._max_bytes = max_bytes
        self._discard_oldest = discard_oldest
        # A small bound must not be eaten up by the write-ahead log.
        self._wal_bytes = WAL_BYTES if max_bytes is None else min(WAL_BYTES, max_bytes // 8)
        self._group_bytes = min(GROUP_BYTES, self._wal_bytes)
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._stopped: asyncio.Future[None] = self._loop.create_future()
        self._failed: dict[Partition, int] = {}
        self._next_housekeeping_s = 0.0
        self._stale = False

    def open(self) -> Settled:
        """Open the file and start the thread; return the state of things. Blocks; raises PipelineError."""
        self._db = open_writer(self._file, self._wal_bytes)
        self._store = Store(self._db, self._now_ms)
        try:
            self._store.load()
        except sqlite3.Error as error:
            self._db.close()
            raise explain(error, self._file) from error
        self._space = Space(self._db, self._file, self._max_bytes, reserve_bytes=2 * self._group_bytes)
        opened = Settled()
        self._measure(opened)
        opened.bounds = {at: (state.first, state.next) for at, state in self._store.partitions.items()}
        self._thread.start()
        return opened

    def put(self, job: Job) -> None:
        """Queue a job; its place is fixed by the order of these calls."""
        self._jobs.put(job)

    async def close(self) -> None:
        """Run everything queued, then end the thread and close the file."""
        self._jobs.put(None)
        await self._stopped

    def _run(self) -> None:
        try:
            going = True
            while going:
                jobs, going = self._take()
                settled = self._transact(jobs)
                self._measure(settled)
                if time.monotonic() >= self._next_housekeeping_s or self._over() > 0:
                    self._keep_house(settled)
                    self._measure(settled)
                if settled.done or settled.bounds or settled.has_moved:
                    self._loop.call_soon_threadsafe(self._settled, settled)
            self._db.close()
        except BaseException:
            # A fault of ours: nobody may wait for ever for what this thread will not do.
            threading.Thread(target=self._refuse, name="log-writer-refuses", daemon=True).start()
            raise
        else:
            self._loop.call_soon_threadsafe(self._stopped.set_result, None)

    def _refuse(self) -> None:
        error = PermanentError(f"{self._file}: the writer has stopped after a fault (see the log): restart Pronoia")
        while (job := self._jobs.get()) is not None:
            self._loop.call_soon_threadsafe(self._settled, Settled(done=[(job, error)]))
        self._loop.call_soon_threadsafe(self._stopped.set_result, None)

    def _take(self) -> tuple[list[Job], bool]:
        """Wait for jobs; return a group of them, and whether more may come."""
        try:
            job = self._jobs.get(timeout=max(0.0, self._next_housekeeping_s - time.monotonic()))
        except queue.Empty:
            return [], True
        jobs: list[Job] = []
        size, until_s = 0, time.monotonic() + GROUP_COMMIT_S
        while job is not None:
            jobs.append(job)
            size += job.size
            try:
                if size >= self._group_bytes:
                    return jobs, True
                alone = len(jobs) == 1
                wait_s = 0.0 if alone else min(QUIET_S, until_s - time.monotonic())
                job = self._jobs.get(timeout=wait_s) if wait_s > 0 else self._jobs.get_nowait()
            except queue.Empty:
                return jobs, True
        return jobs, False

    def _transact(self, jobs: list[Job]) -> Settled:
        settled = Settled()
        if not jobs:
            return settled
        try:
            self._begin()
            for job in jobs:
                settled.done.append((job, self._run_job(job)))
            # What was dropped is deleted in the same commit: another one would cost another fsync.
            if self._store.clean():
                self._next_housekeeping_s = 0.0
            self._store.flush()
            self._db.execute("COMMIT")
            settled.commits += 1
        except sqlite3.Error as error:
            return self._fail(jobs, explain(error, self._file))
        self._note(settled)
        return settled

    def _run_job(self, job: Job) -> Any:
        """Run a job; return its result or its PipelineError.

        When an append failed, those that were placed behind it before its caller could know (the same generation of
        the partition) fail too, so that nothing is appended past a gap.
        """
        if job.at is not None and self._failed.get(job.at, -1) >= job.generation:
            return TransientError("an append before this one in the same partition failed")
        try:
            return job.run(self._store)
        except PipelineError as error:
            if job.at is not None:
                self._failed[job.at] = job.generation
            return error

    def _fail(self, jobs: list[Job], error: PipelineError) -> Settled:
        """Undo the transaction: every job in it has failed."""
        with contextlib.suppress(sqlite3.Error):
            # Some errors have rolled back already.
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
        self._stale = True
        self._store.touched.clear()
        logger.error("the log could not be written: %s", error, extra={"jobs": len(jobs)})
        for job in jobs:
            if job.at is not None:
                self._failed[job.at] = job.generation
        settled = Settled(done=[(job, error) for job in jobs])
        self._note(settled)
        return settled

    def _begin(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        if self._stale:
            # What the transaction that was undone had counted must not be counted on.
            self._store.load()
            self._stale = False

    def _note(self, settled: Settled) -> None:
        store = self._store
        for at in store.touched:
            settled.bounds[at] = (store.partitions[at].first, store.partitions[at].next)
        store.touched.clear()
        settled.failed = {job.at: job.generation for job, result in settled.done if job.at and _failed(result)}

    def _keep_house(self, settled: Settled) -> None:
        """Make room, one chunk each time, so that appends never wait long for it."""
        store = self._store
        try:
            changes = self._db.total_changes
            self._begin()
            gone = store.expire()
            # Only once what was dropped is deleted can be seen whether more has to go.
            if not store.clean() and (over := self._over()) > 0:
                gone |= store.discard_oldest(over)
            more = store.clean()
            store.flush()
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            self._fail([], explain(error, self._file))
            self._next_housekeeping_s = time.monotonic() + HOUSEKEEPING_S
            return
        settled.discarded = gone
        settled.commits += self._db.total_changes > changes
        self._next_housekeeping_s = time.monotonic() + (0 if more or gone else HOUSEKEEPING_S)
        self._note(settled)

    def _measure(self, settled: Settled) -> None:
        settled.has_moved |= self._space.measure()
        settled.stored_bytes, settled.limit_bytes = self._space.stored_bytes, self._space.limit_bytes

    def _over(self) -> int:
        """Return how many bytes should go so that the next group finds room."""
        if not self._discard_oldest:
            return 0
        limit_bytes = self._space.limit_bytes
        return self._space.stored_bytes + min(2 * GROUP_BYTES, limit_bytes // 4) - limit_bytes


def _failed(result: Any) -> bool:
    return isinstance(result, PipelineError)
