"""How the embedded log lies on disk: one SQLite file, its tables, its settings, and what its errors mean to us.

A record's id is its partition's number times 2^40 plus its offset, so that a partition is one range of one B-tree.
"""

import secrets
import sqlite3
from pathlib import Path
from typing import Final

from pipeline.errors import PermanentError, PipelineError, TransientError
from pipeline.log.interface import LogFullError
from pipeline.wire.envelope import Headers

FORMAT: Final = 1
# 64 KiB pages halve the cost of storing payloads of some 300 KB (ARCHITECTURE 3).
PAGE_BYTES: Final = 65_536
WAL_BYTES: Final = 64 * 2**20
OFFSET_BITS: Final = 40
# SQLite takes blobs up to 10^9 bytes; a record much larger than a request's limit is a mistake of the caller.
MAX_RECORD_BYTES: Final = 16 * 2**20

_TABLES: Final = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE topic (
  name TEXT PRIMARY KEY, partitions INTEGER NOT NULL, compacted INTEGER NOT NULL,
  retention_bytes INTEGER, retention_s REAL
) WITHOUT ROWID;
-- first: the first offset kept, next: the offset of the next record, items and bytes: all ever appended,
-- last_ms: the newest append time, which never goes back within a partition.
CREATE TABLE partition (
  id INTEGER PRIMARY KEY, topic TEXT NOT NULL, number INTEGER NOT NULL, first INTEGER NOT NULL DEFAULT 0,
  next INTEGER NOT NULL DEFAULT 0, items INTEGER NOT NULL DEFAULT 0, bytes INTEGER NOT NULL DEFAULT 0,
  last_ms INTEGER NOT NULL DEFAULT 0, UNIQUE (topic, number)
);
-- The small columns stand before the payload: what reads only them never touches the payload's pages.
CREATE TABLE record (
  id INTEGER PRIMARY KEY, time_ms INTEGER NOT NULL, items_before INTEGER NOT NULL, bytes_before INTEGER NOT NULL,
  size INTEGER NOT NULL, key BLOB, headers BLOB NOT NULL, payload BLOB NOT NULL
);
CREATE TABLE newest (
  partition INTEGER NOT NULL, key BLOB NOT NULL, id INTEGER NOT NULL, PRIMARY KEY (partition, key)
) WITHOUT ROWID;
CREATE TABLE committed (
  name TEXT NOT NULL, topic TEXT NOT NULL, number INTEGER NOT NULL, next INTEGER NOT NULL,
  PRIMARY KEY (name, topic, number)
) WITHOUT ROWID;
CREATE TABLE state (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
"""


def open_writer(file: Path, wal_bytes: int) -> sqlite3.Connection:
    """Open the data base for its one writer, creating it where it is not there; raises PipelineError."""
    try:
        # autocommit by hand: the writer says BEGIN and COMMIT. The thread that opens is not the one that closes.
        db = sqlite3.connect(file, isolation_level=None, check_same_thread=False, timeout=5.0)
        try:
            _set_up(db, file, wal_bytes)
        except BaseException:
            db.close()
            raise
    except sqlite3.Error as error:
        raise explain(error, file) from error
    return db


def _set_up(db: sqlite3.Connection, file: Path, wal_bytes: int) -> None:
    for pragma in (
        f"page_size = {PAGE_BYTES}",
        "journal_mode = WAL",
        "synchronous = FULL",
        f"wal_autocheckpoint = {max(1, wal_bytes // PAGE_BYTES)}",
        f"journal_size_limit = {wal_bytes}",
        "secure_delete = OFF",
        "temp_store = MEMORY",
        "cache_size = -8192",
    ):
        db.execute(f"PRAGMA {pragma}").fetchall()
    db.execute("BEGIN IMMEDIATE")
    if db.execute("SELECT count(*) FROM sqlite_schema").fetchone() == (0,):
        for statement in _TABLES.split(";"):
            db.execute(statement)
        # SQLite's integers are signed: the epoch is kept as text.
        new = [("format", FORMAT), ("epoch", f"{secrets.randbits(64):x}")]
        db.executemany("INSERT INTO meta VALUES (?, ?)", new)
    db.execute("COMMIT")
    found = db.execute("SELECT value FROM meta WHERE key = 'format'").fetchone()
    if found != (FORMAT,):
        raise PermanentError(f"{file} has format {found and found[0]}; this version of Pronoia knows format {FORMAT}")


def open_reader(file: Path) -> sqlite3.Connection:
    """Open the data base for reading only; used by one thread at a time."""
    db = sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA cache_size = -1024")
    return db


def explain(error: sqlite3.Error, file: Path) -> PipelineError:
    """Return what an error of SQLite means: full, damaged for good, or worth another try."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return LogFullError(f"{file}: the disk is full", retry_after_s=5.0)
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return PermanentError(
            f"{file} is damaged ({error}): stop Pronoia, move the folder away, and start again with an empty one; "
            "what was in it and not yet delivered can be saved with `sqlite3 FILE .recover`"
        )
    if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
        return PermanentError(f"{file} cannot be written: {error}: check the folder's owner and mount")
    return TransientError(f"{file}: {error}")


def pack_headers(headers: Headers) -> bytes:
    """Encode headers for a row: each as one byte length and name, then four bytes length and value."""
    parts: list[bytes] = []
    for name, value in headers:
        raw = name.encode()
        parts += (bytes((len(raw),)), raw, len(value).to_bytes(4, "little"), value)
    return b"".join(parts)


def unpack_headers(packed: bytes) -> Headers:
    """Decode what `pack_headers` encoded."""
    headers: list[tuple[str, bytes]] = []
    at = 0
    while at < len(packed):
        name_end = at + 1 + packed[at]
        name = packed[at + 1 : name_end].decode()
        start = name_end + 4
        at = start + int.from_bytes(packed[name_end:start], "little")
        headers.append((name, packed[start:at]))
    return tuple(headers)
