"""The file of the embedded store of logs: its tables, what is written in one transaction, and what is read back.

    streams     every stream's labels
    pending     requests that were acknowledged and whose entries are in no chunk yet: what a start reads back
    segments    some hours, or some MiB, of chunks in the order in which they came; dropped whole
    chunks_N    of segment N: up to 64 entries of one stream each; what is needed to choose, and the columns
    lines_N     of segment N: the lines of each chunk
    words_N     of segment N: the index of the lines: FTS5, trigrams to chunks

Dropping a table gives its pages back without reading them, and there is nothing in it to be found one by one, in the
index least of all: that is why a segment has tables of its own.
"""

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from pipeline.store.database import Database, Format
from pipeline.store.logs.chunk import (
    Columns,
    Lines,
    count_levels,
    pack_columns,
    pack_lines,
    searchable,
    unpack_columns,
    unpack_lines,
)
from pipeline.store.logs.entry import Entry
from pipeline.store.logs.requests import New

_SCHEMA: Final = """
CREATE TABLE streams (id INTEGER PRIMARY KEY, labels BLOB NOT NULL);
CREATE TABLE pending (first_seq INTEGER PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE segments (id INTEGER PRIMARY KEY, began_ns INTEGER NOT NULL, earliest_ns INTEGER NOT NULL,
                       latest_ns INTEGER NOT NULL, expires_from_ns INTEGER NOT NULL, last_seq INTEGER NOT NULL,
                       last_chunk INTEGER NOT NULL, entries INTEGER NOT NULL, packed_bytes INTEGER NOT NULL);
"""
# Which chunk holds a trigram is all that is asked: no details, no sizes. Text is folded before it comes here.
_SEGMENT: Final = """
CREATE TABLE chunks_{id} (id INTEGER PRIMARY KEY, stream INTEGER NOT NULL, earliest_ns INTEGER NOT NULL,
                          latest_ns INTEGER NOT NULL, last_seq INTEGER NOT NULL, levels BLOB NOT NULL,
                          columns BLOB NOT NULL);
CREATE INDEX streams_{id} ON chunks_{id} (stream, latest_ns);
CREATE TABLE lines_{id} (id INTEGER PRIMARY KEY, data BLOB NOT NULL);
CREATE VIRTUAL TABLE words_{id} USING fts5(text, content='', columnsize=0, detail=none,
                                           tokenize='trigram case_sensitive 1');
"""
FORMAT: Final = Format(application_id=0x50526E4C, version=1, schema=_SCHEMA)  # "PRnL"
_FIELDS: Final = "id, began_ns, earliest_ns, latest_ns, expires_from_ns, last_seq, last_chunk, entries, packed_bytes"


@dataclass(frozen=True, slots=True)
class Segment:
    """Chunks that are dropped together, once `expires_from_ns` is older than the retention. Times are Unix ns."""

    id: int
    began_ns: int
    earliest_ns: int = 1 << 62
    latest_ns: int = -(1 << 62)
    expires_from_ns: int = -(1 << 62)
    last_seq: int = 0
    last_chunk: int = 0
    entries: int = 0
    packed_bytes: int = 0

    def grown(self, chunk: "NewChunk", now_ns: int) -> "Segment":
        """Return what it is with one more chunk. What is dated in the future ages from when it came."""
        return replace(
            self,
            earliest_ns=min(self.earliest_ns, chunk.entries[0].time_ns),
            latest_ns=max(self.latest_ns, chunk.entries[-1].time_ns),
            expires_from_ns=max(self.expires_from_ns, min(chunk.entries[-1].time_ns, now_ns)),
            last_seq=max(self.last_seq, chunk.last_seq),
            last_chunk=self.last_chunk + 1,
            entries=self.entries + len(chunk.entries),
            packed_bytes=self.packed_bytes + len(chunk.columns) + len(chunk.lines),
        )


class NewChunk:
    """A chunk to be written."""

    __slots__ = ("columns", "entries", "last_seq", "levels", "lines", "stream")

    def __init__(self, stream: int, entries: Sequence[Entry]) -> None:
        self.stream, self.entries = stream, entries
        self.last_seq = max(entry.seq for entry in entries)
        self.levels = count_levels(entries)
        self.columns, self.lines = pack_columns(entries), pack_lines(entries)


@dataclass(frozen=True, slots=True)
class Chunk:
    """Where a chunk is, and what it may hold; `levels` has for each level how many entries say it."""

    segment: int
    id: int
    stream: int
    earliest_ns: int
    latest_ns: int
    levels: bytes


