"""What rotation names files: which siblings of a log are older parts of it, and in which order they were written.

Sources: logrotate(8) (`.1`, `dateext` with its formats, compression's endings), kubelet's
pkg/kubelet/logs/container_log_manager.go (`0.log.20060102-150405`, compressed but for the newest), Docker's json-file
driver (`.1`, `.2.gz`), Python's TimedRotatingFileHandler (`.2006-01-02_15`).
"""

import re
from collections.abc import Iterator
from typing import Final

PACKINGS: Final = {"gz": "gz", "bz2": "bz2", "xz": "xz", "zst": "zst", "Z": "Z", "lz4": "lz4", "zip": "zip"}
_SUFFIX: Final = re.compile(
    r"(?:\.(?P<number>\d{1,3})|[.\-_](?P<date>\d{4,}(?:[-._T:]?\d+)*))(?:\.(?P<packing>gz|bz2|xz|zst|Z|lz4|zip))?"
)
_SEPARATOR: Final = re.compile(r"[.\-_]")

Age = tuple[int, ...]
"""What sorts a log's parts from the oldest to the newest."""


def parts_of(name: str) -> Iterator[tuple[str, Age]]:
    """Give the logs that a file may be an older part of, by its name, and how old it is then.

    A number counts up as a part ages; dates tell the time themselves, and those of a former scheme are older.
    """
    for separator in _SEPARATOR.finditer(name, 1):
        found = _SUFFIX.fullmatch(name, separator.start())
        if found is not None:
            number, date = found["number"], found["date"]
            age = (1, -int(number)) if number is not None else (0, *map(int, re.findall(r"\d+", date)))
            yield name[: separator.start()], age


def base_of(name: str) -> str | None:
    """Return the name of the log that a file is an older part of, by its name; None where it looks like none."""
    return next((base for base, _ in parts_of(name)), None)


def packing(name: str) -> str:
    """Return the format that a name says the file is compressed in, empty where it says none."""
    return PACKINGS.get(name.rpartition(".")[2], "") if "." in name else ""
