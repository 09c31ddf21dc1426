"""`metrics`: counters, gauges and histograms that are made of lines.

Source: promtail, stages/metrics.go and clients/pkg/logentry/metric. A metric has a series for each label set; a series
that did not change for `max_idle_duration` is told once more and then goes.
"""

import weakref
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from agent.config.stage_metrics import CounterActions, CounterMetric, HistogramMetric, MetricConfig
from agent.logs.entry import Entry
from agent.stages.step import Run, Step, Then
from agent.stages.values import as_float, as_text

PREFIX: Final = "promtail_custom_"
_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_MAX_SERIES: Final = 10_000
"""Series of one metric; a label set beyond them is not counted, and the metric's help says nothing else."""

Key = tuple[tuple[str, str], ...]


@dataclass(slots=True)
class _Series:
    value: float = 0.0
    buckets: list[int] = field(default_factory=list)
    count: int = 0
    changed_ns: int = 0


class Vector:
    """One metric of one job: its series."""

    def __init__(self, prefix: str, name: str, config: MetricConfig, clock_ns: Callable[[], int]) -> None:
        self.name, self.kind, self.help = prefix + name, config.type, config.description
        self._idle_ns = config.max_idle_duration
        self._bounds = (config.config.buckets or _BUCKETS) if isinstance(config, HistogramMetric) else ()
        self._series: dict[Key, _Series] = {}
        self._clock_ns = clock_ns

    def of(self, labels: Mapping[str, str], now_ns: int) -> _Series | None:
        """Return the series of a label set, about to change; None where there is no room for one more."""
        key = tuple(sorted(pair for pair in labels.items() if not pair[0].startswith("__")))
        series = self._series.get(key)
        if series is None:
            if len(self._series) >= _MAX_SERIES:
                return None
            series = self._series[key] = _Series(buckets=[0] * len(self._bounds))
        series.changed_ns = now_ns
        return series

    def observe(self, labels: Mapping[str, str], value: float, now_ns: int) -> None:
        """Count a value in a histogram."""
        series = self.of(labels, now_ns)
        if series is not None:
            series.value += value
            series.count += 1
            at = bisect_left(self._bounds, value)
            if at < len(self._bounds):
                series.buckets[at] += 1

    def tell(self, metric: Metric) -> None:
        """Add all series to what is exposed, then forget those that did not change for long."""
        now_ns = self._clock_ns()
        for key, series in list(self._series.items()):
            labels = dict(key)
            if self.kind == "histogram":
                total = 0
                for bound, count in zip(self._bounds, series.buckets, strict=True):
                    total += count
                    metric.add_sample(f"{self.name}_bucket", {**labels, "le": repr(float(bound))}, total)
                metric.add_sample(f"{self.name}_bucket", {**labels, "le": "+Inf"}, series.count)
                metric.add_sample(f"{self.name}_sum", labels, series.value)
                metric.add_sample(f"{self.name}_count", labels, series.count)
            else:
                metric.add_sample(self.name, labels, series.value)
            if now_ns - series.changed_ns >= self._idle_ns:
                del self._series[key]


class CustomMetrics(Collector):
    """All metrics that stages make, as one registry exposes them; a job's are gone with its stages."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register it; once a registry."""
        self._vectors: weakref.WeakSet[Vector] = weakref.WeakSet()
        registry.register(self)

    def add(self, vector: Vector) -> Vector:
        """Expose a metric for as long as somebody holds it."""
        self._vectors.add(vector)
        return vector

    def describe(self) -> Iterable[Metric]:
        """Return nothing: which metrics there are is known as lines come."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Yield a metric a name; where two jobs have one of a name, its series are one metric's."""
        metrics: dict[str, Metric] = {}
        for vector in sorted(self._vectors, key=lambda one: one.name):
            # A counter's name is told as it is configured, with or without _total.
            kind = "unknown" if vector.kind == "counter" and not vector.name.endswith("_total") else vector.kind
            name = vector.name.removesuffix("_total") if kind == "counter" else vector.name
            metric = metrics.setdefault(vector.name, Metric(name, vector.help, kind))
            vector.tell(metric)
        return [_merged(metric) for metric in metrics.values() if metric.samples]


def _merged(metric: Metric) -> Metric:
    """Make one of what several jobs counted under the same labels: a scrape may not have a series twice."""
    values: dict[tuple[str, Key], float] = {}
    for sample in metric.samples:
        key = sample.name, tuple(sample.labels.items())
        values[key] = sample.value if metric.type == "gauge" else values.get(key, 0.0) + sample.value
    merged = Metric(metric.name, metric.documentation, metric.type)
    for (name, labels), value in values.items():
        merged.add_sample(name, dict(labels), value)
    return merged


def metrics_step(
    configs: Mapping[str, MetricConfig], expose: Callable[[Vector], Vector], clock_ns: Callable[[], int]
) -> Step:
    """Return the `metrics` stage; the sources of a job share its metrics."""
    notes = [
        _note(config, config.source or name, expose(Vector(config.prefix or PREFIX, name, config, clock_ns)))
        for name, config in configs.items()
    ]

    def bind(then: Then, run: Run) -> Then:
        def run_metrics(entry: Entry) -> None:
            for note in notes:
                note(entry, run.now_ns)
            then(entry)

        return run_metrics

    return Step(bind)


def _note(config: MetricConfig, source: str, vector: Vector) -> Callable[[Entry, int], None]:
    actions = config.config
    action = "observe" if isinstance(config, HistogramMetric) else config.config.action
    matches_all = isinstance(actions, CounterActions) and actions.match_all
    counts_bytes = isinstance(actions, CounterActions) and actions.count_entry_bytes
    is_counter = isinstance(config, CounterMetric)

    def note(entry: Entry, now_ns: int) -> None:
        value: Any = None
        if matches_all:
            value = len(entry.line.encode("utf-8", "replace")) if counts_bytes else None
        elif source in entry.extracted:
            value = entry.extracted[source]
        else:
            return
        if actions.value is not None and as_text(value) != actions.value:
            return
        number = 1.0 if action in ("inc", "dec") else as_float(value)
        if number is None or (is_counter and number < 0):
            return
        if action == "observe":
            vector.observe(entry.labels, number, now_ns)
            return
        series = vector.of(entry.labels, now_ns)
        if series is None:
            return
        if action == "set":
            series.value = number
        else:
            series.value += -number if action in ("dec", "sub") else number

    return note
