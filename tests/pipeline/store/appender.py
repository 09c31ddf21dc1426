"""A process of its own that appends until it is killed: a line for each request, written once it was acknowledged."""

import asyncio
import itertools
import sys
from pathlib import Path

from prometheus_client import CollectorRegistry

from pipeline.store import Store, StoreConfig
from tests.pipeline.store.requests import series


async def main(path: str, first: str) -> None:
    """Append requests of 20 series, numbered from `first`; pack a block after every fiftieth."""
    store = Store(StoreConfig(path=Path(path), max_age=1e9), CollectorRegistry())
    await store.start()

    async def append(number: int) -> None:
        at_ms = 1_700_000_000_000 + number * 1000
        await store.append(b"".join(series("a", (at_ms, float(number)), n=str(n)) for n in range(20)))
        print(number, flush=True)

    for number in itertools.count(int(first), 5):
        await asyncio.gather(*(append(n) for n in range(number, number + 5)))
        if number % 50 == 0:
            await store.maintain(seal=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
