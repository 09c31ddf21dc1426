import asyncio
import sys
from collections import Counter
from pathlib import Path

from pipeline.store.logs import Query, parse_text
from tests.pipeline.store.logs.conftest import Open

REPOSITORY = Path(__file__).parents[4]


async def test_kill_9_loses_nothing_that_was_acknowledged(open_store: Open, tmp_path: Path) -> None:
    acknowledged: set[int] = set()
    for first, count in ((0, 37), (10_000, 111), (20_000, 260)):
        appender = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.pipeline.store.logs.appender", str(tmp_path / "logs.db"), str(first)),
            stdout=asyncio.subprocess.PIPE,
            cwd=REPOSITORY,
        )
        assert appender.stdout is not None
        async with asyncio.timeout(60):
            acknowledged |= {int(await appender.stdout.readline()) for _ in range(count)}
            appender.kill()
            # What it had already written when it was killed was acknowledged too; a last line may be cut short.
            rest = (await appender.stdout.read()).split(b"\n")[:-1]
        acknowledged |= set(map(int, rest))
        await appender.wait()
    store = await open_store(max_age=1e9)
    for text in ("", "line"):
        page = await store.entries(Query(text=parse_text(text)), 1_000_000, budget_s=60)
        found = Counter(entry.line for entry in page.entries)
        assert set(found.values()) == {1}
        whole = Counter(int(line.removeprefix("line ").partition(".")[0]) for line in found)
        assert set(whole.values()) == {20}, "a request is there whole or not at all"
        assert acknowledged <= whole.keys()
