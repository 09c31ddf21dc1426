"""Trying again what an input cannot do now, and telling why it cannot."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from agent.logs.input import InputTools
from pipeline.delivery import Backoff
from pipeline.errors import PipelineError, TransientError

logger = logging.getLogger(__name__)


class Attempts:
    """The tries of one input of a kind; `trouble` is None while the last one works."""

    def __init__(self, tools: InputTools, kind: str) -> None:
        self.trouble: str | None = "has not begun yet"
        self._tools = tools
        self._kind = kind
        self._backoff = Backoff(first_s=0.5, longest_s=30.0)

    def works(self) -> None:
        """Note that it works (again)."""
        self.trouble = None
        self._backoff.reset()

    def wait_s(self) -> float:
        """Return how long to wait before the next try: 0 where the last one worked."""
        return self._backoff.next_s() if self.trouble is not None else 0.0

    async def run(self, attempt: Callable[[], Awaitable[None]]) -> None:
        """Do it for ever: each PipelineError is counted, logged if it is news, and followed by another try."""
        while True:
            try:
                await attempt()
            except PipelineError as error:
                asked_s = error.retry_after_s if isinstance(error, TransientError) else None
                self.failed(error)
                await asyncio.sleep(self._backoff.next_s(asked_s))

    def failed(self, error: PipelineError) -> None:
        """Count a failure."""
        self._tools.metrics.errors.labels(self._tools.job, self._kind).inc()
        if self.trouble != str(error):
            logger.error("%s: %s", self._kind, error, extra={"job": self._tools.job})
        self.trouble = str(error)
