"""The embedded store's file: its tables, what is written in one transaction, and how a file is opened or refused.

    series    every series' labels
    pending   samples that were acknowledged and are not in a block yet: what a start reads back into memory
    blocks    a stretch of time, packed; dropped whole when it is too old or too much
    times     the columns of timestamps of a block, each once
    chunks    the column of values of a series in a block, and which column of timestamps goes with it
    metadata  type, help and unit of metric families

Everything here blocks. One thread writes; readers have connections of their own.
"""

import contextlib
import fcntl
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from pipeline.errors import PermanentError
from pipeline.store.requests import Metadata

APPLICATION_ID: Final = 0x50526E53  # "PRnS"
FORMAT_VERSION: Final = 1
PAGE_BYTES: Final = 16384
WAL_BYTES: Final = 4 << 20

_SCHEMA = """
CREATE TABLE series (id INTEGER PRIMARY KEY, labels BLOB NOT NULL);
CREATE TABLE pending (id INTEGER PRIMARY KEY, samples INTEGER NOT NULL, data BLOB NOT NULL);
CREATE TABLE blocks (id INTEGER PRIMARY KEY, earliest_ms INTEGER NOT NULL, latest_ms INTEGER NOT NULL,
                     expires_from_ms INTEGER NOT NULL, samples INTEGER NOT NULL);
CREATE TABLE times (block INTEGER, number INTEGER, data BLOB NOT NULL, PRIMARY KEY (block, number)) WITHOUT ROWID;
CREATE TABLE chunks (block INTEGER, series INTEGER, times INTEGER NOT NULL, data BLOB NOT NULL,
                     PRIMARY KEY (block, series)) WITHOUT ROWID;
CREATE TABLE metadata (family TEXT PRIMARY KEY, kind INTEGER NOT NULL, help TEXT NOT NULL, unit TEXT NOT NULL)
                      WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Block:
    """A packed stretch of time. It is kept until `expires_from_ms` is older than the retention."""

    id: int
    earliest_ms: int
    latest_ms: int
    expires_from_ms: int
    samples: int


@dataclass(slots=True)
class StoreFile:
    """An open store file, and the connection of the one thread that writes it."""

    path: Path
    connection: sqlite3.Connection
    lock: IO[bytes]

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Commit what happens inside, durably, or nothing of it."""
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield self.connection
            self.connection.execute("COMMIT")
        except BaseException:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            raise

    def live_bytes(self) -> int:
        """Return the bytes of pages in use, and of the write-ahead log."""
        pages, free = (
            self.connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count")
        )
        with contextlib.suppress(FileNotFoundError):
            return int((pages - free) * PAGE_BYTES + Path(f"{self.path}-wal").stat().st_size)
        return int((pages - free) * PAGE_BYTES)

    def blocks(self) -> list[Block]:
        """Return every block, oldest first."""
        rows = self.connection.execute(
            "SELECT id, earliest_ms, latest_ms, expires_from_ms, samples FROM blocks ORDER BY id"
        )
        return [Block(*row) for row in rows]

    def metadata(self) -> dict[str, Metadata]:
        """Return what is known of every metric family."""
        rows = self.connection.execute("SELECT family, kind, help, unit FROM metadata")
        return {family: Metadata(kind, help_text, unit) for family, kind, help_text, unit in rows}

    def close(self) -> None:
        """Let go of the file."""
        self.connection.close()
        self.lock.close()


def open_file(path: Path) -> StoreFile:
    """Open or create a store; raises PermanentError where the file is in use, damaged, or not a store of ours."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = Path(f"{path}.lock").open("ab")  # noqa: SIM115 - it is held as long as the store is open
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise PermanentError(f"{path} is in use by another process: stop that one, or choose another path") from error
    connection = None
    try:
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        _prepare(path, connection)
    except BaseException as error:
        if connection is not None:
            connection.close()
        lock.close()
        if isinstance(error, sqlite3.Error):
            raise damaged(path, error) from error
        raise
    return StoreFile(path, connection, lock)


def open_reader(path: Path) -> sqlite3.Connection:
    """Open a connection that only reads."""
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, check_same_thread=False
    )


def failure(path: Path, error: sqlite3.Error) -> PermanentError | None:
    """Return what to raise where an error of SQLite says that the file is damaged; None for what may pass."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return damaged(path, error) if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) else None


def insert_chunks(
    connection: sqlite3.Connection,
    block: Block,
    times: Iterable[tuple[int, bytes]],
    chunks: Iterable[tuple[int, int, bytes]],
) -> None:
    """Write a block: its columns of timestamps (number, data) and of values (series, number of times, data)."""
    connection.execute(
        "INSERT INTO blocks VALUES (?, ?, ?, ?, ?)",
        (block.id, block.earliest_ms, block.latest_ms, block.expires_from_ms, block.samples),
    )
    connection.executemany("INSERT INTO times VALUES (?, ?, ?)", ((block.id, *row) for row in times))
    connection.executemany("INSERT INTO chunks VALUES (?, ?, ?, ?)", ((block.id, *row) for row in chunks))


def delete_block(connection: sqlite3.Connection, block: Block) -> None:
    """Drop a block and all in it."""
    for table, column in (("chunks", "block"), ("times", "block"), ("blocks", "id")):
        connection.execute(f"DELETE FROM {table} WHERE {column} = ?", (block.id,))


def _prepare(path: Path, connection: sqlite3.Connection) -> None:
    connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
    identity = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if tables and identity != APPLICATION_ID:
        raise PermanentError(f"{path} is a database, but not a store of Pronoia's: choose another path")
    if tables and version != FORMAT_VERSION:
        raise PermanentError(
            f"{path} has format {version} and this Pronoia writes format {FORMAT_VERSION}: use the version that wrote "
            "it, or move the file away to begin a new one"
        )
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA wal_autocheckpoint = {WAL_BYTES // PAGE_BYTES}")
    connection.execute(f"PRAGMA journal_size_limit = {WAL_BYTES}")
    if not tables:
        connection.executescript(
            f"BEGIN; {_SCHEMA}PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {FORMAT_VERSION}; COMMIT;"
        )


def damaged(path: Path, reason: object) -> PermanentError:
    """Say that a file is damaged, and what to do."""
    return PermanentError(
        f"{path} cannot be used as a store ({reason}): check the disk, then move the file and its -wal and -shm files "
        "away; a new store begins in their place"
    )
