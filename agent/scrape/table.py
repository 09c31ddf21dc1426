"""What is known of a page's series between scrapes: the interface, and what both implementations share.

A table keeps the lines of the last good page and, for every series on it, its encoded labels and value. Most series
are *ordinary*: their sample's time is the scrape's. A *timed* one brings its own timestamps, as all do on a cAdvisor
page; it is sent only when it has a newer sample.
"""

from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from agent.part import Part
from agent.scrape.body import Body
from agent.scrape.labelling import ScrapeError
from agent.scrape.timed import Loose, Pending
from pipeline.wire.exposition import Format, PageExemplar
from pipeline.wire.histogram import Shape
from pipeline.wire.remote_write import STALE_NAN

MAX_AHEAD_MS = 600_000
"""Prometheus drops samples further in the future than this (scrape.go, maxAheadTime)."""

Steps = Generator[None, None, None]
"""Work in slices: between two of them the event loop may run."""


@dataclass(slots=True)
class Reading:
    """What a page held beyond its ordinary samples, and what it counts; complete after `Table.read` is exhausted.

    `loose` are samples to be sent one by one, `pending` those of timed series until the page proves good. `exemplars`
    come with the time of their sample. The counts mean what Prometheus' `scrape_samples_scraped`,
    `scrape_samples_post_metric_relabeling` and `scrape_series_added` mean; `duplicates`, `out_of_order` and
    `out_of_bounds` are samples dropped as Prometheus does.
    """

    at_ms: int
    scraped: int = 0
    kept: int = 0
    added: int = 0
    duplicates: int = 0
    out_of_order: int = 0
    out_of_bounds: int = 0
    loose: list[Loose] = field(default_factory=list)
    exemplars: list[tuple[bytes, PageExemplar, int]] = field(default_factory=list)
    pending: list[Pending] = field(default_factory=list)
    metadata_changed: bool = False

    def see_timed(self, slot: int, value: bytes, timestamp_ms: int) -> None:
        """Note a sample with a timestamp of its own; it counts once the whole page proves good."""
        if timestamp_ms > self.at_ms + MAX_AHEAD_MS:
            self.out_of_bounds += 1
        else:
            self.pending.append((slot, value, timestamp_ms))

    def restart(self) -> None:
        """Forget what a first look at the page has found."""
        self.pending.clear()
        self.exemplars.clear()
        self.out_of_bounds = 0

    def end(self, head: bytes, marker: bytes = STALE_NAN) -> None:
        """Note that a series has ended: a staleness marker at the scrape's time."""
        self.loose.append((head, marker, self.at_ms))


@dataclass(frozen=True, slots=True)
class TableOptions:
    """What of the job decides how a page is read."""

    honor_timestamps: bool = True
    track_timestamps_staleness: bool = False
    sample_limit: int = 0
    canonical_bounds: bool = False
    """Write `le` and `quantile` as Prometheus 3 does; otherwise as the page has them."""
    native_histograms: bool = False
    classic_too: bool = False
    """Also the classic histogram of what is native, too (`always_scrape_classic_histograms`)."""
    shape: Shape = field(default_factory=Shape)


class PageError(ScrapeError):
    """A page that cannot be used: where and why, and what had been counted up to there (None: nothing was read)."""

    def __init__(self, reason: str, reading: Reading | None = None) -> None:
        super().__init__(reason)
        self.reading = reading


class Table(Protocol):
    """Keeps one target's series; used by one task at a time."""

    def read(self, body: Body, page_format: Format, reading: Reading) -> Steps:
        """Take in a page; what it changes is complete when the steps are exhausted.

        Raises PageError for a page that must be refused as a whole. The series it had shown up to there stay as they
        were, all others have ended: their markers are in the reading. The next good page goes on from the last one.
        """

    def end_all(self, reading: Reading) -> Steps:
        """End every series that is live: the scrape failed, or the target is gone."""

    def requests(self, at_ms: int, max_samples: int, max_bytes: int) -> Iterator[tuple[bytes, int, int]]:
        """Encode the ordinary samples of the last page read: (snappy block, samples, bytes before compression)."""

    def loose_requests(self, samples: list[Loose], max_samples: int, max_bytes: int) -> Iterator[Part | None]:
        """Encode samples that are sent one by one; None comes between slices of the work."""

    def knows(self, head: bytes) -> bool:
        """Tell whether the last page had an ordinary series with these encoded labels."""

    def spare(self) -> bytes | bytearray:
        """Return memory that a page has come in and that is not needed any more; empty if there is none."""

    def metadata_lines(self) -> Iterator[bytes]:
        """Return the comment lines of the last good page, in order."""
