"""What may be sent next, lane by lane, and what an acknowledgement means: decisions without any I/O.

A lane is sent strictly in sequence, and only a bounded window beyond its lowest unacknowledged batch. What is inside
that window is in doubt when a connection breaks, so the buffer never evicts it (ARCHITECTURE 7).
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

WINDOW_BATCHES: Final = 16
"""How far beyond what is acknowledged a lane is sent; the buffer never evicts within."""


@dataclass(slots=True)
class InFlight:
    """A batch that was sent and not yet answered. A gap record stands for `sequence` up to, not including, `behind`."""

    sequence: int
    behind: int
    size_bytes: int


@dataclass(slots=True)
class Lane:
    """Where one lane stands. `acknowledged` and `sent` are the next sequences to be acknowledged and to be sent."""

    acknowledged: int
    sent: int
    not_before_s: float = 0.0
    in_flight: deque[InFlight] = field(default_factory=deque)

    @property
    def in_flight_bytes(self) -> int:
        """How much was sent and not yet answered."""
        return sum(batch.size_bytes for batch in self.in_flight)


class Lanes:
    """All lanes of one destination. Times are in seconds of the caller's monotonic clock."""

    def __init__(self, acknowledged: dict[int, int], *, max_in_flight_bytes: int) -> None:
        self.lanes = {number: Lane(sequence, sequence) for number, sequence in acknowledged.items()}
        self.max_in_flight_bytes = max_in_flight_bytes
        self._turn = 0

    @property
    def in_flight_bytes(self) -> int:
        """How much was sent on all lanes and not yet answered."""
        return sum(lane.in_flight_bytes for lane in self.lanes.values())

    def pending(self, ends: dict[int, int]) -> bool:
        """Return whether anything is not acknowledged yet; `ends` as in `sendable`."""
        return any(lane.acknowledged < ends[number] for number, lane in self.lanes.items())

    def sendable(self, ends: dict[int, int], now_s: float) -> Iterator[int]:
        """Yield the lanes that have something to send and may, each time beginning with another one.

        `ends` are the sequences that the lanes' next batches will get.
        """
        numbers = list(self.lanes)
        self._turn = (self._turn + 1) % max(len(numbers), 1)
        for number in numbers[self._turn :] + numbers[: self._turn]:
            lane = self.lanes[number]
            if lane.sent < ends[number] and lane.not_before_s <= now_s and self.may_send(number, lane.sent):
                yield number

    def may_send(self, number: int, sequence: int) -> bool:
        """Return whether a batch may go now: it is the lane's next, within the window and the bytes in flight.

        The window is counted in sequences, not in batches: behind a gap record on its way nothing else goes. So
        whatever is on its way begins within the window, and what lies beyond it may be evicted.
        """
        lane = self.lanes[number]
        next_ = sequence == lane.sent < lane.acknowledged + WINDOW_BATCHES
        return next_ and self.in_flight_bytes < self.max_in_flight_bytes

    def skipped(self, number: int, asked: int, found: int) -> bool:
        """Note what was read where `asked` was to be sent next; returns whether the lane goes on at `found` now.

        What lies between was evicted for another destination, whose gap record lies behind this one: the numbers tell
        what is missing. Nothing is skipped while something is unanswered, or was asked to be sent again meanwhile.
        """
        lane = self.lanes[number]
        if lane.in_flight or not asked == lane.sent < found:
            return False
        lane.acknowledged = lane.sent = found
        return True

    def wait_s(self, now_s: float) -> float | None:
        """Return the seconds until the first lane that was told to wait may go on, or None when none waits."""
        waits = [lane.not_before_s - now_s for lane in self.lanes.values() if lane.not_before_s > now_s]
        return min(waits, default=None)

    def sending(self, number: int, sequence: int, behind: int, size_bytes: int) -> None:
        """Note that a batch is on its way."""
        lane = self.lanes[number]
        lane.in_flight.append(InFlight(sequence, behind, size_bytes))
        lane.sent = behind

    def accepted(self, number: int, sequence: int) -> int:
        """Note that everything up to `sequence` is durable; return the next sequence to be acknowledged."""
        lane = self.lanes[number]
        while lane.in_flight and lane.in_flight[0].sequence <= sequence:
            lane.acknowledged = lane.in_flight.popleft().behind
        return lane.acknowledged

    def postponed(self, number: int, sequence: int, not_before_s: float) -> None:
        """Note that nothing of the lane from `sequence` on was taken: it is sent again from there, not before that."""
        lane = self.lanes[number]
        while lane.in_flight and lane.in_flight[-1].sequence >= sequence:
            lane.sent = lane.in_flight.pop().sequence
        lane.not_before_s = not_before_s

    def broken(self) -> None:
        """Note that the connection is gone: whatever is unanswered is sent again."""
        for lane in self.lanes.values():
            lane.in_flight.clear()
            lane.sent = lane.acknowledged
