"""Pushes the buffer to a gateway: streams batches lane by lane, takes acknowledgements, and never gives up.

How batches travel is the transport's matter (`grpc`, `http`); what may be sent and what an answer means is `lanes`'.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Final, Protocol

from agent.push.lanes import WINDOW_BATCHES, Lanes
from agent.push.spans import PushSpans
from agent.signal_buffer import SignalBuffer
from pipeline.delivery import Backoff
from pipeline.errors import TransientError
from pipeline.log.interface import Record
from pipeline.telemetry import AgentMetrics
from pipeline.tracing import OFF, Tracing
from pipeline.wire.envelope import Signal, from_headers
from pipeline.wire.push_pb2 import Ack, Batch, Header

logger = logging.getLogger(__name__)

GATEWAY: Final = "gateway"
"""The destination's name in the buffer."""
READ_BYTES: Final = 2 * 2**20
MAX_IN_FLIGHT_BYTES: Final = 16 * 2**20


class Session(Protocol):
    """One connection to a gateway."""

    async def send(self, batch: Batch) -> None:
        """Put a batch on its way; raises TransientError where the connection is gone."""

    async def flush(self) -> None:
        """Nothing more is to be sent just now: let go of what was held back."""

    def acks(self) -> AsyncIterator[Ack]:
        """Yield answers until the gateway ends the session in good order; raises TransientError where it breaks."""


class Transport(Protocol):
    """A way to reach a gateway."""

    def session(self) -> AbstractAsyncContextManager[Session]:
        """Connect; raises TransientError where that fails, with the delay that the gateway asked for if it did."""


