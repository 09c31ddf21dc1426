"""How much is read at once."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from agent.logs.aside import aside, has_long_line
from agent.logs.chunk import Chunk
from agent.logs.pipeline import Pipeline

MOST_BYTES: Final = 256 * 1024
LEAST_BYTES: Final = 16 * 1024
_BLOCK_S: Final = 0.008
"""How long the stages of one block may hold the loop."""


@dataclass(slots=True)
class BlockSize:
    """Blocks that hold the loop for long enough to be worth it, and not for longer."""

    bytes: int = MOST_BYTES

    def took(self, took_s: float, size: int) -> None:
        """Learn from how long the stages took for a block of so many bytes."""
        if took_s > _BLOCK_S:
            self.bytes = max(LEAST_BYTES, min(self.bytes, size) // 2)
        elif took_s < _BLOCK_S / 4 and size > self.bytes // 2:
            self.bytes = min(MOST_BYTES, self.bytes * 2)


async def through(stages: Pipeline, block: bytes, now_ns: int, size: BlockSize) -> Sequence[Chunk]:
    """Send a block through stages; where a long line could make them hold the loop, in a thread."""
    if has_long_line(block):
        return await aside(lambda: stages.block(block, now_ns))
    began_s = time.perf_counter()
    chunks = stages.block(block, now_ns)
    size.took(time.perf_counter() - began_s, len(block))
    return chunks
