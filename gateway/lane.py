"""What a push stream remembers of a lane, and what it can say of it."""

from collections import deque
from dataclasses import dataclass, field

from gateway.batches import MAX_LANE, MAX_NUMBER, AcceptedBatch
from gateway.publish import Placed
from pipeline.errors import PipelineError
from pipeline.tracing import NO_SPAN, Span
from pipeline.wire.push_pb2 import Ack


@dataclass(slots=True)
class Pending:
    """A batch that waits for the log (`placed`), or for those before it to be answered."""

    ack: Ack
    placed: list[Placed] = field(default_factory=list)
    judged: AcceptedBatch | None = None
    reserved: int = 0
    span: Span = NO_SPAN

    @property
    def done(self) -> bool:
        """Whether it can be answered."""
        return all(placed.done() for placed in self.placed)


@dataclass(slots=True)
class Lane:
    """One lane of one stream; `blocked` is the sequence that has to come again before anything above it."""

    pending: deque[Pending] = field(default_factory=deque)
    blocked: int | None = None


def is_covered(earlier: Ack, later: Ack) -> bool:
    """Tell whether a lane's later acknowledgement says all that the earlier one does."""
    return earlier.status == later.status == Ack.ACCEPTED and not earlier.refused_items


def error_of(placed: Placed) -> PipelineError | None:
    """Return why a placed record did not become durable, or None."""
    if placed.cancelled():
        return PipelineError("the append was given up")
    error = placed.exception()
    if error is not None and not isinstance(error, PipelineError):
        raise error
    return error


def place_of(headers: list[tuple[str, bytes]]) -> tuple[str, int, int] | None:
    """Return signal, lane and sequence of a batch whose envelope was refused; None where even that cannot be read."""
    found = dict(headers)
    try:
        signal, lane, sequence = found["signal"].decode(), int(found["lane"]), int(found["sequence"])
    except (KeyError, ValueError):
        return None
    return (signal, lane, sequence) if 0 <= lane <= MAX_LANE and 0 <= sequence <= MAX_NUMBER else None
