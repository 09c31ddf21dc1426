"""A disk of its own for a test: small, real, and full when the test says so."""

import asyncio
import contextlib
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

from tests.servers.processes import MissingServerError


@contextlib.asynccontextmanager
async def small_disk(at: Path, size_bytes: int) -> AsyncIterator[Path]:
    """Mount a tmpfs of that size at a new folder; raises MissingServerError where that is not allowed."""
    await asyncio.to_thread(at.mkdir)
    command = ("mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(at))
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, check=False)
    if done.returncode != 0:
        raise MissingServerError("a disk that can be filled needs root and `mount`")
    try:
        yield at
    finally:
        await asyncio.to_thread(subprocess.run, ("umount", "-l", str(at)), check=True)


def occupy(disk: Path) -> Path:
    """Take all that is free on a disk, as another program might; returns the file, to be deleted."""
    file = disk / "somebody-elses"
    with file.open("wb", buffering=0) as taken, contextlib.suppress(OSError):
        while taken.write(bytes(4096)):
            pass
    return file
