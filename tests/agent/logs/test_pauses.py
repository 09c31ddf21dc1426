"""A stage that limits a rate has its source wait: what it let through is kept, and the next is not read before."""

import asyncio
from pathlib import Path

from agent.logs.chunk import Take
from tests.agent.logs.test_batcher import Bed, running
from tests.agent.stages.running import NOW_NS, Running
from tests.e2e.processes import until


async def test_a_source_waits_for_its_rate_with_its_lines_kept(tmp_path: Path) -> None:
    async with running(Bed(tmp_path)) as bed:
        chunks = Running("- limit: {rate: 0.001, burst: 1}").source().block(b"one\ntwo\n", NOW_NS)
        put = asyncio.create_task(bed.batcher.put(Take("file", tuple(chunks), {b"at": b"8"})))

        async def is_on_disk() -> bool:
            return bool(await bed.records())

        await until(is_on_disk, "lines on disk")
        assert not put.done()
        put.cancel()
        await asyncio.wait([put])


async def test_other_sources_do_not_wait(tmp_path: Path) -> None:
    async with running(Bed(tmp_path)) as bed:
        chunks = Running("[]").source().block(b"one\n", NOW_NS)
        await asyncio.wait_for(bed.batcher.put(Take("file", tuple(chunks), {})), 10)
