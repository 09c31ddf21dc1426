"""Judges a store by (series, timestamp, value) against the exporters' own record of what they served."""

import asyncio
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from tests.e2e.exporter import Exporter
from tests.servers.prometheus import Prometheus

Page = tuple[str, int]
"""A target's name, and the timestamp (Unix milliseconds) of a page that it served."""


@dataclass
class Verdict:
    """What is wrong with a store, in samples; `lost_pages` are pages of which no sample at all arrived."""

    samples: int = 0
    lost: list[str] = field(default_factory=list)
    invented: list[str] = field(default_factory=list)
    lost_pages: set[Page] = field(default_factory=set)

    def __str__(self) -> str:
        return (
            f"{self.samples} samples served, {len(self.lost)} lost {self.lost[:3]}, {len(self.invented)} that were"
            f" never served {self.invented[:3]}, whole pages lost: {sorted(self.lost_pages)[:5]}"
        )

    @property
    def clean(self) -> bool:
        return not self.lost and not self.invented and not self.lost_pages


async def settled(store: Prometheus, *, deadline_s: float = 180.0, quiet_s: float = 8.0) -> int:
    """Wait until the number of samples in the store has not changed for a while; return it. Fails at the deadline."""
    end, found, since = time.monotonic() + deadline_s, -1, time.monotonic()
    while time.monotonic() < end:
        answer = await store.query("sum(count_over_time(served_total[1h]))")
        now = int(next(iter(answer.values()), 0))
        if now != found:
            found, since = now, time.monotonic()
        elif time.monotonic() - since > quiet_s:
            return found
        await asyncio.sleep(0.5)
    raise AssertionError(f"samples still arrive after {deadline_s:.0f} s: {found}")


async def failed_scrapes(store: Prometheus, exporters: Mapping[str, Exporter], *, interval_s: float) -> set[Page]:
    """Return the pages whose scrape the agent itself said to have failed (`up` is 0), for want of time for example.

    The exporter sent these pages, but nobody claims to have read them: they are failed scrapes, and not lost samples.
    """
    pages = set()
    down = await store.samples("up", end_s=time.time() + 1, window_s=3600)
    for labels, samples in down.items():
        series = dict(labels)
        target = exporters[series["cluster"]].targets[series["job"]]
        failed_ms = [at_ms for at_ms, value in samples if value == 0]
        for at_ms, _ in target.served:
            if any(abs(at_ms - failed) <= interval_s * 1000 for failed in failed_ms):
                pages.add((f"{series['cluster']}/{target.name}", at_ms))
    return pages


async def judge(store: Prometheus, exporters: Mapping[str, Exporter]) -> Verdict:
    """Read every sample back and compare."""
    verdict = Verdict()
    for cluster, exporter in exporters.items():
        for target in exporter.targets.values():
            served = {(at_ms, float(value)) for at_ms, value in target.served}
            stored = await store.samples(
                f'served_total{{cluster="{cluster}",target="{target.name}"}}', end_s=time.time() + 1, window_s=3600
            )
            by_series = {dict(labels)["series"]: samples for labels, samples in stored.items()}
            everywhere: set[tuple[int, float]] = set()
            for i in range(target.series):
                samples = by_series.pop(str(i), [])
                everywhere |= set(samples)
                _compare(verdict, f"{cluster}/{target.name}/{i}", served, samples)
            verdict.samples += target.series * len(served)
            verdict.invented += [f"{cluster}/{target.name}/{name}" for name in by_series]
            lost_pages = served - everywhere
            verdict.lost_pages |= {(f"{cluster}/{target.name}", at_ms) for at_ms, _ in lost_pages}
    return verdict


def _compare(
    verdict: Verdict, series: str, served: set[tuple[int, float]], stored: Collection[tuple[int, float]]
) -> None:
    found = set(stored)
    verdict.lost += [f"{series} {sample}" for sample in served - found]
    verdict.invented += [f"{series} {sample}" for sample in found - served]
    if len(found) != len(stored):
        verdict.invented.append(f"{series}: {len(stored) - len(found)} samples twice")
