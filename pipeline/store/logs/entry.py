"""One stored log entry, and how serious it says it is."""

from collections.abc import Iterable
from typing import Final, NamedTuple

import re2

from pipeline.wire.loki import Pairs

LEVELS: Final = ("", "trace", "debug", "info", "warn", "error", "critical")
"""What a level's number means; the empty one: nothing was found that says it."""

MAX_NS: Final = (1 << 62) - 1
"""Times (Unix nanoseconds) are kept between its negative and this, the year 2116: further ones are taken for these."""


def clamped(time_ns: int) -> int:
    """Return a time within these bounds."""
    return max(-MAX_NS, min(time_ns, MAX_NS))


class Entry(NamedTuple):
    """One entry. `seq` numbers a store's entries in the order in which they came; `level` is a place in LEVELS."""

    time_ns: int
    seq: int
    line: str
    metadata: Pairs = ()
    level: int = 0


_NAMES: Final = {
    name: LEVELS.index(level)
    for level, names in {
        "trace": "trace trc verbose",
        "debug": "debug dbg d",
        "info": "info inf information notice i",
        "warn": "warn wrn warning w",
        "error": "error err eror e",
        "critical": "critical crit fatal panic emerg emergency alert f",
    }.items()
    for name in names.split()
}
_LABELS: Final = frozenset({"level", "detected_level", "severity", "severity_text", "loglevel", "lvl"})
# What begins a line says it, in one of the forms that loggers write: a key and its value (logfmt, JSON), klog's letter,
# a word in capitals, a word in brackets or before a colon.
_LOOKED_AT: Final = 200
_WORDS: Final = "trace|debug|info|notice|warn(?:ing)?|err(?:or)?|fatal|panic|crit(?:ical)?|emerg|alert"
_SAYS: Final = re2.compile(
    (
        r'(?:level|lvl|severity|levelname)"?\s*[=:]\s*"?([A-Za-z]+)'
        r"|^([IWEF])\d{4} \d\d:"
        rf"|\b({_WORDS.upper()})\b|\[({_WORDS})\]|\b({_WORDS}): "
    ).encode()
)


def level_of_labels(labels: Iterable[tuple[str, str]]) -> int:
    """Return the level that a label (or structured metadata) of one of the usual names says."""
    return next((_NAMES.get(value.lower(), 0) for name, value in labels if name in _LABELS), 0)


def level_of_line(line: str) -> int:
    """Return the level that the beginning of a line says."""
    # RE2 takes bytes as they are, and text at twice the cost.
    found = _SAYS.search(line[:_LOOKED_AT].encode())
    return _NAMES.get(found[found.lastindex].decode().lower(), 0) if found is not None else 0
