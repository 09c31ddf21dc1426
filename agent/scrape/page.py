"""One target's page, scrape after scrape: what comes in is a body, what goes out are encoded requests.

The order of a scrape: `take` reads the page (or `miss` notes that there is none), `parts` encodes what is to be sent.
Both work in steps of a few milliseconds, so that the event loop stays free.
"""

from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from agent.part import Part
from agent.scrape.body import Body
from agent.scrape.exemplars import Exemplars
from agent.scrape.fast import make_table
from agent.scrape.labelling import Labelling, ScrapeError
from agent.scrape.metadata import REPEAT_MS, MetadataBook, encode_families, families_of
from agent.scrape.table import PageError, Reading, Table, TableOptions
from pipeline.wire import snappy
from pipeline.wire.errors import MalformedError
from pipeline.wire.exposition import Format, choose_format
from pipeline.wire.remote_write import STALE_NAN, pack_double

MAX_PART_SAMPLES = 10_000
MAX_PART_BYTES = 2 << 20


class Report(StrEnum):
    """The series that a scrape tells about itself, in the order in which Prometheus writes them."""

    UP = "up"
    DURATION = "scrape_duration_seconds"
    SCRAPED = "scrape_samples_scraped"
    KEPT = "scrape_samples_post_metric_relabeling"
    ADDED = "scrape_series_added"
    TIMEOUT = "scrape_timeout_seconds"
    SAMPLE_LIMIT = "scrape_sample_limit"
    BODY_BYTES = "scrape_body_size_bytes"


_EXTRA_REPORTS = (Report.TIMEOUT, Report.SAMPLE_LIMIT, Report.BODY_BYTES)


@dataclass(frozen=True, slots=True, kw_only=True)
class PageOptions:
    """What of a job decides how its pages are read and sent."""

    table: TableOptions = field(default_factory=TableOptions)
    fallback: Format | None = None
    extra_reports: bool = False
    timeout_s: float = 10.0
    max_samples: int = MAX_PART_SAMPLES
    max_bytes: int = MAX_PART_BYTES


@dataclass(slots=True)
class Taken:
    """What became of a scrape; `error` is empty when it went well. `body_bytes` is -1 for a body beyond its limit."""

    reading: Reading
    error: str = ""
    body_bytes: int = 0
    duration_s: float = 0.0


