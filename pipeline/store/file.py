"""The embedded store's file: its tables, and what is written in one transaction.

    series    every series' labels
    pending   samples that were acknowledged and are not in a block yet: what a start reads back into memory
    blocks    a stretch of time, packed; dropped whole when it is too old or too much
    times     the columns of timestamps of a block, each once
    chunks    the column of values of a series in a block, and which column of timestamps goes with it
    metadata  type, help and unit of metric families

Everything here blocks. One thread writes; readers have connections of their own.
"""

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from pipeline.store.database import Database, Format
from pipeline.store.requests import Metadata

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

FORMAT: Final = Format(application_id=0x50526E53, version=1, schema=_SCHEMA)  # "PRnS"


@dataclass(frozen=True, slots=True)
class Block:
    """A packed stretch of time. It is kept until `expires_from_ms` is older than the retention."""

    id: int
    earliest_ms: int
    latest_ms: int
    expires_from_ms: int
    samples: int


class StoreFile(Database):
    """An open store file."""

    __slots__ = ()

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
