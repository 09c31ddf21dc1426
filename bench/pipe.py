"""What gateway + Kafka + ingester cost: CPU seconds a million samples or log lines, from a push to the store.

Pushes the same items (samples of 100,000 series, or lines of 200 bytes; 2,000 a request) at one system at a time and
waits until the sink has them all, or until nothing more arrives; the rest counts as lost. Only the system's own
processes are charged.

    python -m bench.pipe [--signal logs] --items 4000000 --conns 8 [--kill 2] NAME,URL,GATEWAY[,INGESTER] ...

GATEWAY and INGESTER are commands: in them {write} is the sink's URL and {dir} a fresh folder. With --kill 1 or 2, the
gateway or the ingester is killed with -9 halfway through the push and started again two seconds later; lost and doubled
items are then counted by what distinguishes them.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import ClientError, ClientSession, TCPConnector, web

from bench.payloads import METRICS, SIGNALS, Payloads
from bench.processes import start, stop, usage


async def listen(
    write: Callable[[web.Request], Awaitable[web.Response]], path: str = METRICS.write_path
) -> tuple[web.AppRunner, str]:
    """Serve a store that is written to at `path`, on a free port; return it, and its URL."""
    app = web.Application(client_max_size=1 << 30)
    app.router.add_post("/{any:.*}", write)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner, f"http://127.0.0.1:{runner.addresses[0][1]}{path}"


@dataclass
class Sink:
    """The store: takes everything, keeps it for counting."""

    bodies: list[bytes] = field(default_factory=list)
    last_s: float = 0.0

    async def write(self, request: web.Request) -> web.Response:
        self.bodies.append(await request.read())
        self.last_s = time.monotonic()
        return web.Response(status=204)

    async def quiet(self, seconds: float) -> None:
        """Wait until nothing has come for so long."""
        began_s = time.monotonic()
        while time.monotonic() - max(self.last_s, began_s) < seconds:
            await asyncio.sleep(0.5)


@dataclass
class Push:
    """The senders: each request is sent until it is acknowledged."""

    session: ClientSession
    url: str
    headers: dict[str, str]
    pushed: int = 0
    retries: int = 0

    async def one(self, body: bytes) -> bool:
        try:
            async with self.session.post(self.url, data=body, headers=self.headers) as answer:
                await answer.read()
                return answer.status < 300
        except (OSError, ClientError):
            return False

    async def ready(self, body: bytes) -> None:
        for _ in range(150):
            if await self.one(body):
                return
            await asyncio.sleep(0.4)

    async def all(self, bodies: Iterator[bytes]) -> None:
        for body in bodies:
            while not await self.one(body):
                self.retries += 1
                if self.retries > 2000:
                    return
                await asyncio.sleep(0.1)
            self.pushed += 1


@dataclass(frozen=True)
class Carried:
    """How one system did. Counts are of `items`; `cpu_s` is gateway and ingester apart."""

    name: str
    items: str
    wanted: int
    arrived: int
    distinct: int
    push_s: float
    arrive_s: float
    retries: int
    cpu_s: tuple[float, ...]
    peak_mib: tuple[float, ...]
    killed: int
    log: str

    @property
    def cpu_s_per_million(self) -> float:
        return sum(self.cpu_s) / max(self.arrived, 1) * 1e6

    def __str__(self) -> str:
        if self.killed:
            return (
                f"{self.name:16s} process {self.killed} killed halfway: lost {self.wanted - self.distinct} of"
                f" {self.wanted} acknowledged {self.items}, {self.arrived - self.distinct} sent twice"
                f" ({(self.arrived - self.distinct) / self.wanted:.2%})"
            )
        return (
            f"{self.name:16s} pushed {self.wanted / self.push_s / 1e3:6.0f} k/s (retries {self.retries}), arrived"
            f" {self.arrived}/{self.wanted} at {self.arrived / self.arrive_s / 1e3:6.0f} k/s"
            f"  cpu {' + '.join(f'{c:.2f}' for c in self.cpu_s)} s = {self.cpu_s_per_million:5.2f} s/M"
            f"  peak rss {' + '.join(f'{m:.0f}' for m in self.peak_mib)} MiB" + ("" if self.arrived else self.log)
        )


async def measure(system: str, chosen: argparse.Namespace, payloads: Payloads, bodies: Sequence[bytes]) -> Carried:
    """Push everything through one system and return how it did."""
    name, url, *commands = system.split(",")
    sink, folder = Sink(), Path(tempfile.mkdtemp())
    runner, write = await listen(sink.write, payloads.write_path)
    filled = [command.format(write=write, dir=folder) for command in commands]
    running = [await start(command, folder, f"log{i}") for i, command in enumerate(filled)]
    headers = dict(payloads.headers)
    if chosen.header:
        key, _, value = chosen.header.partition(":")
        headers[key.strip()] = value.strip()

    async def kill_halfway() -> None:
        while push.pushed < len(bodies) / 2:
            await asyncio.sleep(0.02)
        which = chosen.kill - 1
        running[which].kill()
        await running[which].wait()
        await asyncio.sleep(2)
        running[which] = await start(filled[which], folder, f"log{which}")

    async with ClientSession(connector=TCPConnector(limit=chosen.conns)) as session:
        push = Push(session, url, headers)
        await push.ready(bodies[0])
        await asyncio.sleep(6)
        sink.bodies.clear()
        before, began, left = [usage(process.pid) for process in running], time.monotonic(), iter(bodies)
        tasks = [push.all(left) for _ in range(chosen.conns)]
        await asyncio.gather(*tasks, *([kill_halfway()] if chosen.kill else []))
        pushed_s = time.monotonic() - began
    await sink.quiet(45 if chosen.kill else 12)
    arrived_s = max(sink.last_s - began, pushed_s)
    after = [usage(process.pid) for process in running]
    for process in running:
        await stop(process)
    await runner.cleanup()
    arrived = sum(map(payloads.count, sink.bodies))
    return Carried(
        name=name,
        items=payloads.items,
        wanted=len(bodies) * payloads.items_per_request,
        arrived=arrived,
        distinct=len({h for body in sink.bodies for h in payloads.hashes(body)}) if chosen.kill else arrived,
        push_s=pushed_s,
        arrive_s=arrived_s,
        retries=push.retries,
        cpu_s=tuple(b.cpu_s - a.cpu_s for a, b in zip(before, after, strict=True)),
        peak_mib=tuple(b.peak_mib for b in after),
        killed=chosen.kill,
        log="".join((folder / f"log{i}").read_text()[-500:] for i in range(len(commands))),
    )


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="bench.pipe", description=__doc__)
    parser.add_argument("--signal", default="metrics", choices=SIGNALS)
    parser.add_argument("--items", type=int, default=4_000_000)
    parser.add_argument("--conns", type=int, default=8)
    parser.add_argument("--header", default="", help="added to every push: a token that stands for cluster c1")
    parser.add_argument("--kill", type=int, default=0, choices=[0, 1, 2])
    parser.add_argument("system", nargs="+", help="NAME,URL,GATEWAY-COMMAND[,INGESTER-COMMAND]")
    return parser.parse_args(arguments)


async def main(arguments: Sequence[str] | None = None) -> list[Carried]:
    """Measure each system in turn and print a line for each."""
    chosen = options(arguments)
    payloads = SIGNALS[chosen.signal]
    source = payloads.requests(payloads.items_per_request)
    bodies = [next(source) for _ in range(chosen.items // payloads.items_per_request)]
    size = sum(map(len, bodies)) / chosen.items
    print(f"{len(bodies)} requests of {payloads.items}, {size:.1f} B each", flush=True)
    results = []
    for system in chosen.system:
        results.append(await measure(system, chosen, payloads, bodies))
        print(results[-1], flush=True)
    return results


if __name__ == "__main__":
    asyncio.run(main())
