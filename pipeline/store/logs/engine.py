"""What the store of logs' one writing thread does: take requests in, pack chunks, drop what is too old or too much.

Entries are acknowledged once their request is in the table `pending`; they also lie in memory, by stream. Every half
hour (or when that memory is full) they are packed into chunks, and `pending` is emptied in the same transaction.

Of a request that may have been stored before, what the store has already is left out (`unstored`).
"""

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import cramjam

from pipeline.errors import PermanentError
from pipeline.store.database import damaged
from pipeline.store.index import Index
from pipeline.store.logs.chunk import cut
from pipeline.store.logs.config import LogStoreConfig
from pipeline.store.logs.entry import Entry, level_of_labels, level_of_line
from pipeline.store.logs.file import (
    LogFile,
    NewChunk,
    Segment,
    create_segment,
    drop_segment,
    write_chunk,
    write_segment,
)
from pipeline.store.logs.requests import New, encode, parse
from pipeline.store.logs.streams import Stream
from pipeline.store.logs.unstored import unstored
from pipeline.telemetry import LogStoreMetrics
from pipeline.wire.errors import MalformedError

logger = logging.getLogger(__name__)

SEAL_EVERY_S: Final = 1800.0
MAX_HEAD_BYTES: Final = 8 << 20
MAX_LABEL_BYTES: Final = 8 << 20
"""What all streams' labels may take on disk; in memory they take some twenty times as much."""
ENTRY_BYTES: Final = 200
"""What an entry takes in memory besides its line."""
_SEGMENTS: Final = 32
"""Into how many steps retention divides what is kept, by age and by size."""
_INDEX_RATIO: Final = 2
"""How much larger a segment is than its packed columns and lines, about."""


