"""Waiting for room in the buffer without going blind: what rotation deletes meanwhile can be read if it is open."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from agent.logs.chunk import Keep, Take


@dataclass(slots=True)
class Patient:
    """Puts; each time that `wait_s` have gone by without room for a block that was read, `meanwhile` looks around."""

    keep: Keep
    wait_s: float
    meanwhile: Callable[[], Awaitable[None]]
    _waits: bool = False
    _behind: list[Take] = field(default_factory=list)

    async def put(self, take: Take) -> None:
        """Put it, as `Keep.put`; `meanwhile` does not wait: what it puts goes behind what waits."""
        if self._waits:
            self._behind.append(take)
        else:
            await self.keep.put(take)

    async def put_block(self, take: Take) -> None:
        """Put what a block gave. Whoever calls it must expect that any path's files are others when it returns."""
        if not self.keep.waits():
            await self.keep.put(take)
            return
        putting = asyncio.ensure_future(self.keep.put(take))
        try:
            while not (await asyncio.wait({putting}, timeout=self.wait_s))[0]:
                self._waits = True
                try:
                    await self.meanwhile()
                finally:
                    self._waits = False
            await putting
        finally:
            putting.cancel()
            await asyncio.wait({putting})
        while self._behind:
            await self.keep.put(self._behind.pop(0))
