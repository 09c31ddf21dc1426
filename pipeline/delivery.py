"""What a receiver's answer means, as values, and how long to wait before the next try.

A sink's `classify` turns an answer (status, headers, body) into an `Outcome`; the loops that send act on it and decide
nothing themselves.
"""

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Delivered:
    """The receiver has everything that was sent; it is durable there."""

    note: str = ""


@dataclass(frozen=True, slots=True)
class Retry:
    """Nothing is wrong with the data: send the same again, not before `after_s` if the receiver named a delay.

    `alarm` marks what will not heal by itself (401, 403, 404: the sink or its configuration, not the data).
    `perhaps_taken` marks that the receiver may have stored it nevertheless: its answer did not come, or not from it.
    """

    reason: str
    after_s: float | None = None
    alarm: bool = False
    perhaps_taken: bool = False


@dataclass(frozen=True, slots=True)
class Rejected:
    """The receiver read the data and refuses some or all of it for good, in its own words.

    `duplicate` is true when the words say that the samples are already stored, or older than what is stored: for
    records that were in doubt after a crash this means delivered (ARCHITECTURE 5).
    """

    reason: str
    status: int
    duplicate: bool = False


@dataclass(frozen=True, slots=True)
class TooLarge:
    """The receiver takes less in one request (413): split and send the halves."""

    reason: str


@dataclass(frozen=True, slots=True)
class PartRefused:
    """Items of one record that the receiver refuses for good, as a payload of their own in the signal's encoding.

    `source` is that of the piece which they are from. `duplicate` as for `Rejected`.
    """

    source: int
    payload: bytes
    items: int
    reason: str
    status: int
    duplicate: bool = False


@dataclass(frozen=True, slots=True)
class PartLeft:
    """Items of one record that the receiver did not take now, as a payload of their own; `source` as above."""

    source: int
    payload: bytes
    items: int


@dataclass(frozen=True, slots=True)
class Partly:
    """The receiver has everything that was sent but these items, durably.

    `refused` it refuses for good. `left` is to be sent again as `retry` says, which is given where anything is left.
    """

    refused: tuple[PartRefused, ...] = ()
    left: tuple[PartLeft, ...] = ()
    retry: Retry | None = None


Outcome = Delivered | Partly | Retry | Rejected | TooLarge


@dataclass(slots=True)
class Backoff:
    """Exponential delays with full jitter between `first_s` and `longest_s`; `reset` after a success."""

    first_s: float = 0.1
    longest_s: float = 30.0
    failures: int = 0

    def next_s(self, asked_s: float | None = None) -> float:
        """Return the seconds to wait before the next try; never less than the receiver asked for."""
        ceiling_s = min(self.longest_s, self.first_s * 2 ** min(self.failures, 30))
        self.failures += 1
        delay_s = random.uniform(ceiling_s / 2, ceiling_s)
        return delay_s if asked_s is None else asked_s + delay_s / 10

    def reset(self) -> None:
        """Forget the failures: the last try succeeded."""
        self.failures = 0
