"""Stages at work in a thread, where a line is so long that they might hold the loop with it.

RE2 looks at a text once for each match: an expression that finds many in a long line takes a time that grows with the
square of its length. In Go that is one goroutine's time; here it must not be everybody's.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from agent.logs.chunk import Chunk

LONG_BYTES: Final = 16 * 1024
"""Longer than what container runtimes write in one line; up to this, nothing takes long."""
_STOP_S: Final = 5.0


def has_long_line(block: bytes) -> bool:
    """Tell whether one of a block's whole lines is long, by looking at one newline in so many bytes."""
    at = 0
    while len(block) - at > LONG_BYTES:
        newline = block.rfind(b"\n", at, at + LONG_BYTES + 1)
        if newline < 0:
            return True
        at = newline + 1
    return False


async def aside(work: Callable[[], Sequence[Chunk]]) -> Sequence[Chunk]:
    """Do it in a thread; cancelled, it is waited for a while, since the stages are still at work."""
    working = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        await asyncio.wait([working], timeout=_STOP_S)
        raise
