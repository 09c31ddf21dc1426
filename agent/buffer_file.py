"""The file of the agent's buffer: one SQLite log with a topic for each signal, and how signals share its bound."""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from pipeline.log.sqlite import SqliteLog

logger = logging.getLogger(__name__)

_AGENT_KEY: Final = b"agent"
LOGS_SHARE: Final = 2 / 3
"""What logs may take of the bound where metrics are buffered, too: logs are never evicted, so that they could stop
scraped batches from being kept. Metrics may take all of it, and yield to logs that find no room down to the rest."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose batches these are."""

    cluster: str
    agent: str
    lanes: int


@dataclass(slots=True)
class BufferFile:
    """One log for all signals of an agent, so that they have one epoch, one bound and one fsync."""

    log: SqliteLog
    identity: Identity
    is_shared: bool = False
    """Whether metrics are kept beside logs."""
    logs_bytes: int = 0
    """What logs hold of it."""
    evict_scraped: Callable[[], Awaitable[bool]] | None = None
    """Makes room by evicting scraped batches; returns False where none may go."""
    _is_open: bool = False

    async def start(self) -> None:
        """Open it, unless it is open; raises PermanentError."""
        if self._is_open:
            return
        await self.log.start()
        self._is_open = True
        await self._keep_name()

    async def close(self) -> None:
        """Let go of the file; what is buffered stays for the next start."""
        self._is_open = False
        await self.log.close()

    async def _keep_name(self) -> None:
        """Number on under the name that the buffered batches were numbered under."""
        kept = (await self.log.state(_AGENT_KEY)).get(_AGENT_KEY)
        if kept is None:
            await self.log.update_state({_AGENT_KEY: self.identity.agent.encode()})
        elif kept.decode() != self.identity.agent:
            logger.warning("the buffer keeps the name it was made under", extra={"agent": kept.decode()})
            self.identity = Identity(self.identity.cluster, kept.decode(), self.identity.lanes)

    def logs_may_take(self, size: int) -> bool:
        """Return whether logs stay within their share with so many bytes more."""
        return not self.is_shared or self.logs_bytes + size <= LOGS_SHARE * self.log.limit_bytes()

    async def yield_to_logs(self) -> bool:
        """Evict scraped batches for logs that find no room, as long as metrics hold more than their own share."""
        metrics_bytes = self.log.stored_bytes() - self.logs_bytes
        if self.evict_scraped is None or metrics_bytes <= (1 - LOGS_SHARE) * self.log.limit_bytes():
            return False
        return await self.evict_scraped()
