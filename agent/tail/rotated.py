"""What rotation names files: which siblings of a log are older parts of it, and in which order they were written.

Sources: logrotate(8) (`.1`, `dateext` with its formats, compression's endings), kubelet's
pkg/kubelet/logs/container_log_manager.go (`0.log.20060102-150405`, compressed but for the newest), Docker's json-file
driver (`.1`, `.2.gz`), Python's TimedRotatingFileHandler (`.2006-01-02_15`).
"""

import re
from typing import Final

PACKINGS: Final = {"gz": "gz", "bz2": "bz2", "xz": "xz", "zst": "zst", "Z": "Z", "lz4": "lz4", "zip": "zip"}
_SUFFIX: Final = re.compile(
    r"(?:\.(?P<number>\d{1,3})|[.\-_](?P<date>\d{4,}(?:[-._T:]?\d+)*))(?:\.(?P<packing>gz|bz2|xz|zst|Z|lz4|zip))?"
)
_ENDING: Final = re.compile(rf"(?P<base>.+?){_SUFFIX.pattern}")

Age = tuple[int, ...]
"""What sorts a log's parts from the oldest to the newest."""


def age(name: str, base: str) -> Age | None:
    """Return how old a part of the log `base` the file `name` is, by its name; None where it is none.

    A number counts up as a part ages; dates tell the time themselves, and those of a former scheme are older.
    """
    if not name.startswith(base):
        return None
    found = _SUFFIX.fullmatch(name, len(base))
    if found is None:
        return None
    if found["number"] is not None:
        return (1, -int(found["number"]))
    return (0, *(int(digits) for digits in re.findall(r"\d+", found["date"])))


def base_of(name: str) -> str | None:
    """Return the name of the log that a file is an older part of, by its name; None where it looks like none."""
    found = _ENDING.fullmatch(name)
    return found["base"] if found else None


def packing(name: str) -> str:
    """Return the format that a name says the file is compressed in, empty where it says none."""
    return PACKINGS.get(name.rpartition(".")[2], "") if "." in name else ""
