"""An embedded store's SQLite file: opened for one process, or refused with what to do; one thread writes it.

Everything here blocks. Readers have connections of their own.
"""

import contextlib
import fcntl
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, Self

from pipeline.errors import PermanentError

PAGE_BYTES: Final = 16384
WAL_BYTES: Final = 4 << 20


@dataclass(frozen=True, slots=True)
class Format:
    """What a file holds: SQLite's application id, the version of the tables, and the statements that make them."""

    application_id: int
    version: int
    schema: str


@dataclass(slots=True)
class Database:
    """An open file, and the connection of the one thread that writes it."""

    path: Path
    connection: sqlite3.Connection
    lock: IO[bytes]

    @classmethod
    def open(cls, path: Path, form: Format) -> Self:
        """Open or create; raises PermanentError where the file is in use, damaged, or not of this format."""
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = Path(f"{path}.lock").open("ab")  # noqa: SIM115 - it is held as long as the store is open
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.close()
            reason = f"{path} is in use by another process: stop that one, or choose another path"
            raise PermanentError(reason) from error
        connection = None
        try:
            connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            _prepare(path, connection, form)
        except BaseException as error:
            if connection is not None:
                connection.close()
            lock.close()
            if isinstance(error, sqlite3.Error):
                raise damaged(path, error) from error
            raise
        return cls(path, connection, lock)

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

    def close(self) -> None:
        """Let go of the file."""
        self.connection.close()
        self.lock.close()


def open_reader(path: Path) -> sqlite3.Connection:
    """Open a connection that only reads."""
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, check_same_thread=False
    )


def failure(path: Path, error: sqlite3.Error) -> PermanentError | None:
    """Return what to raise where an error of SQLite says that the file is damaged; None for what may pass."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return damaged(path, error) if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) else None


def damaged(path: Path, reason: object) -> PermanentError:
    """Say that a file is damaged, and what to do."""
    return PermanentError(
        f"{path} cannot be used as a store ({reason}): check the disk, then move the file and its -wal and -shm files "
        "away; a new store begins in their place"
    )


def _prepare(path: Path, connection: sqlite3.Connection, form: Format) -> None:
    connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
    identity = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if tables and identity != form.application_id:
        raise PermanentError(f"{path} is a database, but not a store of Pronoia's: choose another path")
    if tables and version != form.version:
        raise PermanentError(
            f"{path} has format {version} and this Pronoia writes format {form.version}: use the version that wrote "
            "it, or move the file away to begin a new one"
        )
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA wal_autocheckpoint = {WAL_BYTES // PAGE_BYTES}")
    connection.execute(f"PRAGMA journal_size_limit = {WAL_BYTES}")
    if not tables:
        connection.executescript(
            f"BEGIN; {form.schema}PRAGMA application_id = {form.application_id}; "
            f"PRAGMA user_version = {form.version}; COMMIT;"
        )
