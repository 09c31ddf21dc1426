"""What a page holds, entry by entry."""

from dataclasses import dataclass
from enum import IntEnum

from pipeline.wire.remote_write import Labels


class MetricType(IntEnum):
    """A family's type; the numbers are those of prometheus.MetricMetadata.MetricType."""

    UNKNOWN = 0
    COUNTER = 1
    GAUGE = 2
    HISTOGRAM = 3
    GAUGEHISTOGRAM = 4
    SUMMARY = 5
    INFO = 6
    STATESET = 7


@dataclass(frozen=True, slots=True)
class PageExemplar:
    """An exemplar beside a sample; `value` is eight bytes, `timestamp_ms` is None where the page has none."""

    labels: Labels
    value: bytes
    timestamp_ms: int | None


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample.

    `series` are the page's bytes up to the value: the same bytes mean the same series in the next scrape. `labels` are
    sorted and hold `__name__`. A value may still be empty (under honor_labels that keeps the target's label away) and a
    name may stand twice (which Prometheus refuses only after relabelling). `value` is the double's eight bytes,
    little-endian; longer ones are a native histogram, encoded as prometheus.Histogram without its time.
    """

    series: bytes
    labels: Labels
    value: bytes
    timestamp_ms: int | None = None
    exemplars: tuple[PageExemplar, ...] = ()


@dataclass(frozen=True, slots=True)
class Head:
    """What a protobuf page says of a family, all at once."""

    family: str
    help: str
    type: MetricType
    unit: str


@dataclass(frozen=True, slots=True)
class Help:
    """`# HELP`: what a family means."""

    family: str
    text: str


@dataclass(frozen=True, slots=True)
class Type:
    """`# TYPE`: what kind of family it is."""

    family: str
    type: MetricType


@dataclass(frozen=True, slots=True)
class Unit:
    """`# UNIT`: what a family is measured in (OpenMetrics only)."""

    family: str
    unit: str


@dataclass(frozen=True, slots=True)
class Comment:
    """A comment or a blank line."""


Entry = Sample | Head | Help | Type | Unit | Comment
