"""Reading samples back: from memory, and from every block that overlaps what is asked for."""

import bisect
import sqlite3
from array import array
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

from pipeline.errors import PermanentError
from pipeline.store import chunks
from pipeline.store.engine import Engine
from pipeline.store.file import Block
from pipeline.store.index import SeriesHead
from pipeline.wire.errors import MalformedError

Columns = tuple["array[int]", "array[float]"]
_CACHED_COLUMNS: Final = 4096
MAX_CHUNKS: Final = 200_000
"""What one query may read: some seconds' worth."""


class Reader:
    """Reads with a connection of its own; used by one thread."""

    def __init__(self, connection: sqlite3.Connection, engine: Engine) -> None:
        self._connection = connection
        self._engine = engine
        self._columns: dict[tuple[int, int], array[int]] = {}

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def samples(
        self, chosen: Sequence[SeriesHead], start_ms: int, end_ms: int
    ) -> Iterator[tuple[SeriesHead, "array[int]", "array[float]"]]:
        """Return for each series its timestamps from start to end (both included), ascending, and their values.

        Raises PermanentError where that would hold up everybody else who reads.
        """
        with self._engine.lock:
            # What is packed after this still is in these heads; what was packed before is in these blocks.
            heads = {series.id: _cut(series.times, series.values, start_ms, end_ms) for series in chosen}
            blocks = [b for b in self._engine.blocks if b.latest_ms >= start_ms and b.earliest_ms <= end_ms]
        if len(chosen) * len(blocks) > MAX_CHUNKS:
            raise PermanentError(
                f"{len(chosen)} series over {len(blocks)} blocks are too much: ask for fewer, or less time"
            )
        for series in chosen:
            parts = [part for block in blocks if (part := self._chunk(block, series)) is not None]
            parts = [_cut(times, values, start_ms, end_ms) for times, values in parts]
            times, values = _join([*parts, heads[series.id]])
            yield series, times, values

    def _chunk(self, block: Block, series: SeriesHead) -> Columns | None:
        row = self._connection.execute(
            "SELECT times, data FROM chunks WHERE block = ? AND series = ?", (block.id, series.id)
        ).fetchone()
        if row is None:
            return None
        try:
            times = self._column(block.id, row[0])
            return (times, chunks.decode_values(row[1], len(times))) if times is not None else None
        except MalformedError as error:
            raise PermanentError(f"the embedded store is damaged in block {block.id}: {error}") from error

    def _column(self, block: int, number: int) -> "array[int] | None":
        column = self._columns.get((block, number))
        if column is None:
            row = self._connection.execute(
                "SELECT data FROM times WHERE block = ? AND number = ?", (block, number)
            ).fetchone()
            if row is None:  # retention dropped the block in between
                return None
            while len(self._columns) >= _CACHED_COLUMNS:
                del self._columns[next(iter(self._columns))]
            column = self._columns[block, number] = chunks.decode_times(row[0])
        return column


def _cut(times: "array[int]", values: "array[float]", start_ms: int, end_ms: int) -> Columns:
    first, behind = bisect.bisect_left(times, start_ms), bisect.bisect_right(times, end_ms)
    return times[first:behind], values[first:behind]


def _join(parts: Sequence[Columns]) -> Columns:
    """Join columns whose stretches of time may overlap where samples came late."""
    parts = [part for part in parts if part[0]]
    if not parts:
        return array("q"), array("d")
    times, values = array("q"), array("d")
    if all(before[0][-1] < after[0][0] for before, after in pairwise(parts)):
        for part_times, part_values in parts:
            times.extend(part_times)
            values.extend(part_values)
        return times, values
    # Values are carried as integers here: sorting must not touch their bits.
    every = {
        t: bits for part in reversed(parts) for t, bits in zip(part[0], array("Q", part[1].tobytes()), strict=True)
    }
    ordered = sorted(every)
    return array("q", ordered), array("d", array("Q", [every[t] for t in ordered]).tobytes())
