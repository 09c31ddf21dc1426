"""When a target is scraped: at its own moment of every interval, the same across restarts and reloads."""

import asyncio
import time
from hashlib import blake2b
from typing import Final, Protocol

TOLERANCE_S: Final = 0.002
"""A scrape this late still gets the time at which it was due: equal distances compress far better in a TSDB."""
CATCH_UP: Final = 0.1
"""The part of their interval over which the scrapes are spread that an agent makes up for when it takes over."""
CATCH_UP_MS: Final = 5_000
"""At most: who takes over next relies on their having been made."""


class Clock(Protocol):
    """Time, passed in so that tests can let it run as they like."""

    def now_s(self) -> float:
        """Return Unix seconds."""

    async def wait(self, event: asyncio.Event, seconds: float) -> bool:
        """Wait until the event is set (true) or the time is over (false)."""


class SystemClock:
    """The machine's clock."""

    def now_s(self) -> float:
        """Return Unix seconds."""
        return time.time()

    async def wait(self, event: asyncio.Event, seconds: float) -> bool:
        """Wait for the event or the time."""
        try:
            async with asyncio.timeout(seconds):
                return await event.wait()
        except TimeoutError:
            return False


def phase_s(key: str, seed: str, interval_s: float) -> float:
    """Return where in its interval a target is scraped; the seed keeps apart two agents that scrape the same."""
    number = int.from_bytes(blake2b(f"{seed}\xff{key}".encode(), digest_size=8).digest())
    return number / 2**64 * interval_s


def next_due_ms(now_ms: int, interval_ms: int, phase_ms: int) -> int:
    """Return the first moment after `now_ms` at which a target is due; missed ones are skipped."""
    return now_ms + interval_ms - (now_ms - phase_ms) % interval_ms


def first_due_ms(now_ms: int, interval_ms: int, phase_ms: int, uncovered_ms: int | None, timeout_ms: int) -> int:
    """Return when a target is due first that another agent scraped until `uncovered_ms` ago, if one did.

    The last scrape that was due is made up for where it may not have come to its end, so that no two intervals lie
    between two scrapes: soon, but not all targets' at once.
    """
    due_ms = next_due_ms(now_ms, interval_ms, phase_ms)
    if uncovered_ms is None or now_ms - (due_ms - interval_ms) > uncovered_ms + timeout_ms:
        return due_ms
    spread_ms = min(interval_ms * CATCH_UP, CATCH_UP_MS)
    return min(due_ms, now_ms + int(phase_ms / interval_ms * spread_ms))


def timestamp_ms(now_s: float, due_ms: int, interval_ms: int) -> int:
    """Return the time that a scrape's samples get: when it was due, or when it began if that was later."""
    tolerance_ms = min(TOLERANCE_S * 1000, interval_ms / 100)
    now_ms = now_s * 1000
    return due_ms if abs(now_ms - due_ms) <= tolerance_ms else int(now_ms)
