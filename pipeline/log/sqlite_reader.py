"""Reading the embedded log: short read-only transactions on a few threads, each with a connection of its own."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from pipeline.errors import PermanentError
from pipeline.log.interface import OffsetOutOfRangeError, Partition, Record
from pipeline.log.sqlite_schema import OFFSET_BITS, explain, open_reader, unpack_headers

READERS: Final = 2
# Sizes are looked up this many at a time before payloads are read.
_LOOK_AHEAD: Final = 256
ResultT = TypeVar("ResultT")


class Reader:
    """Runs queries off the event loop."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._threads = ThreadPoolExecutor(READERS, thread_name_prefix="log-reader")
        self._mine = threading.local()
        self._all: list[sqlite3.Connection] = []

    async def run(self, query: Callable[[sqlite3.Connection], ResultT]) -> ResultT:
        """Return what a query returns, seeing one state of the data base; raises PipelineError."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._run, query)

    def _run(self, query: Callable[[sqlite3.Connection], ResultT]) -> ResultT:
        try:
            db: sqlite3.Connection | None = getattr(self._mine, "db", None)
            if db is None:
                db = self._mine.db = open_reader(self._file)
                self._all.append(db)
            db.execute("BEGIN")
            try:
                return query(db)
            finally:
                db.execute("COMMIT")
        except sqlite3.Error as error:
            raise explain(error, self._file) from error

    async def close(self) -> None:
        """Wait for what runs and let go of the file."""
        await asyncio.to_thread(self._threads.shutdown)
        for db in self._all:
            db.close()


def read_many(
    db: sqlite3.Connection, wanted: Sequence[tuple[Partition, int, int]], max_bytes: int
) -> dict[Partition, list[Record]]:
    """Read several partitions, each (which, from, end), in this order until `max_bytes` are reached.

    At least one record comes where there is one. The end is the caller's: the file may hold more than its event loop
    was told of so far, and an offset beyond what it knows would look like a log that was made anew.
    """
    found: dict[Partition, list[Record]] = {}
    left = max_bytes
    for at, offset, end in wanted:
        if found and left <= 0:
            break
        records, size = _read_records(db, at, offset, end, left, at_least_one=not found)
        left -= size
        if records:
            found[at] = records
    return found


def _read_records(
    db: sqlite3.Connection, at: Partition, offset: int, end: int, max_bytes: int, *, at_least_one: bool
) -> tuple[list[Record], int]:
    id_, first, next_ = _partition(db, at)
    if not first <= offset <= next_:
        raise out_of_range(at, offset, first, next_)
    base = id_ << OFFSET_BITS
    upto, total = _fit(db, base + offset, base + min(end, next_), max_bytes, at_least_one)
    sql = "SELECT id, time_ms, key, headers, payload FROM record WHERE id >= ? AND id < ? ORDER BY id"
    rows = db.execute(sql, (base + offset, upto)).fetchall()
    records = [
        Record(at, record - base, time_ms, key, unpack_headers(headers), payload)
        for record, time_ms, key, headers, payload in rows
    ]
    return records, total


def _fit(db: sqlite3.Connection, start: int, end: int, max_bytes: int, at_least_one: bool) -> tuple[int, int]:
    """Return the id before which to stop reading, and the bytes up to there; touches no payload."""
    upto, total = start, 0
    while True:
        sql = "SELECT id, size FROM record WHERE id >= ? AND id < ? ORDER BY id LIMIT ?"
        rows = db.execute(sql, (upto, end, _LOOK_AHEAD)).fetchall()
        for record, size in rows:
            if total + size > max_bytes and (total or not at_least_one):
                return upto, total
            upto, total = record + 1, total + size
        if len(rows) < _LOOK_AHEAD:
            return upto, total


def _partition(db: sqlite3.Connection, at: Partition) -> tuple[int, int, int]:
    row = db.execute("SELECT id, first, next FROM partition WHERE topic = ? AND number = ?", at).fetchone()
    if row is None:
        raise unknown(at)
    return int(row[0]), int(row[1]), int(row[2])


def find_offset_at(db: sqlite3.Connection, at: Partition, time_ms: int) -> int:
    """Return the first offset appended at or after a time; append times never go back within a partition."""
    id_, first, next_ = _partition(db, at)
    base = id_ << OFFSET_BITS
    sql = "SELECT id, time_ms FROM record WHERE id >= ? AND id < ? ORDER BY id LIMIT 1"
    low, high = first, next_
    while low < high:
        middle = (low + high) // 2
        row = db.execute(sql, (base + middle, base + high)).fetchone()
        if row is None or row[1] >= time_ms:
            high = middle
        else:
            low = row[0] - base + 1
    row = db.execute(sql, (base + low, base + next_)).fetchone()
    return next_ if row is None else int(row[0] - base)


def read_held(db: sqlite3.Connection, topic: str) -> int:
    """Return the bytes of a topic's records from each partition's first on, those that gaps stand for included."""
    held = 0
    sql = "SELECT bytes_before FROM record WHERE id >= ? AND id < ? ORDER BY id LIMIT 1"
    for id_, first, next_, total in db.execute(
        "SELECT id, first, next, bytes FROM partition WHERE topic = ?", (topic,)
    ).fetchall():
        base = id_ << OFFSET_BITS
        row = db.execute(sql, (base + first, base + next_)).fetchone()
        held += 0 if row is None else total - row[0]
    return held


def read_newest(db: sqlite3.Connection, at: Partition) -> dict[bytes, bytes]:
    """Return the newest payload of every key of a compacted topic's partition."""
    id_, _, _ = _partition(db, at)
    sql = "SELECT newest.key, payload FROM newest JOIN record ON record.id = newest.id WHERE newest.partition = ?"
    return {key: payload for key, payload in db.execute(sql, (id_,)) if payload}


def read_state(db: sqlite3.Connection, prefix: bytes) -> dict[bytes, bytes]:
    """Return the key-value pairs whose key starts with a prefix."""
    sql = "SELECT key, value FROM state WHERE substr(key, 1, ?) = ?"
    return dict(db.execute(sql, (len(prefix), prefix)).fetchall())


def read_committed(db: sqlite3.Connection) -> dict[str, dict[Partition, int]]:
    """Return every group's committed offsets."""
    groups: dict[str, dict[Partition, int]] = {}
    for name, topic, number, next_ in db.execute("SELECT name, topic, number, next FROM committed"):
        groups.setdefault(name, {})[Partition(topic, number)] = next_
    return groups


def read_topics(db: sqlite3.Connection) -> Mapping[str, tuple[int, bool]]:
    """Return every topic's number of partitions, and whether it is compacted."""
    return {name: (count, bool(c)) for name, count, c in db.execute("SELECT name, partitions, compacted FROM topic")}


def read_epoch(db: sqlite3.Connection) -> int:
    """Return the random number that was drawn when the file was created."""
    return int(db.execute("SELECT value FROM meta WHERE key = 'epoch'").fetchone()[0], 16)


def out_of_range(at: Partition, offset: int, first: int, next_: int) -> OffsetOutOfRangeError:
    """Say that an offset is not in the log (any more)."""
    where = f"{at.topic}/{at.number}"
    return OffsetOutOfRangeError(
        f"offset {offset} of {where} is not in the log, which keeps {first} to {next_ - 1}", at, first
    )


def unknown(at: Partition) -> PermanentError:
    """Say that there is no such partition."""
    return PermanentError(f"the log has no partition {at.number} of topic {at.topic}")
