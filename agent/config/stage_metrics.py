"""`metrics` of `pipeline_stages`: metrics that are made of lines.

Keys, defaults and the words of errors are promtail's (clients/pkg/logentry/metric).
"""

import re
from itertools import pairwise
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from agent.config.stage_kinds import duration
from pipeline.config import Section

_NAME: Final = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*", re.ASCII)
_GAUGE_ACTIONS: Final = ("set", "inc", "dec", "add", "sub")


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


Lower = BeforeValidator(_lower)


class CounterActions(Section):
    """`config` of a counter."""

    action: Annotated[str, Lower] = ""
    """`inc` counts lines, `add` adds their values."""
    value: str | None = None
    """Only values with this text count."""
    match_all: bool = False
    """Count lines without the value, too."""
    count_entry_bytes: bool = False
    """Add the line's bytes."""

    @model_validator(mode="after")
    def _consistent(self) -> "CounterActions":
        if not self.action:
            raise ValueError("counter action must be defined as either `inc` or `add`")
        if self.action not in ("inc", "add"):
            raise ValueError(f"action {self.action} is not valid, action must be either `inc` or `add`")
        if self.match_all and self.value is not None:
            raise ValueError("`match_all: true` cannot be combined with `value`, please remove `match_all` or `value`")
        if self.count_entry_bytes and not self.match_all:
            raise ValueError("`count_entry_bytes: true` can only be set with `match_all: true`")
        if self.count_entry_bytes and self.action != "add":
            raise ValueError("`count_entry_bytes: true` can only be used with `action: add`")
        return self


class GaugeActions(Section):
    """`config` of a gauge."""

    action: Annotated[str, Lower] = ""
    """`set`, `add` and `sub` take the value, `inc` and `dec` count lines."""
    value: str | None = None
    """Only values with this text count."""

    @model_validator(mode="after")
    def _known(self) -> "GaugeActions":
        if not self.action:
            raise ValueError("gauge action must be defined as `set`, `inc`, `dec`, `add`, or `sub`")
        if self.action not in _GAUGE_ACTIONS:
            raise ValueError(f"action {self.action} is not valid, action must be `set`, `inc`, `dec`, `add`, or `sub`")
        return self


def _ascending(buckets: tuple[float, ...]) -> tuple[float, ...]:
    if any(below >= above for below, above in pairwise(buckets)):
        raise ValueError("histogram buckets must be in increasing order")
    return buckets


class HistogramActions(Section):
    """`config` of a histogram."""

    value: str | None = None
    """Only values with this text count."""
    buckets: Annotated[tuple[float, ...], AfterValidator(_ascending)] = ()
    """Upper bounds; Prometheus' usual ones where left out."""


def _idle(value: int) -> int:
    if value < 10**9:
        raise ValueError("max_idle_duration less than 1s not allowed")
    return value


class _Metric(Section):
    description: str = ""
    """The metric's help."""
    source: str | None = None
    """The extracted value; left out, the metric's name."""
    prefix: str = ""
    """What stands before its name; `promtail_custom_` where left out."""
    max_idle_duration: Annotated[
        int,
        AfterValidator(_idle),
        duration("max_idle_duration could not be parsed as a time.Duration: '{error}'"),
    ] = 300 * 10**9
    """A series that did not change for so long goes; `5m` where left out."""


class CounterMetric(_Metric):
    """A counter of a `metrics` stage."""

    type: Literal["counter"]
    """What kind of metric it is."""
    config: CounterActions = Field(default_factory=CounterActions)
    """What values do to it."""


class GaugeMetric(_Metric):
    """A gauge of a `metrics` stage."""

    type: Literal["gauge"]
    """What kind of metric it is."""
    config: GaugeActions = Field(default_factory=GaugeActions)
    """What values do to it."""


class HistogramMetric(_Metric):
    """A histogram of a `metrics` stage."""

    type: Literal["histogram"]
    """What kind of metric it is."""
    config: HistogramActions = Field(default_factory=HistogramActions)
    """What values do to it."""


def _with_kind(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    kind = _lower(value.get("type"))
    if kind not in ("counter", "gauge", "histogram"):
        raise ValueError(
            f"invalid metric type '{kind or ''}', metric type must be one of 'counter', 'gauge', or 'histogram'"
        )
    return {**value, "type": kind, "config": value.get("config") or {}}


MetricConfig = Annotated[
    CounterMetric | GaugeMetric | HistogramMetric, Field(discriminator="type"), BeforeValidator(_with_kind)
]


def _metric_names(metrics: dict[str, MetricConfig]) -> dict[str, MetricConfig]:
    if not metrics:
        raise ValueError("empty metric stage configuration")
    for name, metric in metrics.items():
        full = (metric.prefix or "promtail_custom_") + name
        if not _NAME.fullmatch(full):
            raise ValueError(f'"{full}" is not a valid metric name')
    return metrics


Metrics = Annotated[dict[str, MetricConfig], AfterValidator(_metric_names)]
