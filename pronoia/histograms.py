"""Native histograms for people and programs to read, as Prometheus' API and its text show them.

Source: Prometheus documentation, "HTTP API", native histograms: a bucket is a rule, its bounds, and its count.
"""

import math
import sys
from collections.abc import Iterator
from typing import Any, Final

from pipeline.wire.exposition.numbers import format_openmetrics
from pipeline.wire.histogram import CUSTOM_SCHEMA, GAUGE_HINT, Histogram
from pipeline.wire.remote_write import unpack_double

_OPEN_LEFT, _OPEN_RIGHT, _CLOSED = 0, 1, 3
_BRACKETS: Final = {_OPEN_LEFT: ("(", "]"), _OPEN_RIGHT: ("[", ")"), _CLOSED: ("[", "]")}


def format_value(number: float) -> str:
    """Write a value as Prometheus does: the shortest text that reads as the same double, NaN, +Inf and -Inf."""
    if number == 0:
        return "-0" if math.copysign(1.0, number) < 0 else "0"
    return format_openmetrics(number).removesuffix(".0")


def as_json(histogram: Histogram) -> dict[str, Any]:
    """Return what a histogram holds; numbers as text, as everywhere where a double is shown."""
    return {
        "count": format_value(histogram.count),
        "sum": format_value(unpack_double(histogram.sum)[0]),
        "schema": histogram.schema,
        "zero_threshold": format_value(histogram.zero_threshold),
        "gauge": histogram.reset_hint == GAUGE_HINT,
        "buckets": [
            [rule, format_value(lower), format_value(upper), format_value(count)]
            for rule, lower, upper, count in buckets(histogram)
        ],
    }


def as_text(histogram: dict[str, Any]) -> str:
    """Write what `as_json` returns as Prometheus does: `{count:3, sum:4.2, (1,2]:3}`."""
    shown = [f"count:{histogram['count']}", f"sum:{histogram['sum']}"]
    for rule, lower, upper, count in histogram["buckets"]:
        left, right = _BRACKETS[rule]
        shown.append(f"{left}{lower},{upper}{right}:{count}")
    return "{" + ", ".join(shown) + "}"


def buckets(histogram: Histogram) -> Iterator[tuple[int, float, float, float]]:
    """Yield the buckets that hold something, from the lowest up: rule, bounds, count."""
    for index, count in reversed(histogram.negative):
        yield _OPEN_RIGHT, -_bound(histogram, index), -_bound(histogram, index - 1), count
    if histogram.zero_count:
        yield _CLOSED, -histogram.zero_threshold, histogram.zero_threshold, histogram.zero_count
    for index, count in histogram.positive:
        yield _OPEN_LEFT, _bound(histogram, index - 1), _bound(histogram, index), count


def _bound(histogram: Histogram, index: int) -> float:
    """Return the upper bound of a bucket (prometheus/model/histogram, getBound)."""
    schema = histogram.schema
    if schema == CUSTOM_SCHEMA:
        if index < 0:
            return -math.inf
        return histogram.custom[index] if index < len(histogram.custom) else math.inf
    power = math.ldexp(index, -schema)
    whole = math.floor(power)
    # The last bucket ends with the largest double; only what lies beyond is infinite.
    if whole == sys.float_info.max_exp:
        return sys.float_info.max
    return math.inf if whole > sys.float_info.max_exp else math.ldexp(2 ** (power - whole), whole)