class Push(NamedTuple):
    """An uncompressed logproto.PushRequest, and whether it may have been stored before."""

    data: bytes
    in_doubt: bool = False


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a request: entries that are durable now, and those that already were."""

    entries: int
    duplicates: int


class Engine:
    """The store's memory and the file behind it. Only the writing thread calls its methods.

    `lock` guards `index`, `segments` and `last_seq` (and the entries of every stream) against readers in other threads.
    """

    def __init__(
        self, config: LogStoreConfig, file: LogFile, metrics: LogStoreMetrics, clock: Callable[[], float]
    ) -> None:
        self._config, self._file, self._metrics, self._clock = config, file, metrics, clock
        self._max_head_bytes = min(MAX_HEAD_BYTES, config.max_bytes // 32)
        self._max_label_bytes = min(MAX_LABEL_BYTES, config.max_bytes // 8)
        self._next_stream = self._next_segment = 1
        # Numbers go on where an emptied (or another) store stopped, for whoever still asks for what came since.
        self.last_seq = int(clock() * 1e6)
        self.lock = threading.Lock()
        self.load()

    def load(self) -> None:
        """Read into memory what the file has; also after a transaction that failed."""
        index, segments = Index[Stream](), self._file.segments()
        for id_, key in self._file.connection.execute("SELECT id, labels FROM streams"):
            index.add(Stream(id_, key))
        for segment in segments:
            for id_, latest_ns in self._file.sealed(segment.id):
                stream = index.by_id[id_]
                stream.latest_ns = stream.sealed_until_ns = max(stream.sealed_until_ns, latest_ns)
                stream.segment = segment.id
        last_seq = max((segment.last_seq for segment in segments), default=0)
        self.head_bytes = self.head_entries = 0
        try:
            for first_seq, packed in self._file.connection.execute("SELECT first_seq, data FROM pending ORDER BY 1"):
                last_seq = first_seq - 1
                for key, new in parse(bytes(cramjam.zstd.decompress(packed))).items():
                    last_seq = self._put(index.by_key[key], new, last_seq)
        except (cramjam.DecompressionError, MalformedError, KeyError) as error:
            raise damaged(self._file.path, f"entries that are not packed yet: {error!r}") from error
        with self.lock:
            self.index, self.segments = index, segments
            self.last_seq = max(self.last_seq, last_seq)
        self._next_stream = max(self._next_stream, max(index.by_id, default=0) + 1)
        self._next_segment = max(self._next_segment, max((segment.id for segment in segments), default=0) + 1)
        self._head_since_s = self._clock()
        self._gauge()

    def append(self, requests: Sequence[Push]) -> list[Taken | PermanentError]:
        """Take requests in, in one transaction; the answers come in order. Raises sqlite3.Error where that failed."""
        streams: list[Stream] = []
        pending: list[tuple[int, bytes]] = []
        if not self.head_entries:
            self._head_since_s = self._clock()
        with self.lock:
            answers = [self._take(request, streams, pending) for request in requests]
        if pending:
            with self._file.transaction() as connection:
                connection.executemany("INSERT INTO streams VALUES (?, ?)", ((s.id, s.key) for s in streams))
                connection.executemany("INSERT INTO pending VALUES (?, ?)", pending)
            self._metrics.commits.inc()
        for answer in answers:
            if isinstance(answer, Taken):
                self._metrics.entries.inc(answer.entries)
                self._metrics.duplicates.inc(answer.duplicates)
        return answers

    @property
    def full(self) -> bool:
        """Whether memory holds as much as it may: `maintain` then packs it."""
        return self.head_bytes >= self._max_head_bytes

    def maintain(self) -> None:
        """Pack what is due and drop what is too old or too much; cheap where there is nothing to do."""
        if self.full or (self.head_entries and self._clock() - self._head_since_s >= SEAL_EVERY_S):
            self.seal()
        oldest_ns = int((self._clock() - self._config.max_age) * 1e9)
        for segment in list(self.segments):
            if segment.expires_from_ns < oldest_ns:
                self._drop(segment, "age")
        while self.segments and self._file.live_bytes() > self._config.max_bytes:
            self._drop(self.segments[0], "size")
        self._gauge()

    def seal(self) -> None:
        """Pack what lies in memory into chunks."""
        full = [stream for stream in self.index.by_id.values() if stream.head]
        if not full:
            return
        now_ns = int(self._clock() * 1e9)
        before = self.segments[-1] if self.segments else None
        segment = before
        with self._file.transaction() as connection:
            if segment is None or self._is_complete(segment, now_ns):
                before, segment = None, Segment(self._next_segment, now_ns)
                create_segment(connection, segment.id)
            for stream in full:
                for part in cut(sorted(stream.head)):
                    chunk = NewChunk(stream.id, part)
                    segment = segment.grown(chunk, now_ns)
                    write_chunk(connection, segment, chunk)
            write_segment(connection, segment)
            connection.execute("DELETE FROM pending")
        with self.lock:
            for stream in full:
                stream.seal(segment.id)
            self.segments = [s for s in self.segments if s is not before] + [segment]
        self._next_segment = segment.id + 1
        self.head_bytes = self.head_entries = 0

    def _is_complete(self, segment: Segment, now_ns: int) -> bool:
        return (
            segment.packed_bytes * _INDEX_RATIO >= self._config.max_bytes / _SEGMENTS
            or abs(now_ns - segment.began_ns) >= self._config.max_age * 1e9 / _SEGMENTS
        )

    def _take(self, request: Push, streams: list[Stream], pending: list[tuple[int, bytes]]) -> Taken | PermanentError:
        try:
            parsed = parse(request.data)
        except MalformedError as error:
            return PermanentError(f"not stored: {error}")
        unknown = [key for key in parsed if key not in self.index.by_key]
        if unknown and self.index.bytes + sum(map(len, unknown)) > self._max_label_bytes:
            return PermanentError(
                f"not stored: the labels of all streams would take more than {self._max_label_bytes} bytes: make "
                "structured metadata of labels that have many values"
            )
        for key in unknown:
            stream = Stream(self._next_stream, key)
            self._next_stream += 1
            self.index.add(stream)
            streams.append(stream)
        kept = parsed
        if request.in_doubt:
            kept = {
                key: unstored(entries, self.index.by_key[key], self._file, self.segments)
                for key, entries in parsed.items()
            }
        duplicates = sum(map(len, parsed.values())) - sum(map(len, kept.values()))
        kept = {key: entries for key, entries in kept.items() if entries}
        first_seq = self.last_seq + 1
        for key, entries in kept.items():
            self.last_seq = self._put(self.index.by_key[key], entries, self.last_seq)
        if kept:
            pending.append(
                (first_seq, bytes(cramjam.zstd.compress(encode(kept) if duplicates else request.data, level=1)))
            )
        return Taken(self.last_seq - first_seq + 1, duplicates)

    def _put(self, stream: Stream, entries: Sequence[New], seq: int) -> int:
        """Number entries behind `seq`, and keep them in memory; return the last number."""
        known = stream.level
        stream.put(
            [
                Entry(at_ns, n, line, metadata, level_of_labels(metadata) or known or level_of_line(line))
                for n, (at_ns, line, metadata) in enumerate(entries, seq + 1)
            ]
        )
        self.head_entries += len(entries)
        self.head_bytes += sum(len(entry.line) for entry in entries) + ENTRY_BYTES * len(entries)
        return seq + len(entries)

    def _drop(self, segment: Segment, reason: str) -> None:
        gone = [s for s in self.index.by_id.values() if not s.head and s.segment <= segment.id]
        with self._file.transaction() as connection:
            drop_segment(connection, segment.id)
            connection.executemany("DELETE FROM streams WHERE id = ?", ((stream.id,) for stream in gone))
        with self.lock:
            self.segments = [other for other in self.segments if other is not segment]
            self.index.remove(gone)
        self._metrics.dropped.labels(reason).inc(segment.entries)
        logger.info(
            "retention dropped a segment of logs",
            extra={"reason": reason, "entries": segment.entries, "latest_ms": segment.latest_ns // 1_000_000},
        )

    def _gauge(self) -> None:
        self._metrics.streams.set(len(self.index.by_id))
        self.stored_bytes = self._file.live_bytes()
        self._metrics.stored_bytes.set(self.stored_bytes)
