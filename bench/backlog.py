"""What an ingester needs while it drains a backlog: memory over time, rate and CPU. Memory has to stay flat.

Pushes samples through a gateway into the log while no ingester runs, then starts one and reads its resident memory
until the remote-write sink has as many samples as were pushed.

    python -m bench.backlog --samples 50000000 URL GATEWAY-COMMAND INGESTER-COMMAND

In a COMMAND, {write} is the sink's URL and {dir} a fresh folder.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from aiohttp import ClientSession, TCPConnector, web

from bench.payloads import METRICS
from bench.pipe import Push, listen
from bench.processes import resident_mib, start, stop, usage
from bench.samples import count_series, requests

CONNECTIONS = 8
QUIET_S = 30.0


@dataclass
class Counter:
    """The store: counts what comes and forgets it."""

    samples: int = 0
    waiting: list[bytes] = field(default_factory=list)
    last_s: float = 0.0

    async def write(self, request: web.Request) -> web.Response:
        self.waiting.append(await request.read())
        self.last_s = time.monotonic()
        return web.Response(status=204)

    async def count(self) -> None:
        """Count what waits, off the event loop."""
        bodies, self.waiting = self.waiting, []
        self.samples += await asyncio.to_thread(lambda: sum(map(count_series, bodies)))


@dataclass(frozen=True)
class Drained:
    """How one backlog was drained; `resident_mib` was read twice a second, from the first answer on."""

    pushed: int
    arrived: int
    seconds: float
    cpu_s: float
    peak_mib: float
    resident_mib: Sequence[float]

    def __str__(self) -> str:
        tenths = [self.resident_mib[len(self.resident_mib) * n // 10] for n in range(10)] if self.resident_mib else []
        return (
            f"backlog of {self.pushed / 1e6:.0f} M: {self.arrived / self.seconds / 1e6:.2f} M samples/s,"
            f" {self.cpu_s / max(self.arrived, 1) * 1e6:.2f} s/M, lost {self.pushed - min(self.arrived, self.pushed)}"
            f"  resident by tenths of the time {' '.join(f'{m:.0f}' for m in tenths)} MiB, peak {self.peak_mib:.0f} MiB"
        )


async def fill(url: str, command: str, samples: int, header: str, folder: Path) -> None:
    """Push so many samples through a gateway that runs only for that."""
    gateway = await start(command, folder, "gateway.log")
    headers = dict(METRICS.headers)
    if header:
        name, _, value = header.partition(":")
        headers[name.strip()] = value.strip()
    bodies = islice(requests(METRICS.items_per_request), samples // METRICS.items_per_request)
    async with ClientSession(connector=TCPConnector(limit=CONNECTIONS)) as session:
        push = Push(session, url, headers)
        await push.ready(next(bodies))
        await asyncio.gather(*(push.all(bodies) for _ in range(CONNECTIONS)))
    await stop(gateway)


async def drain(command: str, samples: int, folder: Path) -> Drained:
    """Let an ingester drain what is there."""
    sink = Counter()
    runner, write = await listen(sink.write)
    ingester = await start(command.format(write=write, dir=folder), folder, "ingester.log")
    began_s, resident = 0.0, list[float]()
    sink.last_s = time.monotonic()
    while sink.samples < samples and time.monotonic() - sink.last_s < QUIET_S:
        await asyncio.sleep(0.5)
        await sink.count()
        began_s = began_s or (sink.samples and time.monotonic())
        if began_s:
            resident.append(resident_mib(ingester.pid))
    used, seconds = usage(ingester.pid), sink.last_s - began_s
    await stop(ingester)
    await runner.cleanup()
    return Drained(samples, sink.samples, seconds, used.cpu_s, used.peak_mib, resident)


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="bench.backlog", description=__doc__)
    parser.add_argument("--samples", type=int, default=50_000_000)
    parser.add_argument("--header", default="", help="added to every push: a token that stands for cluster c1")
    parser.add_argument("url")
    parser.add_argument("gateway")
    parser.add_argument("ingester")
    return parser.parse_args(arguments)


async def main(arguments: Sequence[str] | None = None) -> Drained:
    """Fill, drain, and print a line."""
    chosen = options(arguments)
    folder = Path(tempfile.mkdtemp())
    await fill(chosen.url, chosen.gateway, chosen.samples, chosen.header, folder)
    drained = await drain(chosen.ingester, chosen.samples, folder)
    print(drained, flush=True)
    return drained


if __name__ == "__main__":
    asyncio.run(main())
