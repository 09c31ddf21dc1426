"""From the log to a real Loki: every entry once, refusals in the dead letters, and nobody waits for another."""

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ingester.config import IngesterConfig
from ingester.service import Ingester
from ingester.sinks.loki.active import ActiveStreams
from pipeline.log.interface import Log, Partition
from pipeline.wire.envelope import Envelope
from tests.ingester.parts import append, ingesting, letters, opened_log
from tests.pipeline.send.loki.pushes import HOUR, piece, stream
from tests.servers.loki import Loki

LOGS = Partition("pronoia.logs", 0)
pytestmark = pytest.mark.loki


@dataclass
class LogLane:
    """Numbers batches of logs as an agent's buffer does."""

    cluster: str = "c1"
    tenant: str = ""
    lane: int = 0
    sequence: int = 0
    items: int = 0

    def batch(self, *streams: bytes) -> tuple[Envelope, bytes]:
        made = piece(*streams, cluster=self.cluster, tenant=self.tenant)
        assert made.envelope is not None
        given = {"lane": self.lane, "sequence": self.sequence, "lane_items": self.items}
        envelope = Envelope(**{name: getattr(made.envelope, name) for name in made.envelope.__slots__} | given)
        self.sequence += 1
        self.items += made.items
        return envelope, made.payload

    def lines(self, count: int, app: str = "app", **labels: str) -> tuple[Envelope, bytes]:
        now_ns, first = time.time_ns(), self.items
        numbered = ((now_ns + n, f"{self.cluster} {first + n:05d}") for n in range(count))
        return self.batch(stream(app, numbered, cluster=self.cluster, **labels))


def config_of(folder: Path, *sinks: Mapping[str, Any]) -> IngesterConfig:
    return IngesterConfig.model_validate(
        {
            "log": {"sqlite": {"path": str(folder / "log"), "partitions": 1}},
            "admin": "127.0.0.1:0",
            "settle_interval": "50ms",
            "sinks": sinks,
        }
    )


def sink(url: str, name: str = "loki", tenant: str = "", **loki: Any) -> dict[str, Any]:
    backoff = {"min_period": "10ms", "max_period": "200ms"}
    return {"name": name, "tenant": tenant, "loki": {"url": url, "backoff_config": backoff, **loki}}


async def counts_of(ingester: Ingester, sink: str = "loki", cluster: str = "c1") -> dict[str, int]:
    for found in (await ingester.status())["clusters"]:
        if found["name"] == cluster and sink in found["signals"]["logs"]["sinks"]:
            counts: dict[str, int] = found["signals"]["logs"]["sinks"][sink]
            return counts
    return {}


async def settled(ingester: Ingester, items: int, sink: str = "loki", cluster: str = "c1") -> dict[str, int]:
    """Wait until so many items of a cluster are delivered or rejected."""
    async with asyncio.timeout(60):
        while True:
            counts = await counts_of(ingester, sink, cluster)
            if counts and counts["delivered"] + counts["rejected"] >= items:
                return counts
            await asyncio.sleep(0.02)


async def lines(loki: Loki, tenant: str = "") -> list[str]:
    now_ns = time.time_ns()
    found = await loki.entries('{app=~".+"}', start_ns=now_ns - HOUR, end_ns=now_ns + HOUR, tenant=tenant)
    return sorted(entry.line for entry in found)


async def arrived(loki: Loki, count: int, tenant: str = "") -> list[str]:
    """Wait until a Loki has so many lines of a tenant."""
    async with asyncio.timeout(60):
        while True:
            if len(found := await lines(loki, tenant)) >= count:
                return found
            await asyncio.sleep(0.05)


async def log_of(log: Log, config: IngesterConfig) -> None:
    await log.ensure_topic(config.log.topic("logs"))


