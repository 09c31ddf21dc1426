"""Two agents, two gateways, two ingesters, 50,000 samples a second for a minute, and kill -9 at seeded moments.

Every sample that an exporter served is in the store, once, with its timestamp and value. One exception is the nature of
things: an agent that is killed between reading a page and writing it to disk never acknowledged it. That page, and no
other, may be missing, and it is missing whole.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.exporter import Exporter, Target
from tests.e2e.judge import Page, failed_scrapes, judge, settled
from tests.e2e.processes import Fleet
from tests.servers.kafka import Kafka
from tests.servers.prometheus import Prometheus

pytestmark = [pytest.mark.faults, pytest.mark.kafka, pytest.mark.prometheus]

LOAD_S = 60.0
KILLS = 3
# In each of two clusters: 50,000 samples/s in all.
TARGETS, SERIES, INTERVAL_S = 5, 10_000, 2
SERVED_AT_LEAST = 0.7  # of what would be served in a minute without faults: an agent that is dead asks for nothing


@dataclass
class Scene:
    """Everything that runs in a test."""

    kafka: Kafka
    prometheus: Prometheus
    fleet: Fleet
    exporters: dict[str, Exporter]
    kills_s: list[tuple[str, float]] = field(default_factory=list)

    async def kill(self, name: str) -> None:
        """kill -9 a member of the fleet."""
        self.kills_s.append((name, time.time()))
        await self.fleet.members[name].process.kill()

    async def load(self, faults: Callable[["Scene"], Awaitable[None]]) -> None:
        """Let the load run for a minute with faults, then stop serving."""
        end = time.monotonic() + LOAD_S
        await faults(self)
        await asyncio.sleep(max(0.0, end - time.monotonic()))
        for exporter in self.exporters.values():
            exporter.frozen = True

    def lost_with_an_agent(self) -> set[Page]:
        """Return the pages that an agent may have read and not yet written when it was killed."""
        pages = set()
        for name, killed_s in self.kills_s:
            if not name.startswith("agent-"):
                continue
            cluster = name.removeprefix("agent-")
            for target in self.exporters[cluster].targets.values():
                before = [at_ms for at_ms, _ in target.served if at_ms <= killed_s * 1000]
                if before and before[-1] > (killed_s - INTERVAL_S) * 1000:
                    pages.add((f"{cluster}/{target.name}", before[-1]))
        return pages


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with AsyncExitStack() as stack:
        kafka = await stack.enter_async_context(Kafka(tmp_path / "kafka"))
        prometheus = await stack.enter_async_context(
            Prometheus(
                tmp_path / "prometheus", out_of_order_time_window="1d", arguments=("--query.max-samples=200000000",)
            )
        )
        exporters = {
            cluster: await stack.enter_async_context(
                Exporter({f"t{n}": Target(f"t{n}", SERIES) for n in range(TARGETS)})
            )
            for cluster in ("c1", "c2")
        }
        fleet = await stack.enter_async_context(Fleet(tmp_path, [kafka.address], prometheus.write_url))
        for n in (0, 1):
            fleet.add_gateway(f"gateway-{n}")
        for n in (0, 1):
            fleet.add_ingester(f"ingester-{n}")
        for n, (cluster, exporter) in enumerate(exporters.items()):
            jobs: list[dict[str, Any]] = [
                {
                    "job_name": name,
                    "metrics_path": f"/{name}",
                    "static_configs": [{"targets": [f"127.0.0.1:{exporter.port}"]}],
                }
                for name in exporter.targets
            ]
            fleet.add_agent(f"agent-{cluster}", cluster, jobs, gateway=n, interval=f"{INTERVAL_S}s")
        await fleet.start()
        yield Scene(kafka, prometheus, fleet, exporters)


def moments(seed: int) -> list[float]:
    """Return the seconds between one kill and the next."""
    return [random.Random(seed * 100 + n).uniform(5.0, 15.0) for n in range(KILLS)]


async def expect_everything(scene: Scene) -> None:
    try:
        await settled(scene.prometheus)
        allowed = scene.lost_with_an_agent()
        allowed |= await failed_scrapes(scene.prometheus, scene.exporters, interval_s=INTERVAL_S)
        verdict = await judge(scene.prometheus, scene.exporters)
        excused = [sample for sample in verdict.lost if not _of_a_page(sample, verdict.lost_pages & allowed)]
        verdict.lost, verdict.lost_pages = excused, verdict.lost_pages - allowed
        assert verdict.clean, str(verdict)
        assert verdict.samples > SERVED_AT_LEAST * LOAD_S / INTERVAL_S * TARGETS * SERIES * len(scene.exporters), (
            "the load was what it claims to be"
        )
        for cluster in (await scene.fleet.status())["clusters"]:
            assert cluster["signals"]["metrics"]["sinks"]["prometheus"]["missing"] == 0, cluster
            assert cluster["signals"]["metrics"]["sinks"]["prometheus"]["rejected"] == 0, cluster
    except AssertionError as error:
        raise AssertionError(f"{error}\n{scene.fleet.tails()}") from error


def _of_a_page(sample: str, pages: set[Page]) -> bool:
    series, _, rest = sample.partition(" ")
    return (series.rpartition("/")[0], int(rest[1:].split(",")[0])) in pages


async def kill_members(scene: Scene, names: list[str], seed: int) -> None:
    """Kill one member after the other, each coming back after two seconds."""
    for wait_s, name in zip(moments(seed), names, strict=True):
        await asyncio.sleep(wait_s)
        await scene.kill(name)
        await asyncio.sleep(2.0)
        await scene.fleet.members[name].start()


async def test_killed_gateways_lose_nothing_that_they_acknowledged(scene: Scene) -> None:
    await scene.load(lambda s: kill_members(s, ["gateway-0", "gateway-1", "gateway-0"], seed=1))
    await expect_everything(scene)


async def test_killed_ingesters_lose_nothing_and_repeat_nothing_that_the_store_can_see(scene: Scene) -> None:
    await scene.load(lambda s: kill_members(s, ["ingester-0", "ingester-1", "ingester-0"], seed=2))
    await expect_everything(scene)


async def test_killed_agents_go_on_from_their_disks(scene: Scene) -> None:
    await scene.load(lambda s: kill_members(s, ["agent-c1", "agent-c2", "agent-c1"], seed=3))
    await expect_everything(scene)


async def test_a_killed_broker_loses_nothing_that_was_acknowledged(scene: Scene) -> None:
    async def kill_broker(scene: Scene) -> None:
        for wait_s in moments(seed=4):
            await asyncio.sleep(wait_s)
            await scene.kafka.kill()
            await asyncio.sleep(1.0)
            await scene.kafka.restart()

    await scene.load(kill_broker)
    await expect_everything(scene)


async def test_a_store_that_is_down_for_a_minute_gets_everything_afterwards(scene: Scene) -> None:
    async def stop_store(scene: Scene) -> None:
        await asyncio.sleep(5.0)
        await scene.prometheus.kill()
        await asyncio.sleep(LOAD_S)
        await scene.prometheus.restart()

    await scene.load(stop_store)
    await expect_everything(scene)
