"""What tells a file's state apart from another without reading it; for threads, since it may block."""

from collections.abc import Iterable
from pathlib import Path

Stamp = tuple[int, int, int]
"""When it was changed (nanoseconds), how long it is, which inode it is; zeros where there is no such file."""
MISSING: Stamp = (0, 0, 0)


def stamp(path: Path) -> Stamp:
    """Return a file's stamp, `MISSING` where it cannot be looked at."""
    try:
        stat = path.stat()
    except OSError:
        return MISSING
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


def stamps(paths: Iterable[Path]) -> dict[Path, Stamp]:
    """Return the stamps of files."""
    return {path: stamp(path) for path in paths}
