"""How many lines each job has read and dropped since the start, taken from its metrics."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client import Counter

from pipeline.telemetry import LogInputMetrics


@dataclass(slots=True)
class Tally:
    """One job's counts since the start; `dropped` lines by the reason."""

    lines: int = 0
    bytes: int = 0
    cut: int = 0
    dropped: dict[str, int] = field(default_factory=dict)


def tallies(metrics: LogInputMetrics) -> Mapping[str, Tally]:
    """Return the counts by the jobs' names."""
    found: defaultdict[str, Tally] = defaultdict(Tally)
    for labels, value in _counted(metrics.read_lines):
        found[labels["job"]].lines = value
    for labels, value in _counted(metrics.read_bytes):
        found[labels["job"]].bytes = value
    for labels, value in _counted(metrics.cut_lines):
        found[labels["job"]].cut = value
    for labels, value in _counted(metrics.dropped_lines):
        found[labels["job"]].dropped[labels["reason"]] = value
    return found


def _counted(counter: Counter) -> Iterator[tuple[dict[str, str], int]]:
    for metric in counter.collect():
        yield from ((sample.labels, int(sample.value)) for sample in metric.samples if sample.name.endswith("_total"))
