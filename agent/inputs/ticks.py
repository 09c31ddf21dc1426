"""Times of arrival."""

from collections.abc import Callable


class Ticks:
    """Gives times of now, each later than the one before: Loki takes equal lines of one time for one line."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._last_ns = 0

    def next_ns(self) -> int:
        """Return Unix nanoseconds."""
        self._last_ns = max(int(self._clock() * 1_000_000_000), self._last_ns + 1)
        return self._last_ns
