"""What can be asked of the store of logs. These functions block; the store calls them on its one reading thread.

A question over much text ends after a time of its own with what it found until then, and says how far it came: whoever
asked goes on from there, and others are not held up.
"""

import heapq
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Final

from pipeline.errors import PermanentError
from pipeline.store.logs.chunk import Columns, Lines
from pipeline.store.logs.engine import Engine
from pipeline.store.logs.entry import LEVELS, Entry
from pipeline.store.logs.file import Chunk, Segment, find_chunks, find_chunks_since, read_columns, read_lines
from pipeline.store.logs.filters import may_hold
from pipeline.store.logs.query import Counts, Found, Page, Place, Query, Summary, Tail
from pipeline.store.logs.streams import Stream
from pipeline.store.selector import Matcher
from pipeline.wire.errors import MalformedError
from pipeline.wire.loki import Pairs
from pipeline.wire.remote_write import Labels

BUDGET_S: Final = 2.0
MAX_BUCKETS: Final = 2_000


@dataclass(slots=True)
class _Look:
    """One question at work: what was there when it was asked, and its conditions."""

    query: Query
    ends_s: float
    streams: dict[int, Stream]
    every: bool
    heads: list[tuple[Stream, list[Entry]]]
    segments: list[Segment]
    last_seq: int
    levels: frozenset[int] = frozenset()
    test: Callable[[str, Pairs], bool] = field(default=lambda _line, _metadata: True)
    needles: tuple[str, ...] = ()

    def wants(self, time_ns: int, level: int) -> bool:
        return self.query.start_ns <= time_ns < self.query.end_ns and (not self.levels or level in self.levels)


