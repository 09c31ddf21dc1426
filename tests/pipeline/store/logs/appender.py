"""A process of its own that appends until it is killed: a line for each request, written once it was acknowledged."""

import asyncio
import itertools
import sys
from pathlib import Path

from prometheus_client import CollectorRegistry

from pipeline.store.logs import LogStore, LogStoreConfig
from tests.pipeline.store.logs.requests import push


async def main(path: str, first: str) -> None:
    """Append requests of 20 entries in two streams, numbered from `first`; pack after every fiftieth."""
    store = LogStore(LogStoreConfig(path=Path(path), max_age=1e9), CollectorRegistry())
    await store.start()

    async def append(number: int) -> None:
        entries = [(1_700_000_000_000_000_000 + number, f"line {number}.{n}") for n in range(20)]
        await store.append(push({"app": "a"}, *entries[::2]) + push({"app": "b"}, *entries[1::2]))
        print(number, flush=True)

    for number in itertools.count(int(first), 5):
        await asyncio.gather(*(append(n) for n in range(number, number + 5)))
        if number % 50 == 0:
            await store.maintain(seal=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
