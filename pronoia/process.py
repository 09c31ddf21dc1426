"""What every process of ours does first: log one JSON object a line, and run on the fastest loop there is."""

import asyncio
import ctypes
import json
import logging
import os
import sys
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import Any, Final

_M_ARENA_MAX: Final = -8
_USUAL: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonLines(logging.Formatter):
    """One object a line: time, level, logger, message, and what the caller gave as `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        """Write one record."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: value for name, value in vars(record).items() if name not in _USUAL}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


def set_up_logging(level: str) -> None:
    """Log to standard error; raises ValueError for a level that there is not."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    if level.lower() != "debug":
        # The Kafka client tells of every subscription and rebalance as if it were news.
        logging.getLogger("aiokafka").setLevel(max(logging.WARNING, logging.getLogger().level))
        # Elasticsearch's transport tells of every request.
        logging.getLogger("elastic_transport").setLevel(max(logging.WARNING, logging.getLogger().level))


def keep_memory_together() -> None:
    """Let all threads get memory from one arena (glibc only, mallopt(3)).

    Blocks of many kilobytes are made on one thread and freed on another: with an arena for each, up to a tenth of an
    agent's memory would be holes.
    """
    tune = getattr(ctypes.CDLL(None), "mallopt", None)
    if tune is not None:
        tune(_M_ARENA_MAX, 1)


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run to the end, on uvloop where it is installed."""
    keep_memory_together()
    # Programs that are started (journalctl) replace their process at once; gRPC would warn of each on standard error.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    try:
        import uvloop
    except ModuleNotFoundError:
        asyncio.run(main)
    else:
        uvloop.run(main)
