"""Reading a page that shows other series than the last one, or shows them in another order (in plain Python).

Every line finds its series: the one that an alignment of both pages found, the one with the same text elsewhere on the
last page, or none, which makes it a first sight: parsed, labelled, encoded. Lines that are as they were are taken in
one go. The table changes only when the whole page is good.
"""

from agent.scrape.alignment import Alignment, align
from agent.scrape.dialect import Dialect
from agent.scrape.draft import Draft, see_timed
from agent.scrape.labelling import ScrapeError
from agent.scrape.series import COMMENT, DROPPED, DUPLICATE, FIRST_TIMED, KnownSeries
from agent.scrape.table import Reading, Steps
from agent.scrape.timed import VALUE_BYTES
from pipeline.wire.errors import MalformedError
from pipeline.wire.exposition import End, Format, Sample, UnterminatedError
from pipeline.wire.histogram import InvalidHistogramError

_SLICE_LINES = 2_000
_SLICE_SIGHTS = 125


def cut_end(lines: list[bytes], page_format: Format) -> str | None:
    """Take away what ends a page; return what is wrong with the end."""
    if lines[-1] == b"":
        lines.pop()
    if page_format is Format.TEXT:
        return None
    if not lines or lines[-1] != b"# EOF":
        return "data does not end with # EOF"
    lines.pop()
    return None


