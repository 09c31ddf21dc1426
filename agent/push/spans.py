"""The spans of what is on its way: `push`, a part of its scrape, from a batch being sent to its acknowledgement."""

from collections import deque
from dataclasses import dataclass, field

from pipeline.tracing import Span, Tracing
from pipeline.wire.envelope import Envelope


@dataclass(slots=True)
class PushSpans:
    """Of one destination. A batch whose scrape is not traced has none; there are no more than batches in flight."""

    tracing: Tracing
    destination: str
    _lanes: dict[int, deque[tuple[int, Span]]] = field(default_factory=dict)

    def sending(self, lane: int, sequence: int, envelope: Envelope, size_bytes: int) -> None:
        """Begin the span of a batch that goes out now."""
        if not envelope.traceparent or not self.tracing.on:
            return
        span = self.tracing.span(
            "push",
            [envelope.traceparent],
            destination=self.destination,
            lane=lane,
            sequence=sequence,
            items=envelope.items,
            bytes=size_bytes,
        )
        if span.traceparent:
            self._lanes.setdefault(lane, deque()).append((sequence, span))

    def accepted(self, lane: int, sequence: int, error: str = "") -> None:
        """End those up to a sequence; `error` is of the last of them, what is before it was taken."""
        waiting = self._lanes.get(lane)
        while waiting and waiting[0][0] <= sequence:
            at, span = waiting.popleft()
            span.end(error if at == sequence else "")

    def postponed(self, lane: int, sequence: int, reason: str) -> None:
        """End those from a sequence on: they are sent again."""
        waiting = self._lanes.get(lane)
        while waiting and waiting[-1][0] >= sequence:
            waiting.pop()[1].end(reason)

    def broken(self, reason: str) -> None:
        """End all: whatever is unanswered is sent again."""
        for lane in self._lanes:
            self.postponed(lane, 0, reason)
