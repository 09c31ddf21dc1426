"""The Kafka client's own log lines, tamed: while a broker is away it writes ten ERROR lines a second, each the same.

With us ERROR means that data is lost, and what the client meets it retries: its lines become warnings, each kind at
most once in half a minute.
"""

import logging
import time
from typing import Final

SELDOM_S: Final = 30.0
_NAMES: Final = (
    "aiokafka",
    "aiokafka.conn",
    "aiokafka.cluster",
    "aiokafka.admin.client",
    "aiokafka.producer.sender",
    "aiokafka.producer.producer",
    "aiokafka.consumer.consumer",
    "aiokafka.consumer.fetcher",
    "aiokafka.consumer.group_coordinator",
)


class Seldom(logging.Filter):
    """Lets each kind of line through once in `SELDOM_S`, as a warning at most."""

    def __init__(self) -> None:
        super().__init__()
        self._told_s: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Decide about one line; kinds are told apart by the text before its values are filled in."""
        if record.levelno < logging.WARNING:
            return True
        if record.levelno > logging.WARNING:
            record.levelno, record.levelname = logging.WARNING, "WARNING"
        now_s = time.monotonic()
        kind = str(record.msg)
        if now_s - self._told_s.get(kind, -SELDOM_S) < SELDOM_S:
            return False
        self._told_s[kind] = now_s
        return True


def quieten() -> None:
    """Tame the client's loggers, once."""
    for name in _NAMES:
        logger = logging.getLogger(name)
        if not any(isinstance(found, Seldom) for found in logger.filters):
            logger.addFilter(Seldom())
