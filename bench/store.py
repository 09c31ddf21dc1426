"""What the embedded store costs: CPU and bytes a sample, and how long searches and charts take.

    python -m bench.store [--series 2000] [--rounds 480]

A round is one scrape of every series, 15 s after the last. Values are like a machine's: four in ten never change, three
in ten are counters, two in ten decimals or counts that seldom change, one in ten any double.
"""

import argparse
import asyncio
import random
import sqlite3
import struct
import tempfile
import time
from collections.abc import Awaitable, Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry

from pipeline.store import Store, StoreConfig
from pipeline.wire.remote_write import encode_labels, encode_sample, encode_series

INTERVAL_S = 15
REQUEST_SERIES = 500


def keys(series: int) -> list[bytes]:
    """Return the encoded labels of as many series as there are, 300 metrics an instance."""
    out = []
    for n in range(series):
        labels = {"job": "node", "instance": f"host-{n // 300}:9100", "cluster": "local", "device": f"d{n % 11}"}
        out.append(encode_labels(sorted({"__name__": f"metric_{n % 300}_total", **labels}.items())))
    return out


def rounds(series: int, count: int) -> Iterator[tuple[int, list[float]]]:
    """Yield for each round its time in Unix milliseconds, and every series' value."""
    chance = random.Random(1)
    kinds = [chance.choice("ccckkkkdfi") for _ in range(series)]
    values = [float(chance.randrange(10**6)) for _ in range(series)]
    for n in range(count):
        for at, kind in enumerate(kinds):
            if kind == "c":
                values[at] += chance.randrange(1000)
            elif kind == "d":
                values[at] = round(values[at] + chance.random() * 15, 2)
            elif kind == "f":
                values[at] += chance.gauss(0, 1)
            elif kind == "i" and chance.random() < 0.1:
                values[at] += 1
        # Scrapes jitter by some milliseconds.
        yield 1_800_000_000_000 + n * INTERVAL_S * 1000 + chance.randrange(5), values


async def measure(series: int, count: int, folder: Path) -> None:
    """Fill a store and ask it."""
    now_s = 1_800_000_000.0
    store = Store(StoreConfig(path=folder / "store.db"), CollectorRegistry(), clock=lambda: now_s)
    await store.start()
    encoded = keys(series)
    cpu_s = 0.0
    for at_ms, values in rounds(series, count):
        now_s = at_ms / 1000
        fields = (
            encode_series(key + encode_sample(struct.pack("<d", value), at_ms))
            for key, value in zip(encoded, values, strict=True)
        )
        every = list(fields)
        requests = [b"".join(every[n : n + REQUEST_SERIES]) for n in range(0, series, REQUEST_SERIES)]
        began_s = time.process_time()
        await asyncio.gather(*map(store.append, requests))
        await store.maintain()
        cpu_s += time.process_time() - began_s
    began_s = time.process_time()
    await store.maintain(seal=True)
    cpu_s += time.process_time() - began_s
    samples = series * count
    share = cpu_s / (count * INTERVAL_S)
    print(
        f"{series} series, {count} rounds: {cpu_s / samples * 1e6:.2f} µs a sample, {share:.3%} of a core", flush=True
    )
    await ask(store, count)
    await store.close()
    print(f"{live_bytes(folder / 'store.db') / samples:.2f} bytes a sample in use on disk, all included")


async def ask(store: Store, count: int) -> None:
    """Time what the console asks."""
    found, total = await store.search("metric_7_ host-", limit=10)
    await timed(f"search ({total} found)", store.search("metric_7_ host-", limit=10))
    await timed("names of all", store.names())
    end_ms = 1_800_000_000_000 + count * INTERVAL_S * 1000
    ids = [each.id for each in found]
    drawing = store.chart(ids, end_ms - count * INTERVAL_S * 1000, end_ms, max_points=600, rate=True)
    await timed(f"chart of {len(ids)} rates", drawing)


async def timed(name: str, asking: Awaitable[object]) -> None:
    """Print how long an answer takes."""
    began_s = time.perf_counter()
    await asking
    print(f"  {name}: {(time.perf_counter() - began_s) * 1000:.1f} ms", flush=True)


def live_bytes(path: Path) -> int:
    """Return the bytes of the pages that are in use."""
    connection = sqlite3.connect(path)
    size, pages, free = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_size", "page_count", "freelist_count")
    )
    connection.close()
    return int(size * (pages - free))


def main() -> None:
    """Measure with the sizes that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=480)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(measure(arguments.series, arguments.rounds, Path(folder)))


if __name__ == "__main__":
    main()
