"""A million numbered entries through every way of rotating, while everything that carries them is killed with -9; and a
store that is down while the other is not.

Each is in Loki and in Elasticsearch exactly once, with its text: partial lines joined, multiline entries whole. One
exception is the nature of things: what a program writes between copytruncate's copy and its truncation can be gone
before anybody reads it. Those entries, and no others, may be missing.
"""

import asyncio
import os
import random
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from tests.e2e.processes import Fleet, until
from tests.faults.rotation import Program, Programs, numbers, text_of
from tests.servers.elasticsearch import Elasticsearch
from tests.servers.kafka import Kafka
from tests.servers.loki import Loki

pytestmark = [pytest.mark.faults, pytest.mark.kafka, pytest.mark.loki, pytest.mark.elasticsearch]

ENTRIES: Final = int(os.environ.get("PRONOIA_FAULT_ENTRIES", "1000000"))
PER_S: Final = 12_000
DOWN_S: Final = int(os.environ.get("PRONOIA_FAULT_DOWN_S", "60"))
DOWN_PER_S: Final = 2_000
SEED: Final = 5
NUMBER: Final = re.compile(r"n=([a-z]+)-(\d+) ")
DRAIN_S: Final = 600.0
STILL_S: Final = 40.0
"""No sink is quiet for so long while something is left for it: it tries again after half a minute at most."""
PATIENT: Final = {"indices.breaker.total.use_real_memory": "false"}
"""Garbage that is not collected yet keeps nobody from reading everything."""
UNLIMITED: Final = {"ingestion_rate_mb": 1000, "ingestion_burst_size_mb": 1000, "per_stream_rate_limit": "1GB"}
HOUR_NS: Final = 3600 * 10**9


@dataclass
class Scene:
    """Everything that runs in a test."""

    kafka: Kafka
    loki: Loki
    elasticsearch: Elasticsearch
    fleet: Fleet
    programs: list[Program]

    async def kill(self, name: str, *, down_s: float = 1.0) -> None:
        """kill -9, and start again a moment later."""
        if name == "broker":
            await self.kafka.kill()
            await asyncio.sleep(down_s)
            await self.kafka.restart()
            return
        member = self.fleet.members[name]
        await member.process.kill()
        await asyncio.sleep(down_s)
        await member.start()


def jobs(folder: Path) -> list[dict[str, Any]]:
    """Return a job for each way of rotating."""
    stages = {
        "rename": [{"cri": {}}],
        "copytruncate": [],
        "recreate": [{"multiline": {"firstline": r"^\[", "max_wait_time": "2s"}}],
    }
    return [
        {
            "job_name": name,
            "static_configs": [
                {"targets": ["localhost"], "labels": {"program": name, "__path__": str(folder / f"{name}.log")}}
            ],
            "pipeline_stages": pipeline,
        }
        for name, pipeline in stages.items()
    ]


