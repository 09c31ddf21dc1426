"""Which documents go into one bulk request, and how large a request may be now."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

_LEAST_BYTES: Final = 8 * 2**10
_STEP: Final = 16
"""A request that is taken makes the next larger by such a part of the most."""


def batches(documents: Sequence[bytes], numbers: Sequence[int], max_bytes: int) -> Iterator[Sequence[int]]:
    """Cut `numbers` into consecutive runs whose documents have at most `max_bytes`, or are one."""
    start, size = 0, 0
    for at, number in enumerate(numbers):
        size += len(documents[number])
        if size > max_bytes and at > start:
            yield numbers[start:at]
            start, size = at, len(documents[number])
    if start < len(numbers):
        yield numbers[start:]


@dataclass(slots=True)
class Size:
    """How large a request may be: never more than what was too large for good, less while the server is pressed.

    Servers refuse requests as a whole (429) when those under way take a tenth of their memory: a request that is larger
    than that alone would be refused for ever.
    """

    most_bytes: int
    max_bytes: int = field(init=False)

    def __post_init__(self) -> None:
        self.max_bytes = self.most_bytes

    def too_large(self, size: int) -> None:
        """Remember that a request of this size was too large (413)."""
        self.most_bytes = max(_LEAST_BYTES, min(self.most_bytes, size) // 2)
        self.max_bytes = min(self.max_bytes, self.most_bytes)

    def pressed(self, size: int) -> None:
        """Ask for less: a request of this size was refused as a whole (429)."""
        self.max_bytes = max(_LEAST_BYTES, min(self.max_bytes, size) // 2)

    def taken(self) -> None:
        """Dare more: a request was taken."""
        self.max_bytes = min(self.most_bytes, self.max_bytes + self.most_bytes // _STEP)