class Restructuring(Draft):
    """One reading of one page, from the table's last state to its next."""

    def __init__(
        self,
        table: KnownSeries,
        old: list[bytes],
        lines: list[bytes],
        page_format: Format,
        reading: Reading,
        dialect: Dialect,
    ) -> None:
        super().__init__(table, page_format, dialect, reading)
        self._lines = lines
        self._old = old
        # What was good in the other format need not be good in this one.
        self._unsure = table.unsure or page_format is not table.format
        self._next_old = 0
        self._matched = bytearray(len(self._old))
        self._alignment: Alignment | None = None
        self._by_key: dict[bytes, int] | None = None
        self._line_of_timed: dict[int, int] | None = None
        self._cost = 0

    def run(self, problem: str | None) -> Steps:
        """Read all lines, then change the table; raises PageError, for a good page with `problem` too."""
        self._reading.metadata_changed = True
        yield from self._align()
        number = 0
        while number < len(self._lines):
            if equal := self._take_equal(number):
                number += equal
            elif self._place(number):
                number += 1
            elif self._by_key is None:
                yield from self._index()
            else:
                number = self._read(number)
            if self._cost > _SLICE_LINES:
                self._cost = 0
                yield
        if problem is not None:
            self._refuse(f"{self._dialect.place(number)}{problem}", number)
        if self._beyond_limit() is not None:
            self._refuse("sample limit exceeded", number)
        if problem := self._dialect.problem():
            self._refuse(problem, number)
        yield
        yield from self._commit()

    # ── finding each line's series ──

    def _align(self) -> Steps:
        self._alignment = yield from align(self._old, self._table.key_bytes, self._lines, self._dialect.key_of)

    def _partner(self, number: int) -> int:
        """Return the old line that the alignment found for a line, or -1."""
        return -1 if self._alignment is None else self._alignment.partners[number]

    def _take_equal(self, number: int) -> int:
        """Take lines that are as they were, from this one up to the first that needs a look; return how many."""
        if self._unsure or self._alignment is None or self._alignment.looks[number]:
            return 0
        table, old = self._table, self._alignment.partners[number]
        end = self._alignment.looks.find(1, number, number + _SLICE_LINES)
        most = (end if end >= 0 else min(number + _SLICE_LINES, len(self._lines))) - number
        if (clash := self._matched.find(1, old, old + most)) >= 0:
            most = clash - old
        line_of_stem, behind = self._line_of_stem, number
        for slot in table.slots[old : old + most]:
            if slot >= 0:
                if line_of_stem[slot] >= 0:
                    break
                line_of_stem[slot] = behind
            elif slot != DROPPED:
                break
            behind += 1
        taken = behind - number
        self._slots.extend(table.slots[old : old + taken])
        self._key_bytes.extend(table.key_bytes[old : old + taken])
        self._matched[old : old + taken] = b"\1" * taken
        self._next_old = old + taken
        self._cost += 1 + taken // 8
        return taken

    def _place(self, number: int) -> bool:
        """Give the line to the series of the last page that it shows; return False where none is found cheaply."""
        line, old = self._lines[number], self._partner(number)
        if old < 0:
            old = self._next_old
        self._cost += 1
        table = self._table
        if old < len(self._matched) and not self._matched[old]:
            size = table.key_bytes[old]
            if line == self._old[old] or (size and line[:size] == self._old[old][:size]):
                return self._match(number, old, line)
        if self._by_key is not None:
            found = self._by_key.get(self._dialect.key_of(line))
            if found is not None and not self._matched[found]:
                return self._match(number, found, line)
        return False

    def _match(self, number: int, old: int, line: bytes) -> bool:
        """Let a line show the series that an old line showed, if it does so in the same way."""
        table = self._table
        slot, size = table.slots[old], table.key_bytes[old]
        if slot == COMMENT:
            if self._format is not table.format:
                return False
            if b"TYPE" in line:
                self._dialect.read(line)
        elif slot <= FIRST_TIMED:
            sample = self._dialect.timed(line, size)
            if sample is None:
                return False
            self._timed_seen.add(slot)
            self._reading.see_timed(slot, *sample)
            self._spend(sample[0])
        elif slot == DUPLICATE or (slot >= 0 and self._line_of_stem[slot] >= 0):
            return False  # these are read in full; the last when another text with the same labels came first
        elif self._unsure or line != self._old[old]:
            value = self._dialect.value(line, size)
            if value is None:
                return False
            self._spend(value)
            if slot >= 0:
                table.stems.set_value(slot, value)
        if slot >= 0:
            self._line_of_stem[slot] = number
        self._take(old, slot, size)
        return True

    def _spend(self, value: bytes) -> None:
        if len(value) > VALUE_BYTES:  # a native histogram, which takes as long as a series that is new
            self._cost += _SLICE_LINES // _SLICE_SIGHTS

    def _take(self, old: int, slot: int, size: int) -> None:
        self._matched[old] = 1
        self._next_old = old + 1
        self._slots.append(slot)
        self._key_bytes.append(size)

    def _index(self) -> Steps:
        """Make the last page's series findable by their text, but for those that have their lines already."""
        table = self._table
        by_key: dict[bytes, int] = {}
        self._by_key = by_key
        taken = self._matched if self._alignment is None else self._alignment.taken
        old = -1
        while (old := taken.find(0, old + 1)) >= 0:
            slot = table.slots[old]
            if slot != COMMENT and slot != DUPLICATE and not self._matched[old]:
                by_key.setdefault(self._old[old][: table.key_bytes[old]], old)
            if old % 5_000 == 0:
                yield

    # ── reading a line in full ──

    def _read(self, number: int) -> int:
        """Read a line in full; return the number of the next."""
        line = self._lines[number]
        self._cost += _SLICE_LINES // _SLICE_SIGHTS
        try:
            entry = self._dialect.read(line)
        except UnterminatedError as error:
            if number + 1 == len(self._lines):
                self._refuse(f"{self._dialect.place(number)}{error}", number)
            self._lines[number : number + 2] = [line + b"\n" + self._lines[number + 1]]
            # The lines behind have other numbers now.
            self._alignment = self._by_key = None
            return number
        except MalformedError as error:
            # What no store would take has been scraped all the same.
            scraped = isinstance(error, InvalidHistogramError)
            self._refuse(f"{self._dialect.place(number)}{error}", number, scraped)
        if isinstance(entry, End):
            if self._format is Format.OPENMETRICS:
                self._refuse(f"line {number + 2}: unexpected data after # EOF", number)
            del self._lines[number:]
        elif isinstance(entry, Sample):
            self._see(number, entry)
        else:
            self._slots.append(COMMENT)
            self._key_bytes.append(0)
        return number + 1

    def _see(self, number: int, sample: Sample) -> None:
        table = self._table
        timestamp_ms = sample.timestamp_ms if table.options.honor_timestamps else None
        assert self._by_key is not None
        old = self._by_key.get(sample.series)
        partner = self._partner(number)
        if partner >= 0 and table.slots[partner] != DUPLICATE and self._had(partner, sample.series):
            old = partner
        if old is not None and not self._matched[old] and self._see_again(number, old, sample, timestamp_ms):
            return
        try:
            head = table.encode(sample.labels)
        except ScrapeError as error:
            self._refuse(str(error), number, scraped=1)
        slot = DROPPED if head is None else self._sight(number, head, sample, timestamp_ms)
        self._slots.append(slot)
        self._key_bytes.append(len(sample.series))

    def _see_again(self, number: int, old: int, sample: Sample, timestamp_ms: int | None) -> bool:
        """Take a line that shows a known series; return False where it is timed and was not, or the reverse."""
        table = self._table
        slot = table.slots[old]
        if slot >= 0:
            if timestamp_ms is not None or self._line_of_stem[slot] >= 0:
                return False
            self._line_of_stem[slot] = number
            self._set_value(slot, sample)
        elif slot <= FIRST_TIMED:
            if timestamp_ms is None:
                return False
            self._timed_seen.add(slot)
            see_timed(slot, table.timed[slot].head, sample, timestamp_ms, self._reading)
        self._take(old, slot, len(sample.series))
        return True

    def _set_value(self, slot: int, sample: Sample) -> None:
        table = self._table
        table.stems.set_value(slot, sample.value)
        for exemplar in sample.exemplars:
            self._reading.exemplars.append((table.stems.head(slot), exemplar, self._reading.at_ms))

    def _sight(self, number: int, head: bytes, sample: Sample, timestamp_ms: int | None) -> int:
        """See a series text for the first time; its labels may be known all the same, from another text."""
        table = self._table
        slot = table.find(head)
        if slot == COMMENT:
            return self._add(number, head, sample, timestamp_ms)
        seen = self._line_of_stem[slot] >= 0 if slot >= 0 else slot in self._timed_seen
        if timestamp_ms is None and seen:
            return DUPLICATE
        if timestamp_ms is None and slot >= 0:
            self._line_of_stem[slot] = number
            self._count_added(not self._had(table.line_of_stem[slot], sample.series))
            self._set_value(slot, sample)
        elif timestamp_ms is not None and slot <= FIRST_TIMED:
            self._count_added(not seen and not self._had_timed(slot, sample.series))
            self._timed_seen.add(slot)
            see_timed(slot, table.timed[slot].head, sample, timestamp_ms, self._reading)
        else:
            # A series may not be ordinary and timed on one page: what is timed then comes too late.
            return self._add(number, head, sample, timestamp_ms, late=seen, instead_of=slot)
        return slot

    def _had(self, old: int, series: bytes) -> bool:
        """Tell whether an old line shows a series with this text; its own line is then still to come."""
        return self._old[old][: self._table.key_bytes[old]] == series

    def _had_timed(self, slot: int, series: bytes) -> bool:
        if self._line_of_timed is None:
            slots = self._table.slots
            self._line_of_timed = {slot: old for old, slot in enumerate(slots) if slot <= FIRST_TIMED}
        return slot in self._line_of_timed and self._had(self._line_of_timed[slot], series)
