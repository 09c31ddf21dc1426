"""The log that `pronoia up` keeps of itself, which it reads as it reads other files.

What says something about logs becomes a log line itself, and could make what is said of it: each message is therefore
written only so many times a minute, and how many more there were with the next.
"""

import logging
import time
from collections.abc import Callable
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Final

from pipeline.errors import PermanentError
from pronoia.process import JsonLines

MAX_BYTES: Final = 4 << 20
"""Of each of two files."""
MOST_A_MINUTE: Final = 10
_MAX_MESSAGES: Final = 1_000


class Sparing(logging.Filter):
    """Lets each message (before its arguments) pass ten times a minute; `left_out` says how many it kept back since."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._seen: dict[tuple[str, str], list[float]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is written."""
        now_s = self._clock()
        key = (record.name, str(record.msg)[:200])
        if key not in self._seen and len(self._seen) >= _MAX_MESSAGES:
            del self._seen[next(iter(self._seen))]
        # The minute's begin, how many were written in it, and how many were left out since one was.
        seen = self._seen.setdefault(key, [now_s, 0, 0])
        if now_s - seen[0] >= 60:
            seen[0], seen[1] = now_s, 0
        if seen[1] >= MOST_A_MINUTE:
            seen[2] += 1
            return False
        seen[1] += 1
        if seen[2]:
            record.left_out = int(seen[2])
            seen[2] = 0
        return True


def keep_own_log(path: Path) -> None:
    """Write what is logged, from INFO on, into a file, too; raises PermanentError where it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = RotatingFileHandler(path, maxBytes=MAX_BYTES, backupCount=1, encoding="utf-8", errors="replace")
    except OSError as error:
        raise PermanentError(f"{path} cannot be written: {error.strerror}") from error
    handler.setFormatter(JsonLines())
    handler.setLevel(logging.INFO)
    handler.addFilter(Sparing())
    root = logging.getLogger()
    for other in root.handlers:
        other.setLevel(max(other.level, root.level))
    root.setLevel(min(root.level, logging.INFO))
    root.addHandler(handler)
