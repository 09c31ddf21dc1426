"""When to try again what has failed."""

from collections.abc import Callable

from agent.discovery.kubernetes.api import Timing
from pipeline.errors import PipelineError, TransientError


class Backoff:
    """How long to wait before the next try: doubling, spread so that a hundred agents do not come at once."""

    def __init__(self, timing: Timing, jitter: Callable[[], float]) -> None:
        self._timing = timing
        self._jitter = jitter
        self.reset()

    def reset(self) -> None:
        """Something came: the next failure is a first one."""
        self._next_s = self._timing.backoff_s
        self._gone = False

    def after(self, error: PipelineError) -> float:
        """Return the wait after a failure, no shorter than the server asked for."""
        wait_s = self._next_s * (0.5 + self._jitter())
        self._next_s = min(self._next_s * 2, self._timing.max_backoff_s)
        asked_s = error.retry_after_s if isinstance(error, TransientError) else None
        return max(wait_s, asked_s or 0.0)

    def is_first_gone(self) -> bool:
        """Tell whether a version was forgotten for the first time since something came: then list again at once."""
        first, self._gone = not self._gone, True
        return first
