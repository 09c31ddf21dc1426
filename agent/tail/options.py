"""What a job says of the files it follows."""

from dataclasses import dataclass, field
from typing import Final

MAX_LINE_BYTES: Final = 2**20
"""How long a line may be where nothing else is said: a line is held whole in memory, and in Loki it is one entry."""


@dataclass(frozen=True, slots=True)
class LineLimit:
    """How long a line of a file may be, in its own bytes; a longer one is cut there, or dropped whole."""

    max_bytes: int = MAX_LINE_BYTES
    cut: bool = True


@dataclass(frozen=True, slots=True)
class Decompression:
    """promtail's `decompression`: files of this format ("gz", "bz2" or "z") are read from their start to their end.

    `initial_delay_s` is how long after its last change such a file is first opened: its writer may not be done.
    """

    format: str
    initial_delay_s: float = 0.0


@dataclass(frozen=True, slots=True)
class TailOptions:
    """How a job's files are followed.

    `encoding` is a name of IANA's, empty for UTF-8. `sync_period_s` is how often directories are looked through even if
    nothing was noticed; `poll_s` how often a file that is being written is looked at. A file that was renamed or
    deleted is let go when it has been read to its end and nothing was written for `rotated_wait_s`; a last line without
    its newline is given once nothing came for `ended_wait_s`. `max_open` bounds the files held open, 0 chooses.
    """

    encoding: str = ""
    decompression: Decompression | None = None
    limit: LineLimit = field(default_factory=LineLimit)
    sync_period_s: float = 10.0
    poll_s: float = 0.25
    rotated_wait_s: float = 60.0
    ended_wait_s: float = 5.0
    max_open: int = 0
    inotify: bool = True
