"""What a page makes of the series known so far, until it is clear whether the whole page is good."""

from array import array
from itertools import compress
from typing import Final, NoReturn

from agent.scrape.dialect import Dialect
from agent.scrape.series import COMMENT, DROPPED, DUPLICATE, KnownSeries
from agent.scrape.table import Reading, Steps
from agent.scrape.timed import Timed
from pipeline.wire.exposition import Format, Sample

_SLICE_ENDS: Final = 1_000
_SLICE_STEMS: Final = 100_000
_NEVER_NEWER: Final = 2**63 - 1


class RefusedError(Exception):
    """A page cannot be used; `seen` are the series that it had shown before that was clear."""

    def __init__(self, reason: str, seen: set[int]) -> None:
        super().__init__(reason)
        self.seen = seen


def see_timed(slot: int, head: bytes, sample: Sample, timestamp_ms: int, reading: Reading) -> None:
    """Note a sample with a timestamp of its own, and its exemplars."""
    reading.see_timed(slot, sample.value, timestamp_ms)
    for exemplar in sample.exemplars:
        reading.exemplars.append((head, exemplar, timestamp_ms))


class Draft:
    """The next state of a table: committed when the page is good, taken back when it is refused."""

    def __init__(self, table: KnownSeries, page_format: Format, dialect: Dialect, reading: Reading) -> None:
        self._table = table
        self._format = page_format
        self._dialect = dialect
        self._reading = reading
        self._slots = array("i")
        self._key_bytes = array("I")
        self._line_of_stem = array("i", [-1]) * len(table.stems)
        self._timed_seen: set[int] = set()
        self._stems_before = len(table.stems)
        self._timed_before = set(table.timed)
        self._added = 0
        self._replaced: list[tuple[bytes, int]] = []

    def _add(
        self,
        number: int,
        head: bytes,
        sample: Sample,
        timestamp_ms: int | None,
        late: bool = False,
        instead_of: int = COMMENT,
    ) -> int:
        """Add a series at once; should the page be refused, it is taken out again."""
        table, timed = self._table, None
        self._count_added(True)
        if timestamp_ms is not None:
            timed = Timed(head, last_ms=_NEVER_NEWER) if late else Timed(head)
        else:
            self._reading.exemplars += ((head, exemplar, self._reading.at_ms) for exemplar in sample.exemplars)
        slot = table.add(head, sample.value, number, timed)
        if timed is None:
            self._line_of_stem.append(number)
        else:
            self._timed_seen.add(slot)
            assert timestamp_ms is not None
            see_timed(slot, head, sample, timestamp_ms, self._reading)
        if instead_of != COMMENT and not late:
            table.answer_to(head, slot)
            self._replaced.append((head, instead_of))
        return slot

    def _count_added(self, added: bool) -> None:
        # As in Prometheus nothing is new on a page that will be refused.
        self._added += added and not self._dialect.problem()

    def _refuse(self, reason: str, lines: int, scraped: int = 0) -> NoReturn:
        """Refuse the page: what was read up to line `lines` has been seen; `scraped` counts the line itself."""
        if (beyond := self._beyond_limit()) is not None:
            self._leave_out(beyond)
        kinds = self._slots[:lines]
        self._reading.scraped = sum(slot != COMMENT for slot in kinds) + scraped
        self._reading.kept = sum(slot not in (COMMENT, DROPPED) for slot in kinds)
        self._reading.added = self._added
        before = self._stems_before
        seen = {slot for slot, line in enumerate(self._line_of_stem[:before]) if line >= 0}
        self._forget_added()
        raise RefusedError(reason, seen | (self._timed_seen & self._timed_before))

    def _forget_added(self) -> None:
        table = self._table
        for slot in range(len(table.stems) - 1, self._stems_before - 1, -1):
            table.remove(slot)
        for slot in table.timed.keys() - self._timed_before:
            table.remove(slot)
        for head, slot in self._replaced:
            table.answer_to(head, slot)

    def _beyond_limit(self) -> int | None:
        """Return the first line beyond the sample limit; None where there is none."""
        limit = self._table.options.sample_limit
        if not limit:
            return None
        kept = [line for line, slot in enumerate(self._slots) if slot not in (COMMENT, DROPPED, DUPLICATE)]
        return kept[limit] if len(kept) > limit else None

    def _leave_out(self, beyond: int) -> None:
        """Take it that the lines from here on showed nothing."""
        within = set(self._slots[:beyond])
        self._added -= sum(line >= beyond for line in self._line_of_stem[self._stems_before :])
        for slot in range(self._stems_before):
            if slot not in within:
                self._line_of_stem[slot] = -1
        self._timed_seen &= within

    def _commit(self) -> Steps:
        """Let the table become what the page showed."""
        table, reading = self._table, self._reading
        reading.added = self._added
        table.slots, table.key_bytes, table.format = self._slots, self._key_bytes, self._format
        table.line_of_stem = self._line_of_stem
        # From the last one down: the stem that fills a gap is then always one that stays.
        gone: list[int] = []
        for end in range(len(table.stems), 0, -_SLICE_STEMS):
            start = max(end - _SLICE_STEMS, 0)
            gone += compress(range(end - 1, start - 1, -1), map((0).__gt__, reversed(self._line_of_stem[start:end])))
            yield
        for number, slot in enumerate(gone, 1):
            self._end(slot, bool(table.live[slot]))
            if number % _SLICE_ENDS == 0:
                yield
        yield
        for slot in table.timed.keys() - self._timed_seen:
            self._end(slot, table.timed[slot].live)
        table.samples = len(self._slots) - self._slots.count(COMMENT)
        yield
        table.dropped = self._slots.count(DROPPED)
        yield
        table.duplicates = self._slots.count(DUPLICATE)
        yield

    def _end(self, slot: int, live: bool) -> None:
        marker = self._table.marker(slot)
        head = self._table.remove(slot)
        if live:
            self._reading.end(head, marker)