@dataclass(frozen=True, slots=True)
class Queries:
    """Answers from memory, under the engine's lock, and from chunks, with a connection of its own."""

    engine: Engine
    connection: sqlite3.Connection
    clock: Callable[[], float] = time.monotonic

    def entries(self, query: Query, limit: int, *, newest_first: bool, after: Place | None, budget_s: float) -> Page:
        """Return the first entries behind a place; see `LogStore.entries`."""
        sign = -1 if newest_first else 1
        look = self._look(query, budget_s)
        ranks = count()
        # What is popped next is the first entry, or what may hold an entry before all others that are known.
        waiting: list[tuple[Place, int, Segment | Chunk | tuple[Stream, Entry]]] = []
        behind = (sign * after[0], sign * after[1]) if after else (-(1 << 63), 0)

        def put(stream: Stream, entry: Entry) -> None:
            rank = (sign * entry.time_ns, sign * entry.seq)
            if rank > behind:
                heapq.heappush(waiting, (rank, next(ranks), (stream, entry)))

        def put_bound(one: Segment | Chunk) -> None:
            first_ns, last_ns = (one.latest_ns, one.earliest_ns) if newest_first else (one.earliest_ns, one.latest_ns)
            if sign * last_ns >= behind[0]:
                heapq.heappush(waiting, ((sign * first_ns, -(1 << 63)), next(ranks), one))

        for stream, entry in self._in_memory(look):
            put(stream, entry)
        for segment in look.segments:
            put_bound(segment)
        found: list[Found] = []
        while waiting and len(found) < limit:
            rank, _, one = heapq.heappop(waiting)
            if isinstance(one, tuple):
                found.append(_found(*one))
                continue
            if self.clock() > look.ends_s:
                reached_ns = sign * rank[0]
                # Whatever has this very time is still to come.
                return Page(found, (reached_ns, -sign * (1 << 62)), reached_ns, look.last_seq)
            if isinstance(one, Segment):
                for chunk in self._chunks(look, one):
                    put_bound(chunk)
            else:
                for entry in self._in_chunk(look, one):
                    put(look.streams[one.stream], entry)
        last = found[-1] if found and waiting else None
        return Page(found, (last.time_ns, last.seq) if last else None, None, look.last_seq)

    def counts(self, query: Query, step_ns: int, budget_s: float) -> Counts:
        """Count entries by step and level, the newest chunks first; see `LogStore.counts`."""
        look = self._look(query, budget_s)
        steps: dict[int, list[int]] = {}

        def add(time_ns: int, level: int, entries: int = 1) -> None:
            step = time_ns - time_ns % step_ns
            if step not in steps:
                steps[step] = [0] * len(LEVELS)
            steps[step][level] += entries

        for _, entry in self._in_memory(look):
            add(entry.time_ns, entry.level)
        for segment in sorted(look.segments, key=lambda one: -one.latest_ns):
            for chunk in sorted(self._chunks(look, segment), key=lambda one: -one.latest_ns):
                if self.clock() > look.ends_s:
                    return Counts(step_ns, steps, chunk.latest_ns)
                within = query.start_ns <= chunk.earliest_ns and chunk.latest_ns < query.end_ns
                if query.text.parts:
                    for entry in self._in_chunk(look, chunk):
                        add(entry.time_ns, entry.level)
                elif within and chunk.earliest_ns // step_ns == chunk.latest_ns // step_ns:
                    for level, entries in enumerate(chunk.levels):
                        if entries and look.wants(chunk.earliest_ns, level):
                            add(chunk.earliest_ns, level, entries)
                elif columns := self._columns(chunk):
                    for time_ns, level in zip(columns.times, columns.levels, strict=True):
                        if look.wants(time_ns, level):
                            add(time_ns, level)
        return Counts(step_ns, steps, None)

    def tail(self, query: Query, since: int, limit: int, budget_s: float) -> Tail:
        """Return the newest entries that came behind a number; see `LogStore.tail`."""
        look = self._look(query, budget_s)
        found: list[tuple[Stream, Entry]] = []
        for stream, head in look.heads:
            found += ((stream, e) for e in head if e.seq > since and self._holds(look, e))
        for segment in look.segments:
            if segment.last_seq > since:
                for chunk in find_chunks_since(self.connection, segment, since):
                    if chunk.stream in look.streams:
                        stream = look.streams[chunk.stream]
                        found += ((stream, e) for e in self._in_chunk(look, chunk) if e.seq > since)
        newest = heapq.nlargest(limit, found, key=lambda one: one[1].seq)
        return Tail([_found(*one) for one in reversed(newest)], len(found) - len(newest), look.last_seq)

    def label_names(self, matchers: Sequence[Matcher]) -> list[str]:
        """Return the label names of the streams that satisfy the matchers."""
        with self.engine.lock:
            return self.engine.index.label_names(matchers)

    def label_values(self, name: str, matchers: Sequence[Matcher]) -> list[str]:
        """Return the values of a label in the streams that satisfy the matchers."""
        with self.engine.lock:
            return self.engine.index.label_values(name, matchers)

    def streams(self, matchers: Sequence[Matcher], limit: int) -> list[Labels]:
        """Return the labels of the streams that satisfy the matchers."""
        with self.engine.lock:
            found = self.engine.index.search("", matchers)
        return [stream.labels for stream in found[:limit]]

    def summary(self) -> Summary:
        """Return how much there is."""
        with self.engine.lock:
            segments, streams = list(self.engine.segments), len(self.engine.index.by_id)
            unpacked = self.engine.head_entries
        earliest_ns = min((segment.earliest_ns for segment in segments), default=None)
        entries = unpacked + sum(segment.entries for segment in segments)
        return Summary(streams, entries, self.engine.stored_bytes, earliest_ns)

    def _look(self, query: Query, budget_s: float) -> _Look:
        test = query.text.test()
        with self.engine.lock:
            index = self.engine.index
            chosen = {stream.id: stream for stream in index.select(query.matchers)}
            heads = [(stream, list(stream.head)) for stream in chosen.values() if stream.head]
            segments = [
                s for s in self.engine.segments if s.latest_ns >= query.start_ns and s.earliest_ns < query.end_ns
            ]
            every, last_seq = len(chosen) == len(index.by_id), self.engine.last_seq
        levels = frozenset(LEVELS.index(name) for name in query.levels if name in LEVELS)
        ends_s = self.clock() + budget_s
        return _Look(query, ends_s, chosen, every, heads, segments, last_seq, levels, test, query.text.needles())

    def _holds(self, look: _Look, entry: Entry) -> bool:
        return look.wants(entry.time_ns, entry.level) and look.test(entry.line, entry.metadata)

    def _in_memory(self, look: _Look) -> Iterator[tuple[Stream, Entry]]:
        for stream, head in look.heads:
            for entry in head:
                if self._holds(look, entry):
                    yield stream, entry

    def _chunks(self, look: _Look, segment: Segment) -> list[Chunk]:
        if not look.streams:
            return []
        query = look.query
        chosen = None if look.every else list(look.streams)
        words = query.text.index_query()
        found = find_chunks(self.connection, segment, query.start_ns, query.end_ns - 1, chosen, words)
        return [chunk for chunk in found if chunk.stream in look.streams]

    def _in_chunk(self, look: _Look, chunk: Chunk) -> Iterator[Entry]:
        """Return the entries of a chunk that the question is about."""
        columns = self._columns(chunk)
        if columns is None or not any(map(look.wants, columns.times, columns.levels)):
            return
        lines = self._lines(chunk)
        if lines is None:
            return
        if not (look.query.text.metadata and lines.metadata) and not may_hold(lines.text.casefold(), look.needles):
            return
        each = zip(columns.times, columns.seqs, lines.each(), columns.levels, strict=True)
        for time_ns, seq, (line, metadata), level in each:
            if look.wants(time_ns, level) and look.test(line, metadata):
                yield Entry(time_ns, seq, line, metadata, level)

    def _columns(self, chunk: Chunk) -> Columns | None:
        try:
            return read_columns(self.connection, chunk)
        except MalformedError as error:
            raise _damaged(chunk, error) from error

    def _lines(self, chunk: Chunk) -> Lines | None:
        try:
            return read_lines(self.connection, chunk)
        except MalformedError as error:
            raise _damaged(chunk, error) from error


def _damaged(chunk: Chunk, error: MalformedError) -> PermanentError:
    return PermanentError(f"the embedded store of logs is damaged in chunk {chunk.segment}/{chunk.id}: {error}")


def _found(stream: Stream, entry: Entry) -> Found:
    return Found(entry.time_ns, entry.seq, entry.line, stream.labels, entry.metadata, LEVELS[entry.level])