@dataclass(slots=True)
class Page:
    """What is kept of a target between scrapes."""

    labelling: Labelling
    options: PageOptions
    book: MetadataBook
    accelerated: bool | None = None
    """Whether the compiled page cache is used; None takes it where it was built."""
    table: Table = field(init=False)
    _reports: dict[Report, bytes] = field(init=False)
    _reported: bool = False
    _shown: bool = False
    """Whether the last scrape sent what its page has."""
    _exemplars: Exemplars = field(default_factory=Exemplars)
    _metadata: list[bytes] = field(default_factory=list)
    _metadata_next_ms: int = 0
    _format: Format = Format.TEXT

    def __post_init__(self) -> None:
        self.table = self._table()
        reports = [name for name in Report if self.options.extra_reports or name not in _EXTRA_REPORTS]
        self._reports = {name: self.labelling.encode_report(name) for name in reports}

    def take(self, body: bytes | Body, content_type: str, at_ms: int) -> Generator[None, None, Taken]:
        """Read a body; a page that cannot be used is a failed scrape, with its reason."""
        if isinstance(body, bytes):
            body = Body(body, len(body))
        taken = Taken(Reading(at_ms), body_bytes=body.size)
        try:
            if not body.size:
                # To Prometheus an empty answer is a scrape that went well and showed nothing.
                yield from self.table.end_all(taken.reading)
                return taken
            yield from self._read(body, choose_format(content_type, self.options.fallback), taken.reading)
            if taken.reading.metadata_changed:
                self._metadata = encode_families(families_of(self.table.metadata_lines(), self._format))
                self._metadata_next_ms = 0
        except PageError as error:
            taken.error = str(error)
        except MalformedError as error:
            taken = Taken(Reading(at_ms), str(error), taken.body_bytes)
            yield from self.table.end_all(taken.reading)
        return taken

    def _table(self) -> Table:
        options = self.options
        return make_table(self.labelling.encode, options.table, self._format, self.accelerated, options.max_samples)

    def _read(self, body: Body, page_format: Format, reading: Reading) -> Generator[None, None, None]:
        """Read a body with the table for its format; what only the other one's last page had ends."""
        before, self._format = self._format, page_format
        if (before is Format.PROTOBUF) == (page_format is Format.PROTOBUF):
            yield from self.table.read(body, page_format, reading)
            return
        last, self.table, failure = self.table, self._table(), None
        try:
            yield from self.table.read(body, page_format, reading)
        except PageError as error:
            failure = error
        ended = Reading(reading.at_ms)
        yield from last.end_all(ended)
        # The table for text writes numbers only; stores take a number's marker as a histogram's, too.
        reading.loose += [(head, STALE_NAN, at_ms) for head, _, at_ms in ended.loose if not self.table.knows(head)]
        if failure is not None:
            raise failure

    def miss(self, error: ScrapeError, at_ms: int, body_bytes: int = 0) -> Generator[None, None, Taken]:
        """Note a scrape that brought no page: every series ends."""
        taken = Taken(Reading(at_ms), str(error), body_bytes)
        yield from self.table.end_all(taken.reading)
        return taken

    def parts(self, taken: Taken) -> Generator[None, None, list[Part]]:
        """Encode what a scrape sends: its samples, markers, reports, exemplars, and metadata when it is due."""
        reading, at_ms, parts = taken.reading, taken.reading.at_ms, list[Part]()
        max_samples, max_bytes = self.options.max_samples, self.options.max_bytes
        if not taken.error and taken.body_bytes:
            for payload, items, raw_bytes in self.table.requests(at_ms, max_samples, max_bytes):
                parts.append(Part(payload, items, raw_bytes, at_ms, at_ms))
                yield
        reading.loose += self._report_samples(taken)
        self._reported, self._shown = True, not taken.error
        for part in self.table.loose_requests(reading.loose, max_samples, max_bytes):
            if part is not None:
                parts.append(part)
            yield
        exemplars = self._exemplars.new(reading.exemplars)
        yield from self._extra(exemplars, at_ms, parts)
        if not taken.error:
            yield from self._extra(self._due_metadata(at_ms), at_ms, parts)
        return parts

    def close(self, at_ms: int, successor: "Page | None" = None) -> Generator[None, None, list[Part]]:
        """End everything, the reports too: the target is gone. What a successor goes on with does not end."""
        reading, parts = Reading(at_ms), list[Part]()
        yield from self.table.end_all(reading)
        if self._reported:
            reading.loose += [(head, STALE_NAN, at_ms) for head in self._reports.values()]
        ended = [loose for loose in reading.loose if successor is None or not successor.shows(loose[0])]
        for part in self.table.loose_requests(ended, self.options.max_samples, self.options.max_bytes):
            if part is not None:
                parts.append(part)
            yield
        return parts

    def shows(self, head: bytes) -> bool:
        """Tell whether the last scrape sent an ordinary sample or a report for the series with these encoded labels."""
        return head in self._reports.values() or (self._shown and self.table.knows(head))

    def take_dropped_exemplars(self) -> int:
        """Return how many exemplars no store would have taken, and begin again at 0."""
        dropped, self._exemplars.dropped = self._exemplars.dropped, 0
        return dropped

    def _report_samples(self, taken: Taken) -> Iterator[tuple[bytes, bytes, int]]:
        reading = taken.reading
        values = {
            Report.UP: 0.0 if taken.error else 1.0,
            Report.DURATION: taken.duration_s,
            Report.SCRAPED: float(reading.scraped),
            Report.KEPT: float(reading.kept),
            Report.ADDED: float(reading.added),
            Report.TIMEOUT: self.options.timeout_s,
            Report.SAMPLE_LIMIT: float(self.options.table.sample_limit),
            Report.BODY_BYTES: float(taken.body_bytes),
        }
        for name, head in self._reports.items():
            # A page that exposes the very same series was first, and Prometheus keeps its sample.
            if taken.error or not self.table.knows(head):
                yield head, pack_double(values[name]), reading.at_ms

    def _due_metadata(self, at_ms: int) -> Iterable[bytes]:
        if at_ms < self._metadata_next_ms:
            return ()
        self._metadata_next_ms = at_ms + REPEAT_MS
        return self.book.due(self._metadata, at_ms)

    def _extra(self, entries: Iterable[bytes], at_ms: int, parts: list[Part]) -> Generator[None, None, None]:
        """Encode what carries no samples: fields of a WriteRequest."""
        held: list[bytes] = []
        held_bytes = 0
        for entry in entries:
            held.append(entry)
            held_bytes += len(entry)
            if held_bytes > self.options.max_bytes or len(held) >= self.options.max_samples:
                parts.append(_part(held, at_ms))
                held, held_bytes = [], 0
                yield
        if held:
            parts.append(_part(held, at_ms))


def _part(entries: list[bytes], at_ms: int) -> Part:
    raw = b"".join(entries)
    return Part(snappy.compress(raw), 0, len(raw), at_ms, at_ms)
