"""The embedded store of logs as its users see it: appends that are durable when they return, and questions.

A thread writes, with group commit; another reads. No call holds the event loop.
"""

import asyncio
import sqlite3
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from prometheus_client import CollectorRegistry

from pipeline.errors import PermanentError, TransientError
from pipeline.store.database import failure, open_reader
from pipeline.store.logs.config import LogStoreConfig
from pipeline.store.logs.engine import Engine, Push, Taken
from pipeline.store.logs.file import FORMAT, LogFile
from pipeline.store.logs.queries import BUDGET_S, MAX_BUCKETS, Queries
from pipeline.store.logs.query import Counts, Page, Place, Query, Summary, Tail
from pipeline.store.selector import Matcher
from pipeline.store.writer import Writer
from pipeline.telemetry import LogStoreMetrics
from pipeline.wire.remote_write import Labels

Result = TypeVar("Result")


class LogStore:
    """A store of log entries in one SQLite file. Used from one event loop; one process at a time has the file."""

    def __init__(
        self, config: LogStoreConfig, registry: CollectorRegistry, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._config, self._clock = config, clock
        self._metrics = LogStoreMetrics(registry)
        self._writer = Writer[Push, Taken](config.path, "the embedded store of logs")
        self._reading = ThreadPoolExecutor(1, "log-store-reader")

    async def start(self) -> None:
        """Open the file and read what is not packed yet; raises PermanentError where that cannot be."""
        self._loop = asyncio.get_running_loop()
        self._engine, self._queries = await asyncio.to_thread(self._open)
        self._writer.start(self._engine)

    async def close(self) -> None:
        """Write what was handed over, then let go of the file."""
        await self._writer.close()
        self._reading.shutdown()
        self._queries.connection.close()
        self._file.close()

    def ready(self) -> str | None:
        """Return None, or why nothing can be stored now."""
        return self._writer.ready()

    async def append(self, request: bytes, *, in_doubt: bool = False) -> Taken:
        """Store an uncompressed logproto.PushRequest; its entries are durable when this returns.

        Of a request `in_doubt`, which may have been stored before, an entry that its stream has already (time, line and
        metadata) is not stored again, unless the request has more of them. Raises PermanentError where the request
        cannot be stored, all of it then: it is malformed, or the bound on labels is reached; TransientError where too
        much waits, or the disk fails. A caller that is cancelled takes nothing back.
        """
        return await self._writer.append(Push(request, in_doubt), len(request))

    async def maintain(self, *, seal: bool = False) -> None:
        """Pack and drop what is due now, and with `seal` pack all there is, rather than within ten seconds."""

        def work() -> None:
            if seal:
                self._engine.seal()
            self._engine.maintain()

        await self._writer.do(work)

    async def entries(
        self,
        query: Query,
        limit: int,
        *,
        newest_first: bool = True,
        after: Place | None = None,
        budget_s: float = BUDGET_S,
    ) -> Page:
        """Return the first entries by time, or those behind a place that an earlier page ended with.

        Raises SelectorError for a broken regular expression.
        """
        return await self._read(
            lambda ask: ask.entries(query, limit, newest_first=newest_first, after=after, budget_s=budget_s)
        )

    async def tail(self, query: Query, since: int, limit: int, *, budget_s: float = BUDGET_S) -> Tail:
        """Return the newest entries that came behind a number, whatever their time, in the order in which they came."""
        return await self._read(lambda ask: ask.tail(query, since, limit, budget_s))

    async def counts(self, query: Query, step_ns: int, *, budget_s: float = BUDGET_S) -> Counts:
        """Count entries by step and level. Raises PermanentError where the range has more than 2,000 steps."""
        if step_ns <= 0 or (query.end_ns - query.start_ns) // step_ns > MAX_BUCKETS:
            raise PermanentError(f"counts take a step above zero and at most {MAX_BUCKETS} of them")
        return await self._read(lambda ask: ask.counts(query, step_ns, budget_s))

    async def label_names(self, matchers: Sequence[Matcher] = ()) -> list[str]:
        """Return the label names of the streams that satisfy the matchers."""
        return await self._read(lambda ask: ask.label_names(matchers))

    async def label_values(self, name: str, matchers: Sequence[Matcher] = ()) -> list[str]:
        """Return the values of a label in the streams that satisfy the matchers."""
        return await self._read(lambda ask: ask.label_values(name, matchers))

    async def streams(self, matchers: Sequence[Matcher] = (), *, limit: int = 1_000) -> list[Labels]:
        """Return the labels of the streams that satisfy the matchers."""
        return await self._read(lambda ask: ask.streams(matchers, limit))

    async def summary(self) -> Summary:
        """Return how much there is."""
        return await self._read(lambda ask: ask.summary())

    async def _read(self, ask: Callable[[Queries], Result]) -> Result:
        try:
            return await self._loop.run_in_executor(self._reading, ask, self._queries)
        except sqlite3.Error as error:
            damage = failure(self._config.path, error)
            raise damage or TransientError(f"the embedded store of logs could not be read: {error}") from error

    def _open(self) -> tuple[Engine, Queries]:
        self._file = LogFile.open(self._config.path, FORMAT)
        try:
            # What is dropped need not be overwritten: where SQLite is built to do that, dropping takes as long as it.
            self._file.connection.execute("PRAGMA secure_delete = OFF")
            engine = Engine(self._config, self._file, self._metrics, self._clock)
            return engine, Queries(engine, open_reader(self._config.path))
        except sqlite3.Error as error:
            self._file.close()
            raise failure(self._config.path, error) or PermanentError(str(error)) from error
        except BaseException:
            self._file.close()
            raise
