"""How the machines are whose node_exporter's metrics (or `pronoia up`'s own, which are named alike) lie in the store.

For the overview: some lines a machine, over the last quarter of an hour. Where there are many machines, the first few.
"""

import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pipeline.store import Store
from pipeline.store.selector import NAME, Matcher, Operator

MOST: Final = 6
_SPAN_MS: Final = 900_000
_STEP_MS: Final = 15_000
_WINDOW_MS: Final = 61_000

Labels = tuple[tuple[str, str], ...]
Line = list[float | None]


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads sums over the series of one machine."""

    store: Store
    machine: tuple[Matcher, ...]
    end_ms: int

    async def lines(self, name: str, *extra: Matcher, rate: bool = False) -> dict[Labels, Line]:
        """Return each series of a metric at the steps, by its labels but the name."""
        wanted = (Matcher(NAME, Operator.EQUAL, name), *self.machine, *extra)
        window_ms = _WINDOW_MS if rate else None
        _, found = await self.store.query_range(
            wanted, self.end_ms - _SPAN_MS, self.end_ms, _STEP_MS, rate_window_ms=window_ms, lookback_ms=_WINDOW_MS
        )
        return {tuple(label for label in points.labels if label[0] != NAME): points.values for points in found}

    async def total(self, name: str, *extra: Matcher, rate: bool = False) -> Line:
        """Return the sum of a metric's series; None where none has a value."""
        return _across(sum, (await self.lines(name, *extra, rate=rate)).values())


async def machines(store: Store, now_s: float) -> dict[str, Any]:
    """Return how many machines there are, and the lines of the first ones."""
    found = await store.latest([Matcher(NAME, Operator.EQUAL, "node_load1")])
    identities = sorted(
        {tuple((n, v) for n, v in each.labels if n in ("cluster", "instance", "job")) for each in found}
    )
    end_ms = int(now_s * 1000) // _STEP_MS * _STEP_MS
    return {
        "total": len(identities),
        "machines": [await _machine(store, identity, end_ms) for identity in identities[:MOST]],
    }


async def _machine(store: Store, identity: Sequence[tuple[str, str]], end_ms: int) -> dict[str, Any]:
    read = _Reader(store, tuple(Matcher(n, Operator.EQUAL, v) for n, v in identity), end_ms)
    not_loopback = Matcher("device", Operator.MATCHES_NOT, "lo|lo0")
    idle = await read.lines("node_cpu_seconds_total", Matcher("mode", Operator.EQUAL, "idle"), rate=True)
    sizes = await read.lines("node_filesystem_size_bytes")
    left = await read.lines("node_filesystem_avail_bytes")
    full = [_both(_used, size, left[labels]) for labels, size in sizes.items() if labels in left]
    return {
        "labels": dict(identity),
        "cpus": len(idle),
        "cpu": [None if value is None else max(0.0, 1 - value) for value in _across(_mean, idle.values())],
        "memory": await _memory(read),
        "received": await read.total("node_network_receive_bytes_total", not_loopback, rate=True),
        "sent": await read.total("node_network_transmit_bytes_total", not_loopback, rate=True),
        "read": await read.total("node_disk_read_bytes_total", rate=True),
        "written": await read.total("node_disk_written_bytes_total", rate=True),
        "full": _across(max, full),
    }


async def _memory(read: _Reader) -> Line:
    """Return the share of memory in use: Linux says what is available, macOS what is free and what is inactive."""
    total = await read.total("node_memory_MemTotal_bytes")
    left = await read.total("node_memory_MemAvailable_bytes")
    if not total:
        total = await read.total("node_memory_total_bytes")
        free = await read.total("node_memory_free_bytes")
        left = _both(operator.add, free, await read.total("node_memory_inactive_bytes"))
    return _both(_used, total, left)


def _across(combine: Callable[[list[float]], float], lines: Iterable[Line]) -> Line:
    """Combine lines into one, step by step, from those that have a value there."""
    columns = ([value for value in values if value is not None] for values in zip(*lines, strict=True))
    return [combine(column) if column else None for column in columns]


def _both(combine: Callable[[float, float], float | None], first: Line, second: Line) -> Line:
    pairs = zip(first, second, strict=False)
    return [None if a is None or b is None else combine(a, b) for a, b in pairs]


def _used(whole: float, left: float) -> float | None:
    return 1 - left / whole if whole else None


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