@pytest.fixture
async def scene(tmp_path: Path, entries: int) -> AsyncIterator[Scene]:
    logs = tmp_path / "logs"
    logs.mkdir()
    programs = [
        Program(name, logs / f"{name}.log", entries // 3 + (entries % 3 if name == "rename" else 0), entries // 40)
        for name in ("rename", "copytruncate", "recreate")
    ]
    async with AsyncExitStack() as stack:
        kafka = await stack.enter_async_context(Kafka(tmp_path / "kafka"))
        loki = await stack.enter_async_context(Loki(tmp_path / "loki", limits=UNLIMITED))
        elasticsearch = await stack.enter_async_context(Elasticsearch(settings=PATIENT))
        fleet = await stack.enter_async_context(Fleet(tmp_path, [kafka.address]))
        fleet.add_gateway("gateway")
        fleet.add_ingester(
            "ingester",
            sinks=[
                {"name": "loki", "loki": {"url": loki.push_url}},
                {"name": "elastic", "elasticsearch": {"hosts": [elasticsearch.url], "replicas": 0}},
            ],
        )
        fleet.add_agent("agent", "c1", [], gateway=0, logs={"scrape_configs": jobs(logs)})
        await fleet.start()
        yield Scene(kafka, loki, elasticsearch, fleet, programs)


@pytest.mark.parametrize("entries", [ENTRIES])
async def test_every_entry_is_in_both_stores_once(scene: Scene) -> None:
    chosen = random.Random(SEED)
    with Programs(scene.programs, PER_S, SEED) as programs:
        victims = ["agent", "gateway", "broker", "ingester"] * 2
        chosen.shuffle(victims)
        shares = sorted(chosen.uniform(0.05, 0.75) for _ in victims)
        for share, victim in zip(shares, victims, strict=True):
            await _written(programs, share)
            await scene.kill(victim, down_s=chosen.uniform(0.2, 2.0))
        await _written(programs, 0.8)
        await _stop_across_two_rotations(scene, programs)
        await _written(programs, 1.0)
    await _expect_everything(scene)


@pytest.mark.parametrize("entries", [DOWN_S * DOWN_PER_S])
async def test_a_loki_that_is_down_holds_nothing_back_but_its_own(scene: Scene) -> None:
    with Programs(scene.programs, DOWN_PER_S, SEED) as programs:
        await _written(programs, 0.1)
        await scene.loki.kill()
        await _written(programs, 0.8)
        has = await scene.elasticsearch.count("pronoia-logs-*")
        assert has > 0.5 * programs.written, "Elasticsearch goes on receiving"
        await _written(programs, 1.0)
        await scene.loki.restart()
    await _expect_everything(scene)


async def _written(programs: Programs, share: float) -> None:
    async def enough() -> bool:
        return programs.done or programs.written >= share * programs.entries

    await until(enough, f"{share:.0%} of the entries are written", deadline_s=900.0)


async def _stop_across_two_rotations(scene: Scene, programs: Programs) -> None:
    """Stop the agent, rotate twice while programs write on, and let one rotation compress what it has rotated."""
    agent = scene.fleet.members["agent"]
    await agent.process.kill()
    programs.rotate_all(compress=True)
    before = programs.written / programs.entries
    await _written(programs, min(1.0, before + 0.02))
    programs.rotate_all(compress=False)
    await _written(programs, min(1.0, before + 0.04))
    await agent.start()


async def _expect_everything(scene: Scene) -> None:
    try:
        await _everything_is_delivered(scene)
        lost_of_loki = _judge("Loki", await _texts_of_loki(scene.loki), scene.programs)
        texts = await _texts_of_elasticsearch(scene.elasticsearch)
        assert lost_of_loki == _judge("Elasticsearch", texts, scene.programs)
        exposed = sum(len(program.exposed) for program in scene.programs)
        print(f"copytruncate's race: {exposed} entries exposed, {len(lost_of_loki)} of them lost")
    except AssertionError as error:
        raise AssertionError(f"{error}\n{scene.fleet.tails()}") from error


async def _everything_is_delivered(scene: Scene) -> None:
    """Wait until both sinks stand still, with what was read from files among what they have delivered."""
    still_s, seen = time.monotonic(), ""

    async def stands_still() -> bool:
        nonlocal still_s, seen
        now = str(await _counts(scene))
        if now != seen:
            still_s, seen = time.monotonic(), now
        return time.monotonic() - still_s > STILL_S

    await until(stands_still, "both sinks stand still", deadline_s=DRAIN_S)
    for name, sink in (await _counts(scene)).items():
        assert sink["missing"] == sink["rejected"] == 0, (name, sink)


async def _counts(scene: Scene) -> dict[str, dict[str, Any]]:
    """Return what the ledger says of each sink's logs, lag and rate aside."""
    clusters = (await scene.fleet.status())["clusters"]
    sinks = clusters[0]["signals"].get("logs", {}).get("sinks", {}) if clusters else {}
    return {
        name: {key: value for key, value in sink.items() if key not in ("lag_s", "rate")}
        for name, sink in sinks.items()
    }


async def _texts_of_loki(loki: Loki) -> Iterable[str]:
    """Return every entry as queries of logs show them; what they hide of entries stored twice, metric queries count."""
    end_ns = time.time_ns()
    found = await loki.entries('{cluster="c1"}', start_ns=end_ns - HOUR_NS, end_ns=end_ns)
    assert await loki.count('{cluster="c1"}', end_ns=end_ns, window_s=3600) == len(found)
    return [entry.line for entry in found]


async def _texts_of_elasticsearch(elasticsearch: Elasticsearch) -> Iterable[str]:
    return [found["_source"]["message"] async for found in elasticsearch.everything("pronoia-logs-*")]


def _judge(store: str, texts: Iterable[str], programs: list[Program]) -> set[tuple[str, int]]:
    """Return the entries that are lost and may be; fails for any other, for doubled ones and for changed ones."""
    seen: Counter[tuple[str, int]] = Counter()
    changed: list[str] = []
    for text in texts:
        found = [(program, int(number)) for program, number in NUMBER.findall(text)]
        if len(found) != 1 or text != text_of(*found[0]):
            changed.append(text[:300])
        seen.update(found)
    doubled = [entry for entry, times in seen.items() if times > 1]
    missing = {entry for program in programs for entry in numbers(program) if entry not in seen}
    excused = {(program.name, number) for program in programs for number in program.exposed}
    lost = missing - excused
    assert not (changed or doubled or lost), (
        f"{store}: {len(seen)} entries of {sum(program.written for program in programs)};"
        f" {len(lost)} lost {_some(lost)}, {len(doubled)} doubled {_some(doubled)},"
        f" {len(changed)} changed {changed[:3]}"
    )
    return missing


def _some(entries: Iterable[tuple[str, int]]) -> str:
    return str(sorted(entries)[:5])