async def test_loki_that_is_down_holds_no_other_sink_and_gets_everything_once(tmp_path: Path) -> None:
    lane = LogLane()
    async with Loki(tmp_path / "one") as one, Loki(tmp_path / "two") as two:
        config = config_of(tmp_path, sink(one.push_url, "one"), sink(two.push_url, "two"))
        async with opened_log(config) as log:
            await log_of(log, config)
            async with ingesting(config, log) as ingester:
                await append(log, LOGS, *(lane.lines(100) for _ in range(5)))
                await settled(ingester, 500, "one")
                await one.kill()
                await append(log, LOGS, *(lane.lines(100) for _ in range(20)))
                await settled(ingester, 2500, "two")
                assert (await counts_of(ingester, "one"))["delivered"] == 500
                await one.restart()
                await settled(ingester, 2500, "one")
        expected = [f"c1 {n:05d}" for n in range(2500)]
        for loki in (one, two):
            assert await lines(loki) == expected
            assert await loki.count('{app="app"}', end_ns=time.time_ns() + HOUR, window_s=7200) == 2500


async def test_a_tenant_that_loki_throttles_holds_only_its_own_lines_back(tmp_path: Path) -> None:
    slow, fast = LogLane("slow"), LogLane("fast", lane=1)
    tenants = {"t-slow": {"ingestion_rate_mb": 0.0001, "ingestion_burst_size_mb": 0.0001}, "t-fast": {}}
    async with Loki(tmp_path / "loki", tenants=tenants) as loki:
        config = config_of(tmp_path, sink(loki.push_url, tenant="t-{cluster}"))
        async with opened_log(config) as log:
            await log_of(log, config)
            batches = [lane.lines(20) for _ in range(30) for lane in (slow, fast)]
            async with ingesting(config, log) as ingester:
                await append(log, LOGS, *batches)
                fast_lines = await arrived(loki, 600, "t-fast")
                [group] = (await ingester.status())["sinks"]
                assert [(told["cluster"], told["tenant"]) for told in group["retrying"]] == [("slow", "t-slow")]
                assert "ingestion rate limit exceeded" in group["retrying"][0]["reason"]
                assert fast_lines == [f"fast {n:05d}" for n in range(600)]
                slow_lines = await lines(loki, "t-slow")
                assert len(slow_lines) < 600
                assert slow_lines == [f"slow {n:05d}" for n in range(len(slow_lines))]


async def test_refused_entries_are_dead_letters_that_can_be_shown_and_redriven(tmp_path: Path) -> None:
    lane, now_ns = LogLane(), time.time_ns()
    async with Loki(tmp_path / "loki", limits={"max_line_size": "100B"}) as loki:
        config = config_of(tmp_path, sink(loki.push_url))
        async with opened_log(config) as log:
            await log_of(log, config)
            async with ingesting(config, log) as ingester:
                long = stream("app", [(now_ns, "a"), (now_ns + 1, "x" * 200, (("k", "v"),)), (now_ns + 2, "b")])
                await append(log, LOGS, lane.batch(long, stream("other", [(now_ns, "c")])))
                counts = await settled(ingester, 4)
                assert (counts["delivered"], counts["rejected"]) == (3, 1)
                [letter] = await letters(log)
                assert (letter.items, letter.status) == (1, 400)
                assert "max entry size '100' bytes exceeded" in letter.reason
                shown = await ingester.desk.letters.show(0)
                entry = {"time_ns": now_ns + 1, "line": "x" * 200, "metadata": {"k": "v"}}
                assert shown["streams"] == [{"labels": '{app="app"}', "entries": [entry], "items": 1}]
                assert (await ingester.desk.letters.redrive(0))["rejected"] == 1
                (loki.folder / "tenants.yml").write_text(
                    json.dumps({"overrides": {"fake": {"max_line_size": "1KB"}}}), encoding="utf-8"
                )
                await loki.kill()
                await loki.restart()
                assert (await ingester.desk.letters.redrive(0))["redriven"]
        assert await lines(loki) == ["a", "b", "c", "x" * 200]


