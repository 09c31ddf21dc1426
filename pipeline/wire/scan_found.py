"""What the identity scan finds; see `pipeline.wire.scan`."""

from enum import IntEnum
from typing import NamedTuple


class Kind(IntEnum):
    """Why a series, or a stream of log entries, is not simply one of the cluster's."""

    UNLABELLED = 1
    """It carries no cluster label, or an empty one, which is the same."""
    FOREIGN = 2
    """It carries another cluster's label."""
    REPEATED = 3
    """A label name stands twice in it: which of the two counts differs from reader to reader."""
    NAMELESS = 4
    """It has no metric name, or a label without a name: Prometheus drops it without saying so."""
    UNREADABLE = 5
    """A stream whose labels' text is no label set, or has a name twice."""
    GARBLED = 6
    """A stream with a line that is not UTF-8."""
    MISTIMED = 7
    """A stream with an entry that has no time, or one that no store can keep."""
    OVERSIZED = 8
    """An entry that is larger than a record of the log may be; no scan finds it."""


class Exceptional(NamedTuple):
    """A series or stream that needs a decision: where its field starts (with its tag) and ends, and why.

    Of a series without the label `content` is where its fields start, and `place` where the label belongs among them,
    in the order of names; both are 0 where it cannot simply be put in. Of a stream they are where the field of its
    labels starts and ends, if nothing but that would have to be changed.
    """

    start: int
    end: int
    kind: Kind
    content: int = 0
    place: int = 0


class Found(NamedTuple):
    """What a request holds. Timestamps are Unix milliseconds, 0 where there is neither sample nor histogram."""

    series: int
    samples: int
    histograms: int
    exemplars: int
    metadata: int
    earliest_ms: int
    latest_ms: int
    exceptions: tuple[Exceptional, ...]

    @property
    def items(self) -> int:
        """Samples, native histograms among them: what the pipeline counts."""
        return self.samples + self.histograms


class Refused(NamedTuple):
    """Series or streams of a request left out for one reason: how many, their items, the first as people write it."""

    kind: Kind
    groups: int
    items: int
    example: str


class Repaired(NamedTuple):
    """A request that is the cluster's throughout, and what had to be left out for that."""

    data: bytes
    refused: tuple[Refused, ...]


class FoundLogs(NamedTuple):
    """What a request of logs holds. Times are Unix milliseconds, rounded down, 0 where there is no entry."""

    streams: int
    entries: int
    earliest_ms: int
    latest_ms: int
    exceptions: tuple[Exceptional, ...]

    @property
    def items(self) -> int:
        """Entries: what the pipeline counts."""
        return self.entries
