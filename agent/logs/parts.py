"""What an input tells of each of its parts (a file, a container, itself): how far it is read, and what is wrong."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

WAIT_S: Final = 1.0
"""How long a server of files is waited for: sizes are for people to look at."""


@dataclass(frozen=True, slots=True)
class Part:
    """One part. `source` is the key of the target it belongs to; empty where there is none (any more).

    Of a file: `offset` is how far its newest part is read and `size_bytes` how long that was when it was last looked
    at, `older_bytes` what is unread in older parts of it; it lies at `at` with this `inode` (0: its size is of no use,
    since it is compressed). `read_s` is when something was last read of it (Unix; 0: not since the start).
    """

    name: str
    source: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    trouble: str = ""
    lines: int | None = None
    read_s: float | None = None
    offset: int | None = None
    size_bytes: int | None = None
    older_bytes: int = 0
    at: str = ""
    inode: int = 0

    @property
    def behind_bytes(self) -> int | None:
        """What is there and not read yet, or None where that is not known."""
        if self.offset is None or self.size_bytes is None:
            return None
        return self.older_bytes + max(0, self.size_bytes - self.offset)

    def measured(self, sizes: "Measured") -> "Part":
        """Return it with its file's size as that is now, where that is known."""
        inode, size_bytes = sizes.get(self.at, (0, 0))
        return replace(self, size_bytes=size_bytes) if inode and inode == self.inode else self


Measured = Mapping[str, tuple[int, int]]
"""The inode and size of files, by their path."""


Parts = Callable[[], Iterable[Part]]
"""Gives an input's parts as they are; may be called in another thread, since there may be thousands."""


@dataclass(frozen=True, slots=True)
class InputNow:
    """One job's input: its kind, the name its metrics have, why it cannot read just now, and its parts."""

    kind: str
    job: str
    trouble: str | None
    parts: Parts


def whole(kind: str, trouble: str | None) -> Parts:
    """Return the one part of an input that has no others."""
    return lambda: [Part(kind, trouble=trouble or "")]


@dataclass(slots=True)
class Sizes:
    """How long files are now, asked of the system off the loop.

    A server of files that is gone holds one thread: until it answers nothing more is asked.
    """

    _asking: "asyncio.Future[Measured] | None" = None

    async def of(self, paths: Sequence[str]) -> Measured:
        """Return what is known of these files now; nothing where that takes too long."""
        if not paths:
            return {}
        if self._asking is not None:
            await asyncio.wait([self._asking], timeout=WAIT_S)
            if not self._asking.done():
                return {}
        asking = self._asking = asyncio.ensure_future(asyncio.to_thread(_measure, paths))
        await asyncio.wait([asking], timeout=WAIT_S)
        return asking.result() if asking.done() else {}


def _measure(paths: Iterable[str]) -> Measured:
    found: dict[str, tuple[int, int]] = {}
    for path in paths:
        with suppress(OSError):
            stat = Path(path).stat()
            found[path] = stat.st_ino, stat.st_size
    return found
