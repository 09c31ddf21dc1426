"""What a page cache must know of a page's format: how its lines are read, in full or only behind a known series."""

import math
import re
from typing import Final, Protocol

from agent.scrape.alignment import KeyOf, key_of
from agent.scrape.timed import NUMBER, split_timed
from pipeline.wire.errors import MalformedError
from pipeline.wire.exposition import DelimitedLines, End, Entry, Format, Lines, delimited
from pipeline.wire.exposition.delimited_read import Convert
from pipeline.wire.histogram import Shape
from pipeline.wire.remote_write import pack_double

TAIL: Final = {
    Format.TEXT: re.compile(rb"[ \t]+" + NUMBER + rb"[ \t]*").fullmatch,
    Format.OPENMETRICS: re.compile(rb" " + NUMBER).fullmatch,
}
"""What follows the series in most lines of text: a decimal number and nothing else."""


class Dialect(Protocol):
    """Reads the lines of one page, in order."""

    @property
    def key_of(self) -> KeyOf:
        """Return what tells a line's series."""

    def read(self, line: bytes) -> Entry | End:
        """Read a line in full; raises MalformedError, and UnterminatedError where it goes on in the next."""

    def value(self, line: bytes, size: int) -> bytes | None:
        """Return the value behind a series of `size` bytes; None where more stands there, or where to read in full."""

    def timed(self, line: bytes, size: int) -> tuple[bytes, int] | None:
        """Return the value and timestamp behind a series; None where to read in full."""

    def place(self, number: int) -> str:
        """Return how a mistake in line `number`, counted from 0, is introduced."""

    def problem(self) -> str:
        """Return what is wrong with the page as a whole, once all of it was read."""


class TextDialect:
    """The text formats; `lines` is the reader, for those who read line by line themselves."""

    def __init__(self, page_format: Format, *, canonical_bounds: bool) -> None:
        self.lines = Lines(page_format, canonical_bounds=canonical_bounds)
        self.read = self.lines.read
        self.key_of: KeyOf = key_of
        self._format = page_format
        self._tail = TAIL[page_format]

    def value(self, line: bytes, size: int) -> bytes | None:
        """Return a value that is a decimal number."""
        found = self._tail(line, size)
        if found is None or math.isinf(number := float(found[1])):
            return None
        return pack_double(number)

    def timed(self, line: bytes, size: int) -> tuple[bytes, int] | None:
        """Return a decimal number and a timestamp."""
        return split_timed(line[size:], self._format)

    def place(self, number: int) -> str:
        """Name the line."""
        return f"line {number + 1}: "

    def problem(self) -> str:
        """Nothing: what is wrong with text shows in a line."""
        return ""


class DelimitedDialect:
    """Protobuf pages, whose lines `pipeline.wire.exposition.delimited` makes."""

    def __init__(self, shape: Shape, convert: Convert) -> None:
        self.lines = DelimitedLines(shape, convert)
        self.read = self.lines.read
        self.key_of: KeyOf = delimited.key_of

    def value(self, line: bytes, size: int) -> bytes | None:
        """Return a value without timestamp and exemplars."""
        try:
            value, timestamp_ms, exemplars = self.lines.read_tail(line, size)
        except MalformedError:
            return None
        return None if timestamp_ms is not None or exemplars else value

    def timed(self, line: bytes, size: int) -> tuple[bytes, int] | None:
        """Return a value and a timestamp, without exemplars."""
        try:
            value, timestamp_ms, exemplars = self.lines.read_tail(line, size)
        except MalformedError:
            return None
        return None if timestamp_ms is None or exemplars else (value, timestamp_ms)

    def place(self, number: int) -> str:
        """Nothing: nobody has seen these lines, and the mistake names its metric."""
        return ""

    def problem(self) -> str:
        """Return what only the page's end may tell, so that what it holds is counted."""
        return self.lines.problem
