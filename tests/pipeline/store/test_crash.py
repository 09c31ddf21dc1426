import asyncio
import sys
from pathlib import Path

from pipeline.store.selector import parse
from tests.pipeline.store.conftest import Open

REPOSITORY = Path(__file__).parents[3]


async def test_kill_9_loses_nothing_that_was_acknowledged(open_store: Open, tmp_path: Path) -> None:
    acknowledged: set[int] = set()
    for first, lines in ((0, 37), (10_000, 111), (20_000, 260)):
        appender = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.pipeline.store.appender", str(tmp_path / "store.db"), str(first)),
            stdout=asyncio.subprocess.PIPE,
            cwd=REPOSITORY,
        )
        assert appender.stdout is not None
        async with asyncio.timeout(60):
            acknowledged |= {int(await appender.stdout.readline()) for _ in range(lines)}
            appender.kill()
            # What it had already written when it was killed was acknowledged too; a last line may be cut short.
            rest = (await appender.stdout.read()).split(b"\n")[:-1]
        acknowledged |= set(map(int, rest))
        await appender.wait()
    store = await open_store(max_age=1e9)
    found = await store.samples(parse("a"), 0, 1 << 50)
    assert len(found) == 20
    for samples in found.values():
        kept = {(at_ms - 1_700_000_000_000) // 1000: value for at_ms, value in samples}
        assert len(kept) == len(samples)
        assert acknowledged <= kept.keys()
        assert all(number == value for number, value in kept.items())