class LogFile(Database):
    """An open store of logs."""

    __slots__ = ()

    def segments(self) -> list[Segment]:
        """Return every segment, oldest first."""
        return [Segment(*row) for row in self.connection.execute(f"SELECT {_FIELDS} FROM segments ORDER BY id")]

    def sealed(self, segment: int) -> Iterator[tuple[int, int]]:
        """Return the streams that a segment has, and the newest time of each."""
        yield from self.connection.execute(f"SELECT stream, max(latest_ns) FROM chunks_{segment} GROUP BY stream")

    def count(self, segments: Iterable[Segment], stream: int, times: set[int]) -> "Counter[New]":
        """Count the stream's entries with any of these times."""
        found: Counter[New] = Counter()
        earliest_ns, latest_ns = min(times), max(times)
        for segment in segments:
            if segment.earliest_ns <= latest_ns and segment.latest_ns >= earliest_ns:
                for chunk in find_chunks(self.connection, segment, earliest_ns, latest_ns, [stream]):
                    columns = read_columns(self.connection, chunk)
                    if columns is not None and not times.isdisjoint(columns.times):
                        lines = read_lines(self.connection, chunk)
                        each = zip(columns.times, lines.each() if lines else (), strict=True)
                        found.update(New(at, line, metadata) for at, (line, metadata) in each if at in times)
        return found


def write_chunk(connection: sqlite3.Connection, segment: Segment, chunk: NewChunk) -> None:
    """Write a chunk as the newest of a segment, `last_chunk` of which is its number."""
    id_, entries = segment.last_chunk, chunk.entries
    connection.execute(
        f"INSERT INTO chunks_{segment.id} VALUES (?, ?, ?, ?, ?, ?, ?)",
        (id_, chunk.stream, entries[0].time_ns, entries[-1].time_ns, chunk.last_seq, chunk.levels, chunk.columns),
    )
    connection.execute(f"INSERT INTO lines_{segment.id} VALUES (?, ?)", (id_, chunk.lines))
    connection.execute(f"INSERT INTO words_{segment.id} (rowid, text) VALUES (?, ?)", (id_, searchable(entries)))


def write_segment(connection: sqlite3.Connection, segment: Segment) -> None:
    """Write down how far a segment is."""
    values = [getattr(segment, name) for name in _FIELDS.split(", ")]
    connection.execute(f"REPLACE INTO segments ({_FIELDS}) VALUES ({', '.join('?' * len(values))})", values)


def create_segment(connection: sqlite3.Connection, id_: int) -> None:
    """Make the tables of a segment, within the transaction that is open."""
    for statement in _SEGMENT.format(id=id_).split(";")[:-1]:
        connection.execute(statement)


def drop_segment(connection: sqlite3.Connection, id_: int) -> None:
    """Drop a segment and all in it."""
    for table in ("words", "lines", "chunks"):
        connection.execute(f"DROP TABLE {table}_{id_}")
    connection.execute("DELETE FROM segments WHERE id = ?", (id_,))


def find_chunks(
    connection: sqlite3.Connection,
    segment: Segment,
    earliest_ns: int,
    latest_ns: int,
    streams: Sequence[int] | None = None,
    words: str | None = None,
) -> list[Chunk]:
    """Return a segment's chunks that overlap a time (both ends included), of any of the streams, and with the words.

    Only those are seen that the segment had when it was handed over, and none of one that was dropped since.
    """
    where = "latest_ns >= ? AND earliest_ns <= ? AND id <= ?"
    parameters: list[object] = [earliest_ns, latest_ns, segment.last_chunk]
    if streams is not None:
        where += " AND stream IN (SELECT value FROM json_each(?))"
        parameters.append(json.dumps(streams))
    if words is not None:
        where += f" AND id IN (SELECT rowid FROM words_{segment.id} WHERE words_{segment.id} MATCH ?)"
        parameters.append(words)
    sql = f"SELECT id, stream, earliest_ns, latest_ns, levels FROM chunks_{segment.id} WHERE {where}"
    return [Chunk(segment.id, *row) for row in _rows(connection, sql, parameters)]


def find_chunks_since(connection: sqlite3.Connection, segment: Segment, seq: int) -> list[Chunk]:
    """Return a segment's chunks that have entries which came behind a number."""
    sql = f"SELECT id, stream, earliest_ns, latest_ns, levels FROM chunks_{segment.id} WHERE last_seq > ? AND id <= ?"
    return [Chunk(segment.id, *row) for row in _rows(connection, sql, (seq, segment.last_chunk))]


def read_columns(connection: sqlite3.Connection, chunk: Chunk) -> Columns | None:
    """Return a chunk's columns; None where it was dropped since. Raises MalformedError."""
    rows = _rows(connection, f"SELECT columns FROM chunks_{chunk.segment} WHERE id = ?", (chunk.id,))
    return unpack_columns(rows[0][0]) if rows else None


def read_lines(connection: sqlite3.Connection, chunk: Chunk) -> Lines | None:
    """Return a chunk's lines; None where it was dropped since. Raises MalformedError."""
    rows = _rows(connection, f"SELECT data FROM lines_{chunk.segment} WHERE id = ?", (chunk.id,))
    return unpack_lines(rows[0][0]) if rows else None


def _rows(connection: sqlite3.Connection, sql: str, parameters: Sequence[object]) -> list[tuple[Any, ...]]:
    try:
        return connection.execute(sql, parameters).fetchall()
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):  # retention dropped the segment in between
            return []
        raise
