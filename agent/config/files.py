"""File patterns as Prometheus reads them: wildcards in the last part of the path."""

import os
import re
from fnmatch import fnmatchcase
from pathlib import Path


def matching(pattern: Path) -> list[Path]:
    """Return the files that are there, sorted; as in Go a folder that cannot be read is one without files."""
    # Go knows no `**`, and writes [^a] where fnmatch has [!a].
    name = re.sub(r"\*+", "*", pattern.name).replace("[^", "[!")
    try:
        with os.scandir(pattern.parent) as entries:
            return sorted(pattern.parent / entry.name for entry in entries if fnmatchcase(entry.name, name))
    except (OSError, ValueError):  # ValueError: a name with a null byte.
        return []
