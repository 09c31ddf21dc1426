"""The page cache in plain Python (DESIGN, "Scraping cheaply").

Lines are compared with those of the last page in one C-level pass. A line whose series did not change costs a float; a
series' labels are encoded when it is first seen. The samples of a scrape share one timestamp, so that a request is
`suffix.join(stems)`: a stem is a TimeSeries up to and including its sample's value.
"""

import math
from collections.abc import Callable, Generator, Iterator
from itertools import compress
from operator import ne

from agent.part import Part
from agent.scrape.body import Body
from agent.scrape.dialect import TAIL, TextDialect
from agent.scrape.draft import RefusedError, see_timed
from agent.scrape.loose import encode_loose, encode_singles
from agent.scrape.restructure import Restructuring, cut_end
from agent.scrape.series import COMMENT, DROPPED, FIRST_TIMED, KnownSeries
from agent.scrape.stems import Stems
from agent.scrape.table import MAX_AHEAD_MS, PageError, Reading, Steps, TableOptions
from agent.scrape.timed import Loose, settle, split_timed
from pipeline.wire.errors import MalformedError
from pipeline.wire.exposition import End, Format, Lines, Sample, UnterminatedError
from pipeline.wire.remote_write import Labels, pack_double

SLICE_BYTES = 2 << 20
SLICE_CHANGES = 5_000
SLICE_ENDS = 5_000
SLICE_TIMED = 10_000


