"""A turn at a slot's work: as long as the lease lasts by our own clock, whatever else the process is held up by."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Final

_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
FINDING_S: Final = 30.0
"""How long finding the targets may take at the beginning of a turn."""


def boot_s() -> float:
    """Return seconds of a clock that nobody sets and that runs on while the machine is suspended (Linux)."""
    return time.clock_gettime(_CLOCK)


@dataclass(slots=True, eq=False)
class Tenure:
    """From taking a slot to letting it go; `until_s` moves with every renewal. An `agent.scrape.turn.Turn`.

    `covered_s`: up to then the slot's targets were surely scraped by whoever held it before; None: by nobody.
    """

    slot: int
    seed: str
    until_s: float
    covered_s: float | None
    clock: Callable[[], float]
    began_s: float
    is_closing: bool = False

    @property
    def has_ended(self) -> bool:
        """Whether no scrape may begin any more."""
        return self.is_closing or not self.may_keep()

    def may_keep(self) -> bool:
        """Tell whether the lease is still ours: a process that was stopped for a while finds here that it is not."""
        return self.clock() < self.until_s

    def uncovered_since_s(self) -> float | None:
        """Return how long ago the targets were surely scraped for the last time before this turn.

        None, too, for targets that are found when it has lasted for a while: those are new.
        """
        now_s = self.clock()
        return None if self.covered_s is None or now_s - self.began_s > FINDING_S else now_s - self.covered_s

    def end(self) -> None:
        """Keep nothing from now on."""
        self.until_s = -inf
