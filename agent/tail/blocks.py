"""How much is read at once."""

from dataclasses import dataclass
from typing import Final

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
