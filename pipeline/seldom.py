"""A library's own log lines, tamed: while a server is away some write ten lines a second, each the same.

With us ERROR means that data is lost, and what libraries meet is tried again: their lines become warnings, each kind at
most once in half a minute.
"""

import logging
import time
from collections.abc import Callable, Iterable
from typing import Final

SELDOM_S: Final = 30.0


class Seldom(logging.Filter):
    """Lets each kind of line through once in `SELDOM_S`, as a warning at most."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._told_s: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Decide about one line; kinds are told apart by the text before its values are filled in."""
        if record.levelno < logging.WARNING:
            return True
        if record.levelno > logging.WARNING:
            record.levelno, record.levelname = logging.WARNING, "WARNING"
        now_s = self._clock()
        kind = str(record.msg)
        if now_s - self._told_s.get(kind, -SELDOM_S) < SELDOM_S:
            return False
        self._told_s[kind] = now_s
        return True


def quieten(names: Iterable[str]) -> None:
    """Tame the loggers with these names, once."""
    for name in names:
        logger = logging.getLogger(name)
        if not any(isinstance(found, Seldom) for found in logger.filters):
            logger.addFilter(Seldom())
