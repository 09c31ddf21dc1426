"""What both transports share: who may send, what is asked of data, where it goes; a reload swaps its parts."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeVar

from gateway.accept import Rules
from gateway.config import GatewayConfig
from gateway.publish import InFlight, Publisher
from gateway.refusal import Refusal
from gateway.senders import Sender, Senders
from pipeline.errors import PipelineError, TransientError
from pipeline.telemetry import GatewayMetrics
from pipeline.tracing import OFF, Tracing
from pipeline.wire import snappy
from pipeline.wire.envelope import Signal
from pipeline.wire.errors import MalformedError
from pipeline.wire.scan import ACCELERATED

QUICK_BYTES: Final = 2 * 2**20
"""What is judged on the event loop, which may not be held up for more than 20 ms."""
PLAIN_FACTOR: Final = 1 if ACCELERATED else 4
VERSION_2_FACTOR: Final = 16
JSON_FACTOR: Final = 8
"""How much longer a byte takes without the compiled scan, and where it is transcoded first."""
OVERLOAD_RETRY_S: Final = 1.0
ResultT = TypeVar("ResultT")


@dataclass(slots=True)
class Core:
    """The running gateway behind its listeners. There is no publisher until the log's topics are there."""

    config: GatewayConfig
    senders: Senders
    rules: Rules
    in_flight: InFlight
    metrics: GatewayMetrics
    monotonic: Callable[[], float]
    tracing: Tracing = OFF
    publishers: Mapping[Signal, Publisher] = field(default_factory=dict)
    unready: str = "starting"
    draining: bool = False
    _scratch: bytearray = field(default_factory=lambda: bytearray(QUICK_BYTES))
    _large: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))

    def unready_refusal(self) -> Refusal | None:
        """Return why nothing can be taken now, or None."""
        if self.draining:
            return Refusal(503, "the gateway is draining", OVERLOAD_RETRY_S)
        return None if self.publishers else Refusal(503, self.unready, OVERLOAD_RETRY_S)

    def publisher_or_refusal(self, signal: Signal) -> Publisher | Refusal:
        """Return where a signal's accepted data goes, or why it cannot be taken."""
        if (refusal := self.unready_refusal()) is not None:
            return refusal
        taken = " and ".join(self.publishers)
        return self.publishers.get(signal) or Refusal(404, f"this gateway takes {taken}, not {signal}")

    def reserve(self, size: int) -> Refusal | None:
        """Reserve the bytes of one body; whoever got None releases them."""
        if size > self.rules.max_body_bytes:
            return Refusal(413, f"a body of {size} bytes; {self.rules.max_body_bytes} are allowed")
        if not self.in_flight.reserve(size):
            reason = f"{self.in_flight.bytes} bytes wait for the log, {self.in_flight.max_bytes} may"
            return Refusal(503, reason, OVERLOAD_RETRY_S, exhausted=True)
        return None

    def throttled(self, sender: Sender | None, signal: Signal | None) -> Refusal | None:
        """Return why a sender has to wait, or None; `signal` is None while that is not known."""
        return None if sender is None else sender.throttled(self.monotonic(), signal)

    async def judge(self, size: int, accept: Callable[[bytearray | None], ResultT]) -> ResultT:
        """Run one of `gateway.accept`'s functions, for so many bytes when decompressed; it is given scratch memory."""
        if size * PLAIN_FACTOR <= QUICK_BYTES:
            return accept(self._scratch)
        # In a thread, one after the other: each needs memory of its own for what it decompresses.
        async with self._large:
            return await asyncio.to_thread(accept, None)


def raw_size(payload: bytes) -> int:
    """Return a snappy block's decompressed size, 0 where it is none: judging it will say so."""
    try:
        return snappy.decompressed_bytes(payload)
    except MalformedError:
        return 0


def log_refusal(error: PipelineError) -> Refusal:
    """Say that the log did not take it. Whatever its reason, the data is not at fault: it may be sent again."""
    retry_after_s = error.retry_after_s if isinstance(error, TransientError) else None
    return Refusal(503, f"the log did not take it: {error}", retry_after_s or OVERLOAD_RETRY_S)
