"""The page cache for protobuf pages: taken apart into lines, which are then compared as those of text are."""

from collections.abc import Callable, Generator, Iterator
from itertools import compress
from operator import ne

from agent.part import Part
from agent.scrape.body import Body
from agent.scrape.dialect import DelimitedDialect
from agent.scrape.loose import encode_histograms, encode_loose
from agent.scrape.plain import PlainTable
from agent.scrape.restructure import Restructuring
from agent.scrape.series import COMMENT, DROPPED, FIRST_TIMED
from agent.scrape.table import Reading, Steps, TableOptions
from agent.scrape.timed import VALUE_BYTES, Loose
from agent.scrape.values import Values
from pipeline.wire.errors import MalformedError
from pipeline.wire.exposition import Delimited, Format
from pipeline.wire.exposition.delimited import ReadFamily
from pipeline.wire.exposition.delimited_family import NO_TIME, PLAIN_END, Wanted, read_family
from pipeline.wire.exposition.delimited_read import Convert
from pipeline.wire.histogram import STALE_HISTOGRAM, InvalidHistogramError
from pipeline.wire.histogram_read import convert_exposed
from pipeline.wire.remote_write import STALE_NAN, Labels

_SLICE_LINES = 5_000
_SLICE_IN_FULL = 100
"""A native histogram takes as long as some hundred numbers."""


class DelimitedTable(PlainTable):
    """See `agent.scrape.table.Table`; in plain Python."""

    def __init__(
        self, encode: Callable[[Labels], bytes | None], options: TableOptions, read_family: ReadFamily = read_family
    ) -> None:
        super().__init__(encode, options)
        self.format = Format.PROTOBUF
        self._values = self.stems = Values(self.stems)
        self.convert: Convert = convert_exposed
        self._delimited = Delimited(Wanted(options.native_histograms, options.classic_too), read_family)

    def _read(self, body: Body, page_format: Format, reading: Reading) -> Steps:
        self._spare = body.buffer
        lines, problem = list[bytes](), None
        try:
            for some in self._delimited.lines(body.buffer, body.size):
                lines += some
                yield
        except MalformedError as error:
            problem = str(error)
        dialect = DelimitedDialect(self.options.shape, self.convert)
        if problem is None and len(lines) == len(self._lines):
            steady = yield from self._take_steady(lines, dialect, reading)
            if steady:
                self._lines = lines
                return
            reading.restart()
        yield from Restructuring(self, self._lines, lines, page_format, reading, dialect).run(problem)
        self._lines = lines

    def _take_steady(
        self, lines: list[bytes], dialect: DelimitedDialect, reading: Reading
    ) -> Generator[None, None, bool]:
        """Take lines that show the same series as before; return False where they turn out to show others."""
        for count, i in enumerate(self._in_full(lines), 1):
            if i is None or count % _SLICE_IN_FULL == 0:
                yield
            if i is not None and not self._take(i, lines[i], dialect, reading):
                return False
        if problem := dialect.problem():
            raise self._refusal(problem, reading, len(lines))
        return True

    def _in_full(self, lines: list[bytes]) -> Iterator[int | None]:
        """Take the lines that are as they were, but for a number; yield all others, and None between slices."""
        for start in range(0, len(lines), _SLICE_LINES):
            stop = min(start + _SLICE_LINES, len(lines))
            changed: Iterator[int] = iter(range(start, stop))
            if not self.unsure:
                changed = compress(changed, map(ne, self._lines[start:stop], lines[start:stop]))
            for i in changed:
                line, before, size, slot = lines[i], self._lines[i], self.key_bytes[i], self.slots[i]
                end = size + VALUE_BYTES
                # An exemplar that was there before says nothing new.
                known = line[end:] == PLAIN_END or (
                    line[end : end + 8] == NO_TIME and line[end:] == before[end:] and not self.unsure
                )
                if known and slot >= 0 and self._values.is_number(slot) and line[:size] == before[:size]:
                    self._values.set_value(slot, line[size:end])
                else:
                    yield i
            yield None

    def _take(self, i: int, line: bytes, dialect: DelimitedDialect, reading: Reading) -> bool:
        """Take a line; return False where it shows another series than before, or is timed and was not."""
        before, size, slot = self._lines[i], self.key_bytes[i], self.slots[i]
        if slot == COMMENT:
            return line == before
        if line[:size] != before[:size]:
            return False
        if slot == DROPPED:
            return True
        try:
            value, timestamp_ms, exemplars = dialect.lines.read_tail(line, size)
        except MalformedError as error:
            refusal = self._refusal(str(error), reading, i)
            reading.scraped += isinstance(error, InvalidHistogramError)
            raise refusal from error
        if not self.options.honor_timestamps:
            timestamp_ms = None
        if (timestamp_ms is not None) != (slot <= FIRST_TIMED):
            return False
        if timestamp_ms is not None:
            reading.see_timed(slot, value, timestamp_ms)
            reading.exemplars += ((self.timed[slot].head, exemplar, timestamp_ms) for exemplar in exemplars)
        elif slot >= 0:
            self._values.set_value(slot, value)
            reading.exemplars += ((self._values.head(slot), exemplar, reading.at_ms) for exemplar in exemplars)
        return True

    def marker(self, slot: int) -> bytes:
        """Return the value that ends a series: a histogram's is a histogram, too."""
        is_number = self._values.is_number(slot) if slot >= 0 else len(self.timed[slot].value) <= VALUE_BYTES
        return STALE_NAN if is_number else STALE_HISTOGRAM

    def loose_requests(self, samples: list[Loose], max_samples: int, max_bytes: int) -> Iterator[Part | None]:
        """Encode samples that are sent one by one."""
        numbers = [sample for sample in samples if len(sample[1]) == VALUE_BYTES]
        yield from encode_loose(numbers, max_samples, max_bytes, self.encode_singles)
        if len(numbers) < len(samples):
            histograms = [sample for sample in samples if len(sample[1]) > VALUE_BYTES]
            yield from encode_histograms(histograms, max_samples, max_bytes)
