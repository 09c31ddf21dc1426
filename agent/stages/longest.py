"""`limits_config.max_line_size`: how long an entry may be as stages leave it.

Source: promtail, clients/pkg/util/client.go: the line that is about to be sent counts, in bytes, whatever its source.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from pipeline.telemetry import LogInputMetrics

logger = logging.getLogger(__name__)

TOO_LONG: Final = "line_too_long"
"""promtail's own reason."""

Shorten = Callable[[bytes], bytes | None]
"""Return what goes on of a line that is too long, None for nothing; it is counted."""


@dataclass(frozen=True, slots=True)
class Longest:
    """The most bytes of an entry's line, in UTF-8; a longer one is cut there, or dropped."""

    max_bytes: int
    cuts: bool = False

    def shorten(self, job: str, metrics: LogInputMetrics) -> Shorten:
        """Return what cuts or drops, counts, and says the first time that it does."""
        said = False

        def say() -> None:
            nonlocal said
            if not said:
                said = True
                what = "cut there" if self.cuts else "dropped"
                words = "entries longer than max_line_size (%d bytes) are %s, and counted"
                logger.warning(words, self.max_bytes, what, extra={"job": job})

        def shorten(line: bytes) -> bytes | None:
            say()
            if not self.cuts:
                metrics.dropped_lines.labels(job, TOO_LONG).inc()
                return None
            metrics.cut_lines.labels(job).inc()
            # Other than in promtail no character is cut in two.
            return line[: self.max_bytes].decode(errors="ignore").encode()

        return shorten


def runs(block: bytes, max_bytes: int) -> Iterator[tuple[int, int, bool]]:
    """Cut whole lines, each ended by a newline, into runs of lines that are not too long, and single ones that are.

    Looks back from where a line that begins here would have to end, so that few lines are looked at.
    """
    begin = at = 0
    while len(block) - at > max_bytes + 1:
        newline = block.rfind(b"\n", at, at + max_bytes + 1)
        if newline < 0:
            newline = block.find(b"\n", at + max_bytes + 1)
            if at > begin:
                yield begin, at, False
            begin = newline + 1 if newline >= 0 else len(block)
            yield at, begin, True
            at = begin
        else:
            at = newline + 1
    if begin < len(block):
        yield begin, len(block), False


Lines = Callable[[bytes, int], int]


def apart(lines: Lines, one_by_one: Lines, max_bytes: int) -> Lines:
    """Return how a block goes through where lines that are too long go by themselves: see `agent.stages.blocks`.

    Entries are never longer than their lines in a file are.
    """

    def take(block: bytes, time_ns: int) -> int:
        for start, end, is_long in runs(block, max_bytes):
            time_ns = (one_by_one if is_long else lines)(block[start:end], time_ns)
        return time_ns

    return take
