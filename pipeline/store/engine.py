"""What the embedded store's one writing thread does: take requests in, pack blocks, drop what is too old or too much.

Samples are acknowledged once they are in the table `pending`; they also lie in memory, by series. Every half hour (or
when that memory is full) they are packed into a block, and `pending` is emptied in the same transaction. A sample is
kept once for each (series, timestamp), the first one that came, wherever the earlier one lies by now.
"""

import bisect
import logging
import sqlite3
import threading
import zlib
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from pipeline.errors import PermanentError
from pipeline.store import chunks
from pipeline.store.config import StoreConfig
from pipeline.store.database import damaged
from pipeline.store.file import Block, StoreFile, delete_block, insert_chunks
from pipeline.store.index import Index, SeriesHead
from pipeline.store.requests import Metadata, parse
from pipeline.telemetry import StoreMetrics
from pipeline.wire.errors import MalformedError

logger = logging.getLogger(__name__)

BLOCK_S: Final = 1800.0
MAX_HEAD_SAMPLES: Final = 1_000_000
_CACHED_COLUMNS: Final = 256


@dataclass(frozen=True, slots=True)
class Appended:
    """What became of a request: samples that are durable now, and those that already were."""

    samples: int
    duplicates: int


@dataclass(slots=True)
class _Batch:
    """What one transaction adds."""

    series: list[SeriesHead] = field(default_factory=list)
    metadata: dict[str, Metadata] = field(default_factory=dict)
    ids: "array[int]" = field(default_factory=lambda: array("I"))
    times: "array[int]" = field(default_factory=lambda: array("q"))
    values: bytearray = field(default_factory=bytearray)


