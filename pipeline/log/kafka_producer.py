"""Appending to Kafka: one idempotent producer at a time, with the promises of `pipeline.log.interface.Log.append`.

Two things the client does not do by itself (ARCHITECTURE 2): concurrent `send()` calls to one partition can overtake
each other where a batch is full, so each is placed under the partition's lock; and a batch that finally failed leaves a
gap in the producer's sequence that never heals, so everything pending fails and the next append starts a new producer.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from pipeline.errors import PermanentError, TransientError
from pipeline.log.interface import LogFullError, Partition
from pipeline.log.kafka_faults import TOO_LARGE, explain
from pipeline.telemetry import LogMetrics
from pipeline.wire.envelope import Headers

logger = logging.getLogger(__name__)

FULL_RETRY_S: Final = 0.5
START_RETRY_S: Final = 1.0
_WATCH_S: Final = 1.0
_STOP_S: Final = 15.0


@dataclass(slots=True, eq=False)
class Pending:
    """One append that was placed and not answered."""

    at: Partition
    size: int
    placed_s: float
    future: "asyncio.Future[int]"
    producer: Any


class Producing:
    """Places appends with the current producer, and replaces the producer once one of its batches failed for good.

    The client retries for ever: an append without an answer for `delivery_s` is given up, and may or may not be in the
    log (the caller's resending makes a duplicate with the same sequence number then).
    """

    def __init__(
        self,
        make: Callable[[], Awaitable[Any]],
        metrics: LogMetrics,
        *,
        max_pending_bytes: int,
        delivery_s: float,
    ) -> None:
        self._make = make
        self._metrics = metrics
        self._max_pending_bytes = max_pending_bytes
        self._delivery_s = delivery_s
        self._producer: Any = None
        self._making = asyncio.Lock()
        self._not_before_s = 0.0
        self._places: dict[Partition, asyncio.Lock] = {}
        self._pending_bytes = 0
        self._pending: deque[Pending] = deque()
        self._watch: asyncio.TimerHandle | None = None
        self._stopping: set[asyncio.Task[None]] = set()
        self._closed = False

    async def place(
        self, at: Partition, headers: Headers, payload: bytes, key: bytes | None, size: int
    ) -> "asyncio.Future[int]":
        """Fix a record's place at the end of a partition; return what resolves to its offset."""
        if self._closed:
            raise PermanentError("the log is closed")
        if self._pending_bytes and self._pending_bytes + size > self._max_pending_bytes:
            raise LogFullError(f"{self._pending_bytes} bytes wait for Kafka", FULL_RETRY_S)
        self._pending_bytes += size
        try:
            lock = self._places.get(at)
            if lock is None:
                lock = self._places[at] = asyncio.Lock()
            async with lock:
                producer = self._producer
                if producer is None:
                    producer = await self._start()
                try:
                    sent = await producer.send(at.topic, payload, key, at.number, headers=list(headers))
                except Exception as error:
                    # Nothing was placed. A client whose sender has died takes nothing any more.
                    if producer._sender.sender_task.done():
                        self._abandon(producer, f"its sender ended: {error}")
                    raise explain(error, f"append to {at.topic}/{at.number}") from error
        except BaseException:
            self._pending_bytes -= size
            raise
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        # Whoever waits sees the error; where nobody waits any more it was counted and logged here.
        future.add_done_callback(_look_at)
        pending = Pending(at, size, time.monotonic(), future, producer)
        self._pending.append(pending)
        sent.add_done_callback(lambda done: self._answered(pending, done))
        self._keep_watch()
        return future

    async def _start(self) -> Any:
        async with self._making:
            if self._producer is None:
                # While the brokers are away every append would knock at their doors.
                if time.monotonic() < self._not_before_s:
                    raise TransientError("Kafka could not be reached a moment ago", START_RETRY_S)
                try:
                    self._producer = await self._make()
                except BaseException:
                    self._not_before_s = time.monotonic() + START_RETRY_S
                    raise
            return self._producer

    async def renew(self) -> None:
        """Let the next append start a new producer, once all that is pending with this one is answered."""
        async with self._making:
            producer, self._producer = self._producer, None
            if producer is not None:
                await _stop(producer)

    def _answered(self, pending: Pending, done: "asyncio.Future[Any]") -> None:
        """Take Kafka's answer to an append."""
        self._pending_bytes -= pending.size
        while self._pending and self._pending[0].future.done():
            self._pending.popleft()
        error = None if done.cancelled() else done.exception()
        if error is None and not done.cancelled():
            self._metrics.appended_bytes.labels(pending.at.topic).inc(pending.size)
            self._metrics.append_seconds.labels(pending.at.topic).observe(time.monotonic() - pending.placed_s)
            if not pending.future.done():
                pending.future.set_result(done.result().offset)
            return
        self._metrics.append_failures.labels(pending.at.topic).inc()
        if not pending.future.done():
            pending.future.set_exception(_failure(error, pending))
        self._abandon(pending.producer, f"an append failed: {type(error).__name__}: {error}")

    def _abandon(self, producer: Any, reason: str) -> None:
        """Fail everything pending with a producer, at once and before it can send more, and let it go."""
        if producer is not self._producer:
            return
        self._producer = None
        logger.warning("starting a new Kafka producer: %s", reason, extra={"pending": len(self._pending)})
        # The client has no public way to give up. Cancelling its sender first keeps it from sending what stands behind
        # the batch that failed: where that was the producer's first in a partition, the broker would take it.
        producer._sender.sender_task.cancel()
        producer._message_accumulator.fail_all(TransientError(f"given up: {reason}"))
        task = asyncio.create_task(_stop(producer), name="stop a Kafka producer")
        self._stopping.add(task)
        task.add_done_callback(self._stopping.discard)

    def _keep_watch(self) -> None:
        if self._watch is None:
            self._watch = asyncio.get_running_loop().call_later(_WATCH_S, self._look)

    def _look(self) -> None:
        """Give the producer up once its oldest append has waited too long."""
        self._watch = None
        while self._pending and self._pending[0].future.done():
            self._pending.popleft()
        if not self._pending:
            return
        oldest = self._pending[0]
        waited_s = time.monotonic() - oldest.placed_s
        if waited_s > self._delivery_s:
            self._abandon(oldest.producer, f"no answer from the brokers for {waited_s:.0f} s")
        self._keep_watch()

    async def close(self, within_s: float) -> None:
        """Wait for what is pending, at most `within_s`; fail the rest."""
        self._closed = True
        waiting = [pending.future for pending in self._pending if not pending.future.done()]
        if waiting:
            await asyncio.wait(waiting, timeout=within_s)
        if any(not pending.future.done() for pending in self._pending):
            self._abandon(self._producer, f"the log was closed before the brokers answered within {within_s:.0f} s")
        if self._watch is not None:
            self._watch.cancel()
        if self._producer is not None:
            await _stop(self._producer)
            self._producer = None
        if self._stopping:
            await asyncio.gather(*self._stopping)


def _failure(error: BaseException | None, pending: Pending) -> Exception:
    where = f"append to {pending.at.topic}/{pending.at.number}"
    if getattr(error, "errno", None) in TOO_LARGE:
        return PermanentError(f"{where}: a record of {pending.size} bytes is more than the brokers take: {error}")
    explained = explain(error or TransientError("the producer was stopped"), where)
    # A refused identity is the log's fault, not the record's: whoever keeps the record must keep it.
    return TransientError(str(explained)) if isinstance(explained, PermanentError) else explained


def _look_at(done: "asyncio.Future[int]") -> None:
    if not done.cancelled():
        done.exception()


async def _stop(producer: Any) -> None:
    try:
        async with asyncio.timeout(_STOP_S):
            await producer.stop()
    except TimeoutError:
        producer._message_accumulator.fail_all(TransientError("given up: the brokers did not answer in time"))
        await producer.client.close()