class PlainTable(KnownSeries):
    """See `agent.scrape.table.Table`."""

    def __init__(self, encode: Callable[[Labels], bytes | None], options: TableOptions) -> None:
        self._plain = Stems()
        super().__init__(encode, options, self._plain)
        self._lines: list[bytes] = []
        self._spare: bytes | bytearray = b""
        self.settle, self.encode_singles = settle, encode_singles

    # ── reading ──

    def read(self, body: Body, page_format: Format, reading: Reading) -> Steps:
        """Take in a page."""
        try:
            yield from self._read(body, page_format, reading)
        except RefusedError as error:
            yield from self._end_unseen(error.seen, reading)
            raise PageError(str(error), reading) from error
        yield from self._finish(reading)

    def _read(self, body: Body, page_format: Format, reading: Reading) -> Steps:
        self._spare = body.buffer
        length = page_length(body, page_format)
        if length is not None and page_format is self.format:
            steady = yield from self._read_steady(body.buffer, length, reading)
            if steady:
                return
            reading.restart()
        lines: list[bytes] = []
        for some in split(body.buffer, body.size):
            lines += some
            yield
        dialect = TextDialect(page_format, canonical_bounds=self.options.canonical_bounds)
        problem = cut_end(lines, page_format)
        yield from Restructuring(self, self._lines, lines, page_format, reading, dialect).run(problem)
        self._lines = lines

    def _finish(self, reading: Reading) -> Steps:
        self.unsure = False
        reading.scraped = self.samples
        reading.kept = self.samples - self.dropped
        reading.duplicates += self.duplicates
        pending, track = reading.pending, self.options.track_timestamps_staleness
        for start in range(0, len(pending), SLICE_TIMED):
            some = pending[start : start + SLICE_TIMED]
            out_of_order, duplicates = self.settle(some, self.timed, reading.loose, track)
            reading.out_of_order += out_of_order
            reading.duplicates += duplicates
            yield
        pending.clear()
        if 0 in self.live:
            self.live = bytearray(b"\1") * len(self.stems)

    def _read_steady(self, page: bytes | bytearray, length: int, reading: Reading) -> Generator[None, None, bool]:
        """Read a page whose lines show the same series as before; return False where it turns out to show others.

        Lines take their predecessors' places as soon as their values are taken, those read in full at the end: should
        the page turn out to show other series, these are read once more, exemplars and all.
        """
        reader, tail = Lines(self.format, canonical_bounds=self.options.canonical_bounds), TAIL[self.format]
        old, stems = self._lines, self._plain.stems
        slots, key_bytes = self.slots, self.key_bytes
        read_in_full: list[tuple[int, bytes]] = []
        start = 0
        for lines in split(page, length):
            end = start + len(lines)
            if end > len(old):
                return False
            changed: Iterator[int] = iter(range(start, end))
            if not self.unsure:
                changed = compress(changed, map(ne, old[start:end], lines))
            for count, i in enumerate(changed, 1):
                if count % SLICE_CHANGES == 0:
                    yield
                line, size, slot, before = lines[i - start], key_bytes[i], slots[i], old[i]
                if slot != COMMENT and line[:size] == before[:size]:
                    text = line[size:]
                    # Most values are digits and perhaps a point, which is quicker to tell without a regex.
                    if slot > FIRST_TIMED and (text.strip(b"0123456789.") == b" " or tail(text) is not None):
                        try:
                            number = float(text)
                        except ValueError:
                            number = math.inf
                        if -math.inf < number < math.inf:
                            if slot >= 0:
                                stems[slot] = stems[slot][:-8] + pack_double(number)
                            old[i] = line
                            continue
                    elif self._take_timed(slot, text, reading):
                        old[i] = line
                        continue
                if not self.change(reader, i, before[:size], line, reading):
                    return False
                read_in_full.append((i, line))
            start = end
            yield
        if start < len(old):
            return False
        for i, line in read_in_full:
            old[i] = line
        return True

    def _take_timed(self, slot: int, text: bytes, reading: Reading) -> bool:
        """Take what follows a known series, value and timestamp; False leaves the line to the full reader."""
        sample = split_timed(text, self.format)
        if sample is None:
            return False
        value, timestamp_ms = sample
        if slot <= FIRST_TIMED:
            if timestamp_ms > reading.at_ms + MAX_AHEAD_MS:
                return False
            reading.pending.append((slot, value, timestamp_ms))
        elif slot != DROPPED:
            if self.options.honor_timestamps:
                return False
            if slot >= 0:
                self.stems.set_value(slot, value)
        return True

    def change(self, reader: Lines, i: int, key: bytes, line: bytes, reading: Reading) -> bool:
        """Read a changed line in full; return False if it does not show the series `key`, or not in the same way."""
        slot = self.slots[i]
        try:
            entry = reader.read(line)
        except UnterminatedError:
            return False
        except MalformedError as error:
            raise self._refusal(f"line {i + 1}: {error}", reading, i) from error
        if not isinstance(entry, Sample):
            reading.metadata_changed = True
            return slot == COMMENT and not isinstance(entry, End)
        timestamp_ms = entry.timestamp_ms if self.options.honor_timestamps else None
        if slot == COMMENT or entry.series != key:
            return False
        if slot <= FIRST_TIMED:
            if timestamp_ms is None:
                return False
            see_timed(slot, self.timed[slot].head, entry, timestamp_ms, reading)
            return True
        if timestamp_ms is not None:
            return slot == DROPPED
        if slot >= 0:
            self.stems.set_value(slot, entry.value)
            for exemplar in entry.exemplars:
                reading.exemplars.append((self.stems.head(slot), exemplar, reading.at_ms))
        return True

    # ── ending ──

    def _refusal(self, reason: str, reading: Reading, seen_lines: int) -> RefusedError:
        """Return what refuses a page that has the lines of the last one, at line `seen_lines`."""
        seen = self.slots[:seen_lines]
        reading.scraped = sum(slot != COMMENT for slot in seen)
        reading.kept = reading.scraped - sum(slot == DROPPED for slot in seen)
        return RefusedError(reason, {slot for slot in seen if slot >= 0 or slot <= FIRST_TIMED})

    def _end_unseen(self, seen: set[int], reading: Reading) -> Steps:
        """End the live series that a refused page had not shown."""
        self.unsure = True
        reading.restart()
        for slot, live in enumerate(self.live):
            if live and slot not in seen:
                reading.end(self.stems.head(slot), self.marker(slot))
            self.live[slot] = slot in seen
            if slot % SLICE_ENDS == SLICE_ENDS - 1:
                yield
        for slot, timed in self.timed.items():
            if timed.live and slot not in seen:
                reading.end(timed.head, self.marker(slot))
                timed.live, timed.last_ms = False, max(timed.last_ms, reading.at_ms)
        yield

    def end_all(self, reading: Reading) -> Steps:
        """End every series that is live."""
        return self._end_unseen(set(), reading)

    # ── encoding ──

    def requests(self, at_ms: int, max_samples: int, max_bytes: int) -> Iterator[tuple[bytes, int, int]]:
        """Encode the ordinary samples."""
        return self.stems.requests(at_ms, max_samples, max_bytes)

    def loose_requests(self, samples: list[Loose], max_samples: int, max_bytes: int) -> Iterator[Part | None]:
        """Encode samples that are sent one by one."""
        return encode_loose(samples, max_samples, max_bytes, self.encode_singles)

    def knows(self, head: bytes) -> bool:
        """Tell whether there is an ordinary series with these labels."""
        return self.find(head) >= 0

    def metadata_lines(self) -> Iterator[bytes]:
        """Return the comment lines."""
        return (line for line, slot in zip(self._lines, self.slots, strict=True) if slot == COMMENT and line)

    def spare(self) -> bytes | bytearray:
        """Return memory that a page has come in and that is not needed any more."""
        spare, self._spare = self._spare, b""
        return spare


def split(page: bytes | bytearray, length: int) -> Iterator[list[bytes]]:
    """Split the first `length` bytes of a page into lines, some megabytes at a time; -1 stands for no line at all."""
    start, view = 0, memoryview(page)
    while (end := page.find(b"\n", start + SLICE_BYTES, length)) >= 0:
        yield bytes(view[start:end]).split(b"\n")
        start = end + 1
    if length >= 0:
        yield bytes(view[start:length]).split(b"\n")


def page_length(body: Body, page_format: Format) -> int | None:
    """Return how long a page is without what ends it, -1 for one without a line; None where its end is missing."""
    page = body.buffer
    length = body.size - page.endswith(b"\n", 0, body.size)
    if page_format is Format.TEXT:
        return length
    if not page.endswith(b"# EOF", 0, length):
        return None
    length -= len(b"# EOF") + 1
    return length if length < 0 or page[length] == 0x0A else None
