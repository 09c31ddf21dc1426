"""The page cache with its compiled part: pages stay whole, and are compared where they stand."""

import contextlib
import sys
from array import array
from collections.abc import Callable, Generator, Iterator
from itertools import accumulate, compress, count, repeat
from operator import add
from typing import TYPE_CHECKING, Any

from agent.scrape.body import Body
from agent.scrape.delimited import DelimitedTable
from agent.scrape.dialect import TextDialect
from agent.scrape.plain import PlainTable, page_length, split
from agent.scrape.restructure import Restructuring, cut_end
from agent.scrape.series import COMMENT
from agent.scrape.table import MAX_AHEAD_MS, Reading, Steps, Table, TableOptions
from agent.scrape.values import Values
from pipeline.wire.exposition import Format, Lines, delimited
from pipeline.wire.remote_write import Labels

if TYPE_CHECKING:
    PackedStems: Any
    encode_singles: Any
    settle: Any
else:
    PackedStems = None
    # It writes doubles as the machine holds them, and remote write wants them little-endian.
    if sys.byteorder == "little":
        with contextlib.suppress(ImportError):  # no compiler where this was installed
            from agent.scrape._page import PackedStems, encode_singles, settle

SLICE_LINES = 20_000
BLOCK_SERIES = 512


def make_table(
    encode: Callable[[Labels], bytes | None],
    options: TableOptions,
    page_format: Format,
    accelerated: bool | None,
    max_samples: int,
) -> Table:
    """Return a page cache for text or protobuf: the compiled one where it was built, unless `accelerated` says which.

    Raises ValueError where there is none.
    """
    built = PackedStems is not None and delimited.ACCELERATED
    if not (built if accelerated is None else accelerated):
        return DelimitedTable(encode, options) if page_format is Format.PROTOBUF else PlainTable(encode, options)
    if not built:
        raise ValueError("the accelerator was not built: build it with `python setup.py build_ext --inplace`")
    block_series = min(BLOCK_SERIES, max_samples)
    if page_format is Format.PROTOBUF:
        return FastDelimitedTable(encode, options, block_series)
    return FastTable(encode, options, block_series)


class FastTable(PlainTable):
    """See `agent.scrape.table.Table`; lines are kept as the last page and where in it each begins."""

    def __init__(self, encode: Callable[[Labels], bytes | None], options: TableOptions, block_series: int) -> None:
        super().__init__(encode, options)
        self._packed = self.stems = PackedStems(block_series)
        self.settle, self.encode_singles = settle, encode_singles
        self._page: bytes | bytearray = b""
        self._starts = array("I", [0])
        """The first byte of each line; the last entry is what a further line would have."""

    def _read(self, body: Body, page_format: Format, reading: Reading) -> Steps:
        length = page_length(body, page_format)
        if length is not None and page_format is self.format:
            starts = array("I", bytes(4 * len(self._starts)))
            steady = yield from self._scan(body.buffer, length, starts, reading)
            if steady:
                self._keep(body, starts)
                return
            reading.restart()
        lines: list[bytes] = []
        for some in split(body.buffer, body.size):
            lines += some
            yield
        old = yield from self._old_lines()
        dialect = TextDialect(page_format, canonical_bounds=self.options.canonical_bounds)
        problem = cut_end(lines, page_format)
        yield from Restructuring(self, old, lines, page_format, reading, dialect).run(problem)
        yield from _let_go(old)
        starts = array("I", [0])
        for first in range(0, len(lines), SLICE_LINES):
            sizes = map(add, map(len, lines[first : first + SLICE_LINES]), repeat(1))
            starts.extend(accumulate(sizes, initial=starts.pop()))
            yield
        self._keep(body, starts)
        yield from _let_go(lines)

    def _keep(self, body: Body, starts: "array[int]") -> None:
        self._spare, self._page, self._starts = self._page, body.buffer, starts

    def _scan(
        self, page: bytes | bytearray, length: int, starts: "array[int]", reading: Reading
    ) -> Generator[None, None, bool]:
        """Read a page whose lines show the same series as before; return False where it turns out to show others."""
        reader, openmetrics = (
            Lines(self.format, canonical_bounds=self.options.canonical_bounds),
            self.format is Format.OPENMETRICS,
        )
        line, lines = 0, len(self.slots)
        while line < lines:
            stopped = self._packed.scan(
                self._page, page, self._starts, starts, self.key_bytes, self.slots,
                line, length, SLICE_LINES, openmetrics, self.unsure,
                reading.pending, reading.at_ms + MAX_AHEAD_MS, self.options.honor_timestamps,
            )  # fmt: skip
            if stopped - line == SLICE_LINES or stopped == lines:
                line = stopped
                yield
                continue
            start = starts[stopped]
            if start > length:
                return False
            end = page.find(b"\n", start, length)
            text = bytes(page[start : end if end >= 0 else length])
            first = self._starts[stopped]
            key = bytes(self._page[first : first + self.key_bytes[stopped]])
            if not self.change(reader, stopped, key, text, reading):
                return False
            line = stopped + 1
            starts[line] = start + len(text) + 1
        return bool(starts[lines] == length + 1)

    def _old_lines(self) -> Generator[None, None, list[bytes]]:
        """Return the lines of the last good page."""
        starts, page = self._starts, self._page
        lines: list[bytes] = []
        for some in split(page, starts[-1] - 1):
            lines += some
            yield
        if len(lines) == len(starts) - 1:
            return lines
        # A quoted line feed makes one line of two.
        return [bytes(page[start : starts[number + 1] - 1]) for number, start in enumerate(starts[:-1])]

    def metadata_lines(self) -> Iterator[bytes]:
        """Return the comment lines."""
        for number in compress(count(), map(COMMENT.__eq__, self.slots)):
            if line := self._page[self._starts[number] : self._starts[number + 1] - 1]:
                yield bytes(line)


class FastDelimitedTable(DelimitedTable):
    """See `agent.scrape.table.Table`; for protobuf pages."""

    def __init__(self, encode: Callable[[Labels], bytes | None], options: TableOptions, block_series: int) -> None:
        super().__init__(encode, options, delimited.read_family_accelerated)
        self._packed = PackedStems(block_series)
        self._values = self.stems = Values(self._packed)
        self.convert = delimited.convert_accelerated
        self.settle, self.encode_singles = settle, encode_singles

    def _in_full(self, lines: list[bytes]) -> Iterator[int | None]:
        line = 0
        while line < len(lines):
            stopped = self._packed.take_lines(
                self._lines, lines, self.key_bytes, self.slots, self._values.places, line, SLICE_LINES, self.unsure
            )
            if stopped - line == SLICE_LINES or stopped == len(lines):
                line = stopped
                yield None
            else:
                line = stopped + 1
                yield stopped


def _let_go(lines: list[bytes]) -> Steps:
    # A million of them at once takes longer than the loop may be held.
    while lines:
        del lines[-SLICE_LINES:]
        yield
