"""Commits of many partitions in few requests: while one is under way the next ones gather."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from pipeline.errors import TransientError
from pipeline.log.interface import Partition

Commit = Callable[[Mapping[Partition, int]], Awaitable[None]]


@dataclass(slots=True)
class Commits:
    """Puts one group's commits together."""

    commit: Commit
    _waiting: dict[Partition, int] = field(default_factory=dict)
    _round: "asyncio.Future[None] | None" = None
    """Done when what waits now is committed, or has failed."""
    _busy: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def add(self, at: Partition, offset: int) -> None:
        """Commit one partition's offset, with those of others; raises what the commit raises."""
        self._waiting[at] = offset
        if self._round is not None:
            await asyncio.shield(self._round)
            return
        mine = self._round = asyncio.get_running_loop().create_future()
        try:
            async with self._busy:
                offsets, self._waiting, self._round = self._waiting, {}, None
                await self.commit(offsets)
        except BaseException as error:
            if self._round is mine:
                self._waiting, self._round = {}, None
            # Whoever waits for a round that its leader was taken from tries again.
            told = TransientError("the commit was interrupted") if isinstance(error, asyncio.CancelledError) else error
            mine.set_exception(told)
            mine.exception()  # it is nobody's fault if nobody waits
            raise
        mine.set_result(None)
