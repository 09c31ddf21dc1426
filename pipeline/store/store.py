"""The embedded store as its users see it: appends that are durable when they return, and queries, from an event loop.

A thread writes, with group commit: what arrives while one transaction is being synced goes into the next together.
Another thread reads. No call holds the loop.
"""

import asyncio
import logging
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

from prometheus_client import CollectorRegistry

from pipeline.errors import PermanentError, PipelineError, TransientError
from pipeline.store import file as store_file
from pipeline.store.config import StoreConfig
from pipeline.store.engine import Appended, Engine
from pipeline.store.queries import Chart, Found, Latest, Points, Queries, Select, Summary
from pipeline.store.reader import Reader
from pipeline.store.requests import Metadata
from pipeline.store.selector import Matcher
from pipeline.store.steps import LOOKBACK_MS
from pipeline.telemetry import StoreMetrics
from pipeline.wire.remote_write import Labels

logger = logging.getLogger(__name__)

MAX_WAITING_BYTES: Final = 64 << 20
MAINTAIN_EVERY_S: Final = 10.0

Result = TypeVar("Result")


Waiting = tuple[bytes, "asyncio.Future[Appended]"]


class Store:
    """A time-series store in one SQLite file. Used from one event loop; one process at a time has the file."""

    def __init__(
        self, config: StoreConfig, registry: CollectorRegistry, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._config, self._clock = config, clock
        self._metrics = StoreMetrics(registry)
        self._wake = threading.Condition()
        self._waiting: deque[Waiting] = deque()
        self._waiting_bytes = 0
        self._asked: deque[tuple[Callable[[], None], asyncio.Future[None]]] = deque()
        self._closing = False
        self._broken: str | None = None
        self._reading = ThreadPoolExecutor(1, "store-reader")

    async def start(self) -> None:
        """Open the file and read its index; raises PermanentError where that cannot be."""
        self._loop = asyncio.get_running_loop()
        self._engine, self._queries = await asyncio.to_thread(self._open)
        self._thread = threading.Thread(target=self._write, name="store-writer", daemon=True)
        self._thread.start()

    async def close(self) -> None:
        """Write what was handed over, then let go of the file."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        await asyncio.to_thread(self._thread.join)
        self._reading.shutdown()
        self._queries.reader.close()
        self._file.close()

    def ready(self) -> str | None:
        """Return None, or why nothing can be stored now."""
        return self._broken

    async def append(self, request: bytes) -> Appended:
        """Store an uncompressed remote write 1.0 WriteRequest; its samples are durable when this returns.

        Raises PermanentError where the request cannot be stored, all of it then: it is malformed, has a series without
        a name, or the bound on labels is reached; TransientError where too much waits, or the disk fails. Exemplars and
        native histograms are left out, and counted. A caller that is cancelled takes nothing back.
        """
        if self._waiting_bytes + len(request) > MAX_WAITING_BYTES and self._waiting_bytes:
            raise TransientError("the embedded store is behind: too much waits to be written", retry_after_s=1.0)
        answer: asyncio.Future[Appended] = self._loop.create_future()
        with self._wake:
            if self._closing:
                raise TransientError("the embedded store is closed")
            self._waiting.append((request, answer))
            self._waiting_bytes += len(request)
            self._wake.notify()
        return await answer

    async def maintain(self, *, seal: bool = False) -> None:
        """Pack and drop what is due now, and with `seal` pack all there is, rather than within ten seconds."""
        done: asyncio.Future[None] = self._loop.create_future()

        def work() -> None:
            if seal:
                self._engine.seal()
            self._engine.maintain()

        with self._wake:
            if self._closing:
                raise TransientError("the embedded store is closed")
            self._asked.append((work, done))
            self._wake.notify()
        await done

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
            damage = store_file.failure(self._config.path, error)
            raise damage or TransientError(f"the embedded store could not be read: {error}") from error

    def _open(self) -> tuple[Engine, Queries]:
        self._file = store_file.open_file(self._config.path)
        try:
            engine = Engine(self._config, self._file, self._metrics, self._clock)
            return engine, Queries(engine, Reader(store_file.open_reader(self._config.path), engine))
        except sqlite3.Error as error:
            self._file.close()
            raise store_file.failure(self._config.path, error) or PermanentError(str(error)) from error
        except BaseException:
            self._file.close()
            raise

    def _write(self) -> None:
        """Be the writing thread until the store closes and nothing waits any more."""
        held: list[asyncio.Future[Any]] = []
        try:
            maintain_at_s = 0.0
            while self._wait():
                with self._wake:
                    waiting, asked = list(self._waiting), list(self._asked)
                    self._waiting.clear()
                    self._asked.clear()
                held = [*(future for _, future in waiting), *(future for _, future in asked)]
                if waiting:
                    self._append(waiting)
                for work, done in asked:
                    self._tell(done, self._guard(work))
                if time.monotonic() >= maintain_at_s or self._engine.full:
                    self._guard(self._engine.maintain)
                    maintain_at_s = time.monotonic() + MAINTAIN_EVERY_S
        finally:
            with self._wake:
                # Ended by a defect, where not by `close`: nobody may wait for a thread that is gone.
                self._closing = True
                self._broken = self._broken or "the embedded store is closed"
                held += [*(future for _, future in self._waiting), *(future for _, future in self._asked)]
                for future in held:
                    self._tell(future, TransientError(self._broken))

    def _wait(self) -> bool:
        """Wait until there is something to do, or ten seconds; False when all is done and the store closes."""
        with self._wake:
            if not (self._waiting or self._asked or self._closing):
                self._wake.wait(MAINTAIN_EVERY_S)
            return bool(self._waiting or self._asked or not self._closing)

    def _append(self, waiting: list[Waiting]) -> None:
        answers: Sequence[Appended | PipelineError] = []

        def work() -> None:
            nonlocal answers
            answers = self._engine.append([request for request, _ in waiting])

        failed = self._guard(work)
        with self._wake:
            self._waiting_bytes -= sum(len(request) for request, _ in waiting)
        for n, (_, future) in enumerate(waiting):
            self._tell(future, failed or answers[n])

    def _guard(self, work: Callable[[], None]) -> TransientError | None:
        """Do what writes. Where the file fails, memory may be ahead of it: say so, and read it back before the next."""
        try:
            if self._broken is not None:
                self._engine.load()
                self._broken = None
            work()
        except (sqlite3.Error, PermanentError) as error:
            self._broken = f"the embedded store cannot be written: {error}"
            logger.error(self._broken, extra={"path": str(self._config.path)})
            return TransientError(self._broken, retry_after_s=5.0)
        return None

    def _tell(self, future: "asyncio.Future[Any]", answer: Appended | BaseException | None) -> None:
        self._loop.call_soon_threadsafe(_resolve, future, answer)


def _resolve(future: "asyncio.Future[Any]", answer: Appended | BaseException | None) -> None:
    if future.done():
        return
    if isinstance(answer, BaseException):
        future.set_exception(answer)
    else:
        future.set_result(answer)