@dataclass(slots=True)
class GatewayPush:
    """Keeps one session open and everything flowing. `run` ends only when it is cancelled."""

    buffer: SignalBuffer
    transport: Transport
    metrics: AgentMetrics
    tracing: Tracing = OFF
    # Longer waits save a gateway nothing, and cost a buffer that is full what it evicts meanwhile.
    backoff: Backoff = field(default_factory=lambda: Backoff(longest_s=5.0))
    clock: Callable[[], float] = lambda: asyncio.get_running_loop().time()
    _lanes: Lanes = field(init=False)
    _spans: PushSpans = field(init=False)
    _trouble: str | None = None

    def __post_init__(self) -> None:
        self._lanes = Lanes(self.buffer.acknowledged(GATEWAY), max_in_flight_bytes=MAX_IN_FLIGHT_BYTES)
        self._spans = PushSpans(self.tracing, GATEWAY)

    @property
    def _name(self) -> str:
        """The destination's name in metrics: each signal has a session of its own."""
        return destination_label(GATEWAY, self.buffer.signal)

    def trouble(self) -> str | None:
        """Return why batches do not get through just now, or None."""
        return self._trouble

    async def run(self) -> None:
        """Push until cancelled. There is a session while there is something to send, and as long as it holds then."""
        while True:
            await self._something_to_send()
            try:
                async with self.transport.session() as session:
                    await self._exchange(session)
            except TransientError as error:
                if self._lanes.pending(self.buffer.ends()):
                    self._failed(error)
                await asyncio.sleep(self.backoff.next_s(error.retry_after_s))
            finally:
                self._lanes.broken()
                self._spans.broken(self._trouble or "the session has ended")

    async def _something_to_send(self) -> None:
        changed = self.buffer.changed(GATEWAY)
        while True:
            changed.clear()
            if self._lanes.pending(self.buffer.ends()):
                return
            await changed.wait()

    def _failed(self, error: TransientError) -> None:
        if self._trouble is None:
            extra = {"signal": self.buffer.signal}
            logger.warning("the gateway does not take batches: %s; they wait on disk", error, extra=extra)
        self._trouble = str(error)
        self.metrics.connected.labels(self._name).set(0)

    async def _exchange(self, session: Session) -> None:
        """Send and take answers until the session ends; raises TransientError when it breaks."""
        sending = asyncio.create_task(self._send(session), name="push-send")
        answers = asyncio.create_task(self._answers(session), name="push-answers")
        try:
            done, _ = await asyncio.wait({sending, answers}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (sending, answers):
                task.cancel()
            await asyncio.gather(sending, answers, return_exceptions=True)

    async def _send(self, session: Session) -> None:
        changed = self.buffer.changed(GATEWAY)
        while True:
            changed.clear()
            sent = False
            for number in self._lanes.sendable(self.buffer.ends(), self.clock()):
                for record in await self._read(number):
                    if not self._lanes.may_send(number, record.offset):
                        break
                    await self._send_one(session, number, record)
                    sent = True
            await session.flush()
            if not sent:
                await self._wait(changed)

    async def _read(self, number: int) -> Sequence[Record]:
        """Return a lane's next batches that are not evicted while those before them go."""
        lane = self._lanes.lanes[number]
        first, behind = lane.sent, lane.acknowledged + WINDOW_BATCHES
        records = await self.buffer.read(number, first, max_bytes=READ_BYTES)
        if records and self._lanes.skipped(number, first, records[0].offset):
            self.buffer.acknowledge(GATEWAY, number, lane.acknowledged)
            behind = lane.acknowledged + WINDOW_BATCHES
        return [record for record in records if record.offset < behind]

    async def _send_one(self, session: Session, number: int, record: Record) -> None:
        envelope = from_headers(record.headers)
        behind = (record.offset if envelope.gap_to is None else envelope.gap_to) + 1
        # Noted before it is sent: an answer may come before `send` returns.
        self._lanes.sending(number, record.offset, behind, len(record.payload))
        self._spans.sending(number, record.offset, envelope, len(record.payload))
        headers = [Header(name=name, value=value) for name, value in record.headers]
        await session.send(Batch(headers=headers, payload=record.payload))
        self.metrics.sent_bytes.labels(self._name).inc(len(record.payload))

    async def _wait(self, changed: asyncio.Event) -> None:
        try:
            async with asyncio.timeout(self._lanes.wait_s(self.clock())):
                await changed.wait()
        except TimeoutError:
            return

    async def _answers(self, session: Session) -> None:
        async for ack in session.acks():
            self._take(ack)
            self.buffer.changed(GATEWAY).set()

    def _take(self, ack: Ack) -> None:
        if ack.status == Ack.RETRY:
            self._trouble = ack.reason
            self._lanes.postponed(ack.lane, ack.sequence, self.clock() + ack.retry_after_ms / 1000)
            self._spans.postponed(ack.lane, ack.sequence, ack.reason)
            return
        if ack.status == Ack.REFUSED:
            self.buffer.refused(GATEWAY, ack.refused_items)
            logger.error("the gateway refused a batch, it is lost: %s", ack.reason, extra=_place(ack))
        elif ack.refused_items:
            self.buffer.refused(GATEWAY, ack.refused_items)
            what = f"{ack.refused_items} {self.buffer.items}"
            logger.error("the gateway refused %s: %s", what, ack.reason, extra=_place(ack))
        self._spans.accepted(ack.lane, ack.sequence, ack.reason)
        self.buffer.acknowledge(GATEWAY, ack.lane, self._lanes.accepted(ack.lane, ack.sequence))
        if self._trouble is not None:
            logger.info("the gateway takes batches again", extra={"signal": self.buffer.signal})
            self._trouble = None
        self.backoff.reset()
        self.metrics.connected.labels(self._name).set(1)


def destination_label(name: str, signal: Signal) -> str:
    """Return what a destination is called in metrics; that of metrics alone as it always was."""
    return name if signal is Signal.METRICS else f"{name}:{signal}"


def _place(ack: Ack) -> dict[str, object]:
    return {"signal": ack.signal, "lane": ack.lane, "sequence": ack.sequence}
