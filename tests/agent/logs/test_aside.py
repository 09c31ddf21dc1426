"""Lines so long that stages may take seconds over them: nobody else waits for them."""

import asyncio
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from agent.inputs.feed import Feed
from agent.logs.aside import LONG_BYTES, has_long_line
from agent.logs.entry import Entry
from agent.logs.input import InputTools, Source
from agent.logs.pipeline import MakePipeline
from agent.tail import Files
from pipeline.telemetry import LogInputMetrics
from tests.agent.stages.running import Running
from tests.agent.tail.following import QUICK, Buffer

# Each match looks through the rest of the line for a z: half a minute and more for all of them.
SQUARE = "- replace: {expression: '(a.*z|a)', replace: b}"
LINE = "a" * 60_000


def tools(buffer: Buffer) -> InputTools:
    make: MakePipeline = Running(SQUARE).make
    return InputTools("job", make, dict, buffer, LogInputMetrics(CollectorRegistry()))


async def turns_until(buffer: Buffer) -> int:
    """Return how often the loop had its turn until something was put."""
    turns = 0
    async with asyncio.timeout(120):
        while not any(take.chunks for take in buffer.takes):
            await asyncio.sleep(0.005)
            turns += 1
    return turns


async def test_a_long_line_of_a_file_does_not_hold_the_loop(tmp_path: Path) -> None:
    log, buffer = tmp_path / "app.log", Buffer()
    log.write_text(LINE + "\n")
    files = Files(tools(buffer), QUICK, {})
    files.follow([Source({}, {}, str(log))])
    running = asyncio.create_task(files.run())
    try:
        assert await turns_until(buffer) > 50
    finally:
        running.cancel()
        await asyncio.wait([running])
    assert b"b" * 60_000 in b"".join(chunk.raw for take in buffer.takes for chunk in take.chunks)


async def test_a_long_entry_of_any_other_source_does_not_either() -> None:
    buffer = Buffer()
    feed = Feed(tools(buffer), "stdin")
    putting = asyncio.create_task(feed.put([Entry({"a": "b"}, 5, LINE)], b"7"))
    assert await turns_until(buffer) > 50
    await putting
    assert feed.position == b"7"


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (b"", False),
        (b"x" * LONG_BYTES + b"\n", False),
        (b"x" * (LONG_BYTES + 1) + b"\n", True),
        (b"a\n" * 100_000, False),
        (b"a\n" * 100_000 + b"x" * (LONG_BYTES + 1) + b"\n" + b"b\n" * 9, True),
        ((b"x" * LONG_BYTES + b"\n") * 9, False),
    ],
)
def test_long_lines_are_found(block: bytes, expected: bool) -> None:
    assert has_long_line(block) is expected
