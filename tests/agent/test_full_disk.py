"""A disk that fills up costs what does not fit and says so; it never stops the agent, nor what it still holds."""

import shutil
from pathlib import Path

import pytest

from agent.buffer import Buffer
from agent.push.lanes import WINDOW_BATCHES
from pipeline.wire.envelope import from_headers
from tests.agent.test_buffer import LANE, held, make, part
from tests.e2e.exporter import Exporter, Target
from tests.e2e.processes import Member, until
from tests.servers.disk import occupy, small_disk
from tests.servers.processes import free_port
from tests.servers.prometheus import Prometheus

MIB = 2**20


async def test_the_oldest_go_before_the_disk_is_full(tmp_path: Path) -> None:
    async with small_disk(tmp_path / "disk", 32 * MIB) as disk:
        buffer = make(disk / "buffer")
        await buffer.start()
        for _ in range(400):
            await buffer.put(LANE, [part(10)])
        assert shutil.disk_usage(disk).free > 4 * MIB
        assert buffer.metrics.dropped._value.get() == 0
        evicted = buffer.metrics.evicted._value.get()
        kept = await held(buffer)
        assert evicted > 0
        assert [gap_to for _, gap_to, _, _ in kept if gap_to is not None] == [WINDOW_BATCHES + evicted // 10 - 1]
        assert sum(items for _, _, items, _ in kept) == 4000
        for destination in ("gateway", "other"):
            buffer.acknowledge(destination, LANE, 400)
        await buffer.settle()
        for _ in range(50):
            await buffer.put(LANE, [part(10)])
        assert buffer.metrics.evicted._value.get() == evicted
        await buffer.close()


async def test_a_disk_filled_by_others_costs_what_comes_and_nothing_that_is_there(tmp_path: Path) -> None:
    async with small_disk(tmp_path / "disk", 64 * MIB) as disk:
        buffer = make(disk / "buffer")
        await buffer.start()
        for _ in range(5):
            await buffer.put(LANE, [part(10)])
        theirs = occupy(disk)
        for _ in range(20):
            await buffer.put(LANE, [part(3), part(4)])
        dropped = buffer.metrics.dropped._value.get()
        before = await held(buffer)
        assert dropped > 0
        assert dropped + sum(items for _, _, items, _ in before) == 50 + 140
        theirs.unlink()
        await _taken_again(buffer)
        after = await held(buffer)
        assert after[: len(before)] == before
        assert from_headers((await buffer.read(LANE, after[-1][0], max_bytes=1))[0].headers).items == 5
        await buffer.close()


async def _taken_again(buffer: Buffer) -> None:
    async def one_more() -> bool:
        before = buffer.metrics.dropped._value.get()
        await buffer.put(LANE, [part(5)])
        return bool(buffer.metrics.dropped._value.get() == before)

    await until(one_more, "the buffer takes batches again")


@pytest.mark.prometheus
async def test_an_agent_goes_on_when_the_disk_has_room_again(tmp_path: Path, prometheus: Prometheus) -> None:
    exporter = Exporter({"t": Target("t", 100)})
    async with small_disk(tmp_path / "disk", 32 * MIB) as disk, exporter:
        job = {"job_name": "t", "metrics_path": "/t", "static_configs": [{"targets": [f"127.0.0.1:{exporter.port}"]}]}
        admin = free_port()
        agent = Member(
            tmp_path / "agent",
            "agent",
            {
                "global": {"scrape_interval": "200ms", "scrape_timeout": "200ms"},
                "cluster": "c1",
                "admin": f"127.0.0.1:{admin}",
                "scrape_configs": [job],
                "buffer": {"path": str(disk / "buffer")},
                "remote_write": [{"url": prometheus.write_url}],
            },
            admin,
        )

        async def newest() -> float:
            found = await prometheus.query('max(served_total{series="0"})')
            return next(iter(found.values()), 0.0)

        async def has_dropped() -> bool:
            lines = (await agent.get("/metrics"))[1].splitlines()
            return any(line.startswith("pronoia_agent_dropped_samples_total") and line[-4:] != " 0.0" for line in lines)

        async def arrives() -> bool:
            return await newest() > 0

        await agent.start()
        try:
            await until(arrives, "samples arrive")
            theirs = occupy(disk)
            await until(has_dropped, "what does not fit is counted")
            theirs.unlink()
            served = exporter.targets["t"].served[-1][1]

            async def arrives_again() -> bool:
                return await newest() > served

            await until(arrives_again, "what is scraped now arrives")
            assert (await agent.get("/readyz"))[0] == 200
        finally:
            await agent.process.stop()