class Engine:
    """The store's memory and the file behind it. Only the writing thread calls its methods.

    `lock` guards `index`, `metadata` and `blocks` (and the samples of every series) against readers in other threads.
    """

    def __init__(self, config: StoreConfig, file: StoreFile, metrics: StoreMetrics, clock: Callable[[], float]) -> None:
        self._config, self._file, self._metrics, self._clock = config, file, metrics, clock
        self._told_of_histograms = False
        self._max_head_samples = min(MAX_HEAD_SAMPLES, config.max_bytes // 64)
        self._max_label_bytes = config.max_bytes // 4
        self._next_series = self._next_block = 1
        self.lock = threading.Lock()
        self.load()

    def load(self) -> None:
        """Read into memory what the file has; also after a transaction that failed."""
        index, blocks, metadata = Index[SeriesHead](), self._file.blocks(), self._file.metadata()
        sealed_until_ms = max((block.latest_ms for block in blocks), default=-(1 << 62))
        for id_, key in self._file.connection.execute("SELECT id, labels FROM series"):
            series = SeriesHead(id_, key)
            # Not known for each, so assume that blocks may hold anything up to here: `_is_sealed` looks.
            series.sealed_until_ms = sealed_until_ms
            index.add(series)
        try:
            head_samples = _load_pending(self._file.connection, index)
        except (zlib.error, KeyError, ValueError) as error:
            raise damaged(self._file.path, f"samples that are not packed yet: {error!r}") from error
        with self.lock:
            self.index, self.blocks, self.metadata = index, blocks, metadata
        # Numbers are not used twice while the store is open: readers keep what they know of a block, callers a series.
        self._next_series = max(self._next_series, max(index.by_id, default=0) + 1)
        self._next_block = max(self._next_block, max((block.id for block in blocks), default=0) + 1)
        self.head_samples, self._head_since_s = head_samples, self._clock()
        self._metadata_bytes = sum(map(_metadata_bytes, metadata.items()))
        self._columns: dict[tuple[int, int], array[int]] = {}
        self._gauge()

    def append(self, requests: Sequence[bytes]) -> list[Appended | PermanentError]:
        """Take requests in, in one transaction; the answers come in order. Raises sqlite3.Error where that failed."""
        batch = _Batch()
        with self.lock:
            answers = [self._take(request, batch) for request in requests]
        if batch.ids or batch.series or batch.metadata:
            with self._file.transaction() as connection:
                _insert_batch(connection, batch)
            self._metrics.commits.inc()
        for answer in answers:
            if isinstance(answer, Appended):
                self._metrics.samples.inc(answer.samples)
                self._metrics.duplicates.inc(answer.duplicates)
        if not self.head_samples:
            self._head_since_s = self._clock()
        self.head_samples += len(batch.ids)
        return answers

    @property
    def full(self) -> bool:
        """Whether memory holds as many samples as it may: `maintain` then packs them."""
        return self.head_samples >= self._max_head_samples

    def maintain(self) -> None:
        """Pack what is due and drop what is too old or too much; cheap where there is nothing to do."""
        if self.full or (self.head_samples and self._clock() - self._head_since_s >= BLOCK_S):
            self.seal()
        now_ms = self._clock() * 1000
        for block in list(self.blocks):
            if block.expires_from_ms < now_ms - self._config.max_age * 1000:
                self._drop(block, "age")
        while self.blocks and self._file.live_bytes() > self._config.max_bytes:
            self._drop(self.blocks[0], "size")
        self._gauge()

    def seal(self) -> None:
        """Pack what lies in memory into a block."""
        full = [series for series in self.index.by_id.values() if series.times]
        if not full:
            return
        # Each distinct column of timestamps is stored once, under its number.
        columns: dict[bytes, int] = {}
        rows = [
            (s.id, columns.setdefault(s.times.tobytes(), len(columns)), chunks.encode_values(s.values)) for s in full
        ]
        earliest_ms, latest_ms = min(s.times[0] for s in full), max(s.times[-1] for s in full)
        # A sender's clock must not decide how long its samples stay: what is dated in the future ages from now on.
        expires_from_ms = min(latest_ms, int(self._clock() * 1000))
        block = Block(self._next_block, earliest_ms, latest_ms, expires_from_ms, sum(len(s.times) for s in full))
        with self._file.transaction() as connection:
            packed = ((number, chunks.encode_times(array("q", raw))) for raw, number in columns.items())
            insert_chunks(connection, block, packed, rows)
            connection.execute("DELETE FROM pending")
        with self.lock:
            for series in full:
                series.seal()
            self.blocks.append(block)
        self._next_block += 1
        self.head_samples = 0

    def _take(self, request: bytes, batch: _Batch) -> Appended | PermanentError:
        created: dict[bytes, SeriesHead] = {}

        def create(key: bytes) -> SeriesHead:
            if key not in created:
                created[key] = SeriesHead(self._next_series + len(created), key)
            return created[key]

        try:
            parsed = parse(request, self.index.by_key, create)
        except MalformedError as error:
            return PermanentError(f"not stored: {error}")
        changed = {family: m for family, m in parsed.metadata.items() if self.metadata.get(family) != m}
        more_bytes = sum(map(len, created)) + sum(map(_metadata_bytes, changed.items()))
        if (created or changed) and self.index.bytes + self._metadata_bytes + more_bytes > self._max_label_bytes:
            return PermanentError(
                f"not stored: the labels of all series would take more than {self._max_label_bytes} bytes, a quarter "
                "of the store's max_bytes: raise that, or drop series"
            )
        for series in created.values():
            self.index.add(series)
            batch.series.append(series)
        self._next_series += len(created)
        self._metadata_bytes += sum(map(_metadata_bytes, changed.items()))
        self.metadata.update(changed)
        batch.metadata.update(changed)
        self._metrics.exemplars.inc(parsed.exemplars)
        self._leave_out(parsed.histograms)
        before = len(batch.ids)
        for series, timestamp_ms, value in parsed.samples:
            if self._put(series, timestamp_ms, value):
                batch.ids.append(series.id)
                batch.times.append(timestamp_ms)
                batch.values += value
        samples = len(batch.ids) - before
        return Appended(samples, len(parsed.samples) - samples)

    def _leave_out(self, histograms: int) -> None:
        """Count native histograms; the first are told of, since what is lost here was scraped for someone."""
        if histograms and not self._told_of_histograms:
            self._told_of_histograms = True
            logger.error(
                "the embedded store keeps no native histograms: they are left out, these and all that follow",
                extra={"histograms": histograms},
            )
        self._metrics.histograms.inc(histograms)

    def _put(self, series: SeriesHead, timestamp_ms: int, value: bytes) -> bool:
        """Keep a sample in memory; False where the series has one with this timestamp already."""
        if timestamp_ms <= series.sealed_until_ms and self._is_sealed(series, timestamp_ms):
            return False
        return series.put(timestamp_ms, value)

    def _is_sealed(self, series: SeriesHead, timestamp_ms: int) -> bool:
        for block in self.blocks:
            if block.earliest_ms <= timestamp_ms <= block.latest_ms:
                row = self._file.connection.execute(
                    "SELECT times FROM chunks WHERE block = ? AND series = ?", (block.id, series.id)
                ).fetchone()
                if row is not None:
                    times = self._column(block.id, row[0])
                    at = bisect.bisect_left(times, timestamp_ms)
                    if at < len(times) and times[at] == timestamp_ms:
                        return True
        return False

    def _column(self, block: int, number: int) -> "array[int]":
        column = self._columns.get((block, number))
        if column is None:
            (data,) = self._file.connection.execute(
                "SELECT data FROM times WHERE block = ? AND number = ?", (block, number)
            ).fetchone()
            while len(self._columns) >= _CACHED_COLUMNS:
                del self._columns[next(iter(self._columns))]
            column = self._columns[block, number] = chunks.decode_times(data)
        return column

    def _drop(self, block: Block, reason: str) -> None:
        rest = [other for other in self.blocks if other is not block]
        kept_from_ms = min((other.earliest_ms for other in rest), default=1 << 62)
        gone = [s for s in self.index.by_id.values() if not s.times and s.sealed_until_ms < kept_from_ms]
        with self._file.transaction() as connection:
            delete_block(connection, block)
            connection.executemany("DELETE FROM series WHERE id = ?", ((series.id,) for series in gone))
        with self.lock:
            self.blocks.remove(block)
            self.index.remove(gone)
        self._metrics.dropped.labels(reason).inc(block.samples)
        logger.info(
            "retention dropped a block",
            extra={"reason": reason, "samples": block.samples, "latest_ms": block.latest_ms, "series": len(gone)},
        )

    def _gauge(self) -> None:
        self._metrics.series.set(len(self.index.by_id))
        self.stored_bytes = self._file.live_bytes()
        self._metrics.stored_bytes.set(self.stored_bytes)


def _insert_batch(connection: sqlite3.Connection, batch: _Batch) -> None:
    connection.executemany("INSERT INTO series VALUES (?, ?)", ((series.id, series.key) for series in batch.series))
    connection.executemany(
        "INSERT INTO metadata VALUES (?, ?, ?, ?) ON CONFLICT (family) DO UPDATE SET kind = excluded.kind, "
        "help = excluded.help, unit = excluded.unit",
        ((family, m.kind, m.help, m.unit) for family, m in batch.metadata.items()),
    )
    if batch.ids:
        data = zlib.compress(batch.ids.tobytes() + batch.times.tobytes() + batch.values, 1)
        connection.execute("INSERT INTO pending (samples, data) VALUES (?, ?)", (len(batch.ids), data))


def _load_pending(connection: sqlite3.Connection, index: Index[SeriesHead]) -> int:
    """Put acknowledged samples that are in no block back into memory; return how many."""
    total = 0
    for samples, packed in connection.execute("SELECT samples, data FROM pending ORDER BY id"):
        data = zlib.decompress(packed)
        ids, times = array("I", data[: 4 * samples]), array("q", data[4 * samples : 12 * samples])
        for n, (id_, timestamp_ms) in enumerate(zip(ids, times, strict=True)):
            at = 12 * samples + 8 * n
            total += index.by_id[id_].put(timestamp_ms, data[at : at + 8])
    return total


def _metadata_bytes(item: tuple[str, Metadata]) -> int:
    family, metadata = item
    return len(family) + len(metadata.help) + len(metadata.unit)