async def test_what_was_taken_of_a_letter_is_not_there_twice_after_it_is_redriven_again(tmp_path: Path) -> None:
    lane, now_ns = LogLane(), time.time_ns()
    limits: dict[str, Any] = {"max_line_size": "100B"}
    async with Loki(tmp_path / "loki", limits=limits) as loki:
        config = config_of(tmp_path, sink(loki.push_url))
        async with opened_log(config) as log:
            await log_of(log, config)
            async with ingesting(config, log) as ingester:
                # More than a block of Loki's, which recognises what it has in an open one.
                long = [(now_ns + n, f"{n:05d}" + "x" * 300) for n in range(3000)]
                await append(log, LOGS, lane.batch(stream("app", [*long, (now_ns + 3000, "y" * 2000)])))
                await settled(ingester, 3001)
                results = []
                for limit in ("1KB", "10KB"):
                    (loki.folder / "tenants.yml").write_text(
                        json.dumps({"overrides": {"fake": {"max_line_size": limit}}}), encoding="utf-8"
                    )
                    await loki.kill()
                    await loki.restart()
                    results.append(await ingester.desk.letters.redrive(0))
                assert [(result["rejected"], result["redriven"]) for result in results] == [(1, False), (0, True)]
        assert await loki.count('{app="app"}', end_ns=now_ns + HOUR, window_s=7200) == 3001


async def test_streams_beyond_a_clusters_limit_are_dead_letters_and_other_clusters_are_not_touched(
    tmp_path: Path,
) -> None:
    bad, good = LogLane("bad"), LogLane("good", lane=1)
    async with Loki(tmp_path / "loki") as loki:
        config = config_of(tmp_path, sink(loki.push_url, max_streams=3))
        async with opened_log(config) as log:
            await log_of(log, config)
            async with ingesting(config, log) as ingester:
                batches = [lane.lines(10, request=str(n)) for n in range(5) for lane in (bad, good)][:8]
                await append(log, LOGS, *batches, *(good.lines(10, request="0") for _ in range(2)))
                counts = await settled(ingester, 40, cluster="bad")
                assert (counts["delivered"], counts["rejected"]) == (30, 10)
                counts = await settled(ingester, 60, cluster="good")
                assert (counts["delivered"], counts["rejected"]) == (50, 10)
                reasons = {letter.reason for letter in await letters(log)}
                words = "has 3 active streams, and max_streams is 3: a label has too many values"
                assert reasons == {f"cluster bad {words}", f"cluster good {words}"}
        assert len(await lines(loki)) == 80


async def test_what_is_replayed_is_not_there_twice(tmp_path: Path) -> None:
    lane = LogLane()
    async with Loki(tmp_path / "loki") as loki:
        config = config_of(tmp_path, sink(loki.push_url))
        async with opened_log(config) as log:
            await log_of(log, config)
            async with ingesting(config, log) as ingester:
                await append(log, LOGS, *(lane.lines(500) for _ in range(6)))
                await settled(ingester, 3000)
                now_ms = time.time_ns() // 10**6
                replayed = await ingester.desk.replay("loki", now_ms - 60_000, now_ms + 60_000)
                assert (replayed["delivered"], replayed["rejected"]) == (3000, 0)
        assert await loki.count('{app="app"}', end_ns=time.time_ns() + HOUR, window_s=7200) == 3000


def test_a_stream_counts_as_active_until_it_was_silent_for_long_enough() -> None:
    told: dict[str, int] = {}
    active = ActiveStreams(2, 100.0, told.__setitem__)
    assert [active.refuses("c", name, 0.0) for name in (b"a", b"b")] == ["", ""]
    assert "2 active streams" in active.refuses("c", b"c", 50.0)
    assert not active.refuses("c", b"a", 90.0)
    assert not active.refuses("d", b"c", 90.0)
    assert not active.refuses("c", b"c", 160.0)
    assert "2 active streams" in active.refuses("c", b"b", 161.0)
    assert told == {"c": 2, "d": 1}
