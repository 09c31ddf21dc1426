"""The embedded store as its users see it: appends that are durable when they return, and queries, from an event loop.

A thread writes, with group commit: what arrives while one transaction is being synced goes into the next together.
Another thread reads. No call holds the loop.
"""

import asyncio
import sqlite3
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from prometheus_client import CollectorRegistry

from pipeline.errors import PermanentError, TransientError
from pipeline.store.config import StoreConfig
from pipeline.store.database import failure, open_reader
from pipeline.store.engine import Appended, Engine
from pipeline.store.file import FORMAT, StoreFile
from pipeline.store.queries import Chart, Found, Latest, Points, Queries, Select, Summary
from pipeline.store.reader import Reader
from pipeline.store.requests import Metadata
from pipeline.store.selector import Matcher
from pipeline.store.steps import LOOKBACK_MS
from pipeline.store.writer import Writer
from pipeline.telemetry import StoreMetrics
from pipeline.wire.remote_write import Labels

Result = TypeVar("Result")


class Store:
    """A time-series store in one SQLite file. Used from one event loop; one process at a time has the file."""

    def __init__(
        self, config: StoreConfig, registry: CollectorRegistry, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._config, self._clock = config, clock
        self._metrics = StoreMetrics(registry)
        self._writer = Writer[bytes, Appended](config.path, "the embedded store")
        self._reading = ThreadPoolExecutor(1, "store-reader")

    async def start(self) -> None:
        """Open the file and read its index; raises PermanentError where that cannot be."""
        self._loop = asyncio.get_running_loop()
        self._engine, self._queries = await asyncio.to_thread(self._open)
        self._writer.start(self._engine)

    async def close(self) -> None:
        """Write what was handed over, then let go of the file."""
        await self._writer.close()
        self._reading.shutdown()
        self._queries.reader.close()
        self._file.close()

    def ready(self) -> str | None:
        """Return None, or why nothing can be stored now."""
        return self._writer.ready()

    async def append(self, request: bytes) -> Appended:
        """Store an uncompressed remote write 1.0 WriteRequest; its samples are durable when this returns.

        Raises PermanentError where the request cannot be stored, all of it then: it is malformed, has a series without
        a name, or the bound on labels is reached; TransientError where too much waits, or the disk fails. Exemplars and
        native histograms are left out, and counted. A caller that is cancelled takes nothing back.
        """
        return await self._writer.append(request, len(request))

    async def maintain(self, *, seal: bool = False) -> None:
        """Pack and drop what is due now, and with `seal` pack all there is, rather than within ten seconds."""

        def work() -> None:
            if seal:
                self._engine.seal()
            self._engine.maintain()

        await self._writer.do(work)

    async def search(
        self, text: str = "", matchers: Sequence[Matcher] = (), *, limit: int = 200
    ) -> tuple[list[Found], int]:
        """Find series whose labels contain every word of `text`: the first ones by name, and how many there are."""
        return await self._read(lambda ask: ask.search(text, matchers, limit))

    async def names(self, text: str = "", matchers: Sequence[Matcher] = ()) -> dict[str, int]:
        """Return the metric names of the series that `search` would find, in order, and how many series each has."""
        return await self._read(lambda ask: ask.names(text, matchers))

    async def find(self, labels: Labels) -> int | None:
        """Return the id of the series that has exactly these labels (sorted by name)."""
        return await self._read(lambda ask: ask.find(labels))

    async def label_names(self, selectors: Sequence[Sequence[Matcher]] = ()) -> list[str]:
        """Return the label names of the series that any of the selectors selects; of all where there is none."""
        return await self._read(lambda ask: ask.label_names(selectors))

    async def label_values(self, name: str, selectors: Sequence[Sequence[Matcher]] = ()) -> list[str]:
        """Return the values of a label in the series that any of the selectors selects; in all where there is none."""
        return await self._read(lambda ask: ask.label_values(name, selectors))

    async def series(self, selectors: Sequence[Sequence[Matcher]], *, limit: int | None = None) -> list[Found]:
        """Return the series that any of the selectors selects, by name."""
        return await self._read(lambda ask: ask.series(selectors, limit))

    async def query_range(
        self,
        select: Select,
        start_ms: int,
        end_ms: int,
        step_ms: int,
        *,
        rate_window_ms: int | None = None,
        lookback_ms: int = LOOKBACK_MS,
    ) -> tuple[Sequence[int], list[Points]]:
        """Return the steps from start to end, and the values (or rates a second) of every series that has any there.

        Raises PermanentError where that would be too much: more than two million points, or too many blocks to read.
        """
        if step_ms <= 0 or end_ms < start_ms:
            raise PermanentError("a range needs a step above zero and an end that is not before its start")
        steps = range(start_ms, end_ms + 1, step_ms)
        return steps, await self._read(lambda ask: ask.at_steps(select, steps, rate_window_ms, lookback_ms))

    async def chart(self, ids: Sequence[int], start_ms: int, end_ms: int, *, max_points: int, rate: bool) -> Chart:
        """Return series as a chart shows them: at steps no finer than their samples, with gaps where they have none.

        Steps stand on multiples of their width, so that a chart that moves on keeps its points. A gap begins where four
        samples in a row are missing, or where a staleness marker ends the series.
        """
        if end_ms < start_ms:
            raise PermanentError("a chart cannot end before it starts")
        return await self._read(lambda ask: ask.chart(ids, start_ms, end_ms, max_points, rate))

    async def latest(self, select: Select, *, lookback_ms: int = LOOKBACK_MS) -> list[Latest]:
        """Return the newest sample of every selected series that has one within `lookback_ms` and did not end."""
        since_ms = int(self._clock() * 1000) - lookback_ms
        return await self._read(lambda ask: ask.latest(select, since_ms))

    async def samples(self, select: Select, start_ms: int, end_ms: int) -> dict[Labels, list[tuple[int, float]]]:
        """Return every sample as it was stored, staleness markers included (as NaN)."""
        return await self._read(lambda ask: ask.samples(select, start_ms, end_ms))

    async def metadata(self) -> dict[str, Metadata]:
        """Return type, help and unit of every metric family that had any."""
        return await self._read(lambda ask: ask.metadata())

    async def summary(self) -> Summary:
        """Return how much there is."""
        return await self._read(lambda ask: ask.summary())

    async def _read(self, ask: Callable[[Queries], Result]) -> Result:
        try:
            return await self._loop.run_in_executor(self._reading, ask, self._queries)
        except sqlite3.Error as error:
            damage = failure(self._config.path, error)
            raise damage or TransientError(f"the embedded store could not be read: {error}") from error

    def _open(self) -> tuple[Engine, Queries]:
        self._file = StoreFile.open(self._config.path, FORMAT)
        try:
            engine = Engine(self._config, self._file, self._metrics, self._clock)
            return engine, Queries(engine, Reader(open_reader(self._config.path), engine))
        except sqlite3.Error as error:
            self._file.close()
            raise failure(self._config.path, error) or PermanentError(str(error)) from error
        except BaseException:
            self._file.close()
            raise
