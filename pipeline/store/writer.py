"""The thread that writes an embedded store, as its event loop sees it.

Appends are durable when they return. They are committed in groups: what arrives while one transaction is being synced
goes into the next together.
"""

import asyncio
import logging
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Generic, Protocol, TypeVar

from pipeline.errors import PermanentError, PipelineError, TransientError

logger = logging.getLogger(__name__)

MAX_WAITING_BYTES: Final = 64 << 20
MAINTAIN_EVERY_S: Final = 10.0

RequestT = TypeVar("RequestT")
RequestT_contra = TypeVar("RequestT_contra", contravariant=True)
AnswerT = TypeVar("AnswerT")
AnswerT_co = TypeVar("AnswerT_co", covariant=True)


class WrittenEngine(Protocol[RequestT_contra, AnswerT_co]):
    """What a writing thread drives: its memory, and the file behind it."""

    def load(self) -> None:
        """Read into memory what the file has, after a transaction that failed."""

    def append(self, requests: Sequence[RequestT_contra]) -> Sequence[AnswerT_co | PermanentError]:
        """Take requests in, in one transaction; the answers come in order. Raises sqlite3.Error where that failed."""

    def maintain(self) -> None:
        """Pack what is due and drop what is too old or too much; cheap where there is nothing to do."""

    @property
    def full(self) -> bool:
        """Whether memory holds as much as it may: `maintain` then packs it."""


class Writer(Generic[RequestT, AnswerT]):
    """One writing thread. Used from one event loop."""

    def __init__(self, path: Path, name: str) -> None:
        self._path, self._name = path, name
        self._wake = threading.Condition()
        self._waiting: deque[tuple[RequestT, int, asyncio.Future[AnswerT]]] = deque()
        self._waiting_bytes = 0
        self._asked: deque[tuple[Callable[[], None], asyncio.Future[None]]] = deque()
        self._closing = False
        self._broken: str | None = None

    def start(self, engine: WrittenEngine[RequestT, AnswerT]) -> None:
        """Begin to drive an engine, which nothing else writes through from now on."""
        self._engine = engine
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._write, name=f"{self._name}: writer", daemon=True)
        self._thread.start()

    async def close(self) -> None:
        """Write what was handed over, and end."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        await asyncio.to_thread(self._thread.join)

    def ready(self) -> str | None:
        """Return None, or why nothing can be stored now."""
        return self._broken

    async def append(self, request: RequestT, size_bytes: int) -> AnswerT:
        """Hand a request to the engine; it is durable when this returns. A caller that is cancelled takes nothing back.

        Raises PermanentError where the engine refuses it, TransientError where too much waits, or the disk fails.
        """
        if self._waiting_bytes + size_bytes > MAX_WAITING_BYTES and self._waiting_bytes:
            raise TransientError(f"{self._name} is behind: too much waits to be written", retry_after_s=1.0)
        answer: asyncio.Future[AnswerT] = self._loop.create_future()
        with self._wake:
            if self._closing:
                raise TransientError(f"{self._name} is closed")
            self._waiting.append((request, size_bytes, answer))
            self._waiting_bytes += size_bytes
            self._wake.notify()
        return await answer

    async def do(self, work: Callable[[], None]) -> None:
        """Have the writing thread do something else."""
        done: asyncio.Future[None] = self._loop.create_future()
        with self._wake:
            if self._closing:
                raise TransientError(f"{self._name} is closed")
            self._asked.append((work, done))
            self._wake.notify()
        await done

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
                held = [*(future for _, _, future in waiting), *(future for _, future in asked)]
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
                self._broken = self._broken or f"{self._name} is closed"
                held += [*(future for _, _, future in self._waiting), *(future for _, future in self._asked)]
                for future in held:
                    self._tell(future, TransientError(self._broken))

    def _wait(self) -> bool:
        """Wait until there is something to do, or ten seconds; False when all is done and the store closes."""
        with self._wake:
            if not (self._waiting or self._asked or self._closing):
                self._wake.wait(MAINTAIN_EVERY_S)
            return bool(self._waiting or self._asked or not self._closing)

    def _append(self, waiting: list[tuple[RequestT, int, "asyncio.Future[AnswerT]"]]) -> None:
        answers: Sequence[AnswerT | PipelineError] = []

        def work() -> None:
            nonlocal answers
            answers = self._engine.append([request for request, _, _ in waiting])

        failed = self._guard(work)
        with self._wake:
            self._waiting_bytes -= sum(size_bytes for _, size_bytes, _ in waiting)
        for n, (_, _, future) in enumerate(waiting):
            self._tell(future, failed or answers[n])

    def _guard(self, work: Callable[[], None]) -> TransientError | None:
        """Do what writes. Where the file fails, memory may be ahead of it: say so, and read it back before the next."""
        try:
            if self._broken is not None:
                self._engine.load()
                self._broken = None
            work()
        except (sqlite3.Error, PermanentError) as error:
            self._broken = f"{self._name} cannot be written: {error}"
            logger.error(self._broken, extra={"path": str(self._path)})
            return TransientError(self._broken, retry_after_s=5.0)
        return None

    def _tell(self, future: "asyncio.Future[Any]", answer: object) -> None:
        self._loop.call_soon_threadsafe(_resolve, future, answer)


def _resolve(future: "asyncio.Future[Any]", answer: object) -> None:
    if future.done():
        return
    if isinstance(answer, BaseException):
        future.set_exception(answer)
    else:
        future.set_result(answer)
