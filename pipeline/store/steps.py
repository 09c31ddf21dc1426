"""What a chart shows of a series: its value, or its rate, at evenly spaced times. Pure functions on columns.

A value is as Prometheus' instant selectors give it (documentation, "Staleness"): the newest sample of the last
`lookback_ms`, and none after a staleness marker.
"""

import bisect
import math
from array import array
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from pipeline.wire.remote_write import STALE_NAN_BITS

LOOKBACK_MS: Final = 300_000


_NICE_S: Final = (
    1,
    2,
    5,
    10,
    15,
    20,
    30,
    60,
    120,
    300,
    600,
    900,
    1200,
    1800,
    3600,
    7200,
    14_400,
    21_600,
    43_200,
    86_400,
)


def typical_step_ms(columns: Sequence[Sequence[int]]) -> int:
    """Return how far apart samples usually are: the median over the newest of each series; 15 s where none has two."""
    apart = sorted(after - before for times in columns for before, after in pairwise(times[-20:]))
    return apart[len(apart) // 2] if apart else 15_000


def nice_step_ms(least_ms: int) -> int:
    """Return the smallest step people use that is not (noticeably) below `least_ms`."""
    # Scrapes jitter by some milliseconds: 15.003 s is 15 s.
    return next((nice * 1000 for nice in _NICE_S if nice * 1000 >= least_ms * 0.95), _NICE_S[-1] * 1000)


def stale_marks(values: "array[float]") -> list[bool]:
    """Return for each value whether it is the marker that ends a series."""
    return [bits == STALE_NAN_BITS for bits in array("Q", values.tobytes())]


def at_steps(
    times: Sequence[int], values: "array[float]", steps: Sequence[int], lookback_ms: int = LOOKBACK_MS
) -> list[float | None]:
    """Return the value at each step; None where there is none."""
    stale = stale_marks(values)
    out: list[float | None] = []
    at, count = 0, len(times)
    for step in steps:
        at = bisect.bisect_right(times, step, at, count)
        out.append(values[at - 1] if at and not stale[at - 1] and times[at - 1] > step - lookback_ms else None)
    return out


def rates_at_steps(
    times: Sequence[int], values: "array[float]", steps: Sequence[int], window_ms: int
) -> list[float | None]:
    """Return a counter's increase a second over the `window_ms` before each step; None where it has under two samples.

    Resets count as starts from zero, as in PromQL's rate(); nothing is extrapolated to the window's edges.
    """
    good = [n for n, value in enumerate(values) if not math.isnan(value)]
    times = [times[n] for n in good]
    values = array("d", [values[n] for n in good])
    risen = [0.0]
    for before, after in pairwise(values):
        risen.append(risen[-1] + (after - before if after >= before else after))
    out: list[float | None] = []
    first = behind = 0
    for step in steps:
        behind = bisect.bisect_right(times, step, behind)
        first = bisect.bisect_right(times, step - window_ms, first)
        if behind - first < 2:
            out.append(None)
        else:
            out.append((risen[behind - 1] - risen[first]) * 1000 / (times[behind - 1] - times[first]))
    return out
