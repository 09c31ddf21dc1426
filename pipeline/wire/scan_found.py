"""What the identity scan finds; see `pipeline.wire.scan`."""

from enum import IntEnum
from typing import NamedTuple


class Kind(IntEnum):
    """Why a series is not simply one of the cluster's."""

    UNLABELLED = 1
    """It carries no cluster label, or an empty one, which is the same."""
    FOREIGN = 2
    """It carries another cluster's label."""
    REPEATED = 3
    """A label name stands twice in it: which of the two counts differs from reader to reader."""
    NAMELESS = 4
    """It has no metric name, or a label without a name: Prometheus drops it without saying so."""


class Exceptional(NamedTuple):
    """A series that needs a decision: where its field starts (with its tag) and ends in the request, and why.

    Of a series without the label `content` is where its fields start, and `place` where the label belongs among them,
    in the order of names; both are 0 where it cannot simply be put in.
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
