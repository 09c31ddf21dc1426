"""Heavy input: how long a large page, a long label or many targets hold the event loop, and what memory they take.

    python -m bench.heavy [--page-mb 100] [--targets 100000]

The page is served by a process of its own. A task that only sleeps notes the CPU time that passes between two of its
turns: the most is how long the loop was held. Prints one line for each case.
"""

import argparse
import asyncio
import contextlib
import multiprocessing
import resource
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from multiprocessing.connection import Connection

from aiohttp import web
from prometheus_client import CollectorRegistry

from agent.config import GlobalConfig, ScrapeConfig
from agent.part import Part
from agent.scrape.pool import ScrapePool
from agent.targets import Target
from bench.targets import rss_bytes
from pipeline.telemetry import ScrapeMetrics

LINE = b'http_requests_total{path="/api/v1/items/%d",code="200",method="GET",pod="shop-7d4f"} %d\n'


def serve(port: Connection, size: int, label: int) -> None:
    """Serve `/page`, `size` bytes of series whose values change, and `/label`, one with a label of `label` bytes."""
    count = size // len(LINE % (100_000, 1))
    scrapes = 0

    async def page(_: web.Request) -> web.Response:
        nonlocal scrapes
        scrapes += 1
        return web.Response(body=b"".join([LINE % (n, n + scrapes) for n in range(count)]), content_type="text/plain")

    async def one(_: web.Request) -> web.Response:
        return web.Response(body=b'x{y="%s"} 1\n' % (b"v" * label), content_type="text/plain")

    async def run() -> None:
        app = web.Application()
        app.router.add_get("/page", page)
        app.router.add_get("/label", one)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port.send(runner.addresses[0][1])
        await asyncio.Event().wait()

    asyncio.run(run())


class Lag:
    """The most CPU time between two turns of a task that is always ready."""

    def __init__(self) -> None:
        self.longest_s = 0.0

    async def watch(self) -> None:
        """Look until cancelled."""
        while True:
            before_s = time.thread_time()
            await asyncio.sleep(0.001)
            self.longest_s = max(self.longest_s, time.thread_time() - before_s)


@asynccontextmanager
async def measured(what: str) -> AsyncIterator[None]:
    """Print what the block cost."""
    lag, cpu_s, began_s, rss = Lag(), time.process_time(), time.perf_counter(), rss_bytes()
    watching = asyncio.create_task(lag.watch())
    await asyncio.sleep(0)
    yield
    watching.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watching
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(
        f"{what:<44} held {lag.longest_s * 1000:6.1f} ms at most, {time.process_time() - cpu_s:6.2f} s CPU,"
        f" {time.perf_counter() - began_s:6.2f} s; {(rss_bytes() - rss) / 2**20:+7.1f} MiB, peak {peak / 2**20:.0f} MiB"
    )


def job(**keys: object) -> ScrapeConfig:
    """Return a job as it is loaded."""
    return ScrapeConfig.model_validate({"job_name": "j", **keys}).inherit(GlobalConfig())


async def scrape(url: str, what: str, scrapes: int, **keys: object) -> None:
    """Scrape a page several times, as an agent does."""
    given = asyncio.Queue[None]()

    async def emit(_: Target, parts: Sequence[Part]) -> None:
        given.put_nowait(None)

    pool = ScrapePool(emit, ScrapeMetrics(CollectorRegistry()), agent="a", external_labels={}, cluster_label="")
    target = Target(job(**keys), (("instance", "i"),), url, 1.0, 60.0)
    try:
        for number in range(scrapes):
            async with measured(f"{what}, scrape {number + 1}"):
                if not number:
                    await pool.sync([target])
                await given.get()
        print(f"    {pool.health(target).last_error or 'up'}")
    finally:
        await pool.close()


async def begin_many(count: int) -> None:
    """Begin scraping many targets that are not due, change their job, and end them."""

    async def emit(_: Target, parts: Sequence[Part]) -> None:
        return

    pool = ScrapePool(emit, ScrapeMetrics(CollectorRegistry()), agent="a", external_labels={}, cluster_label="")

    def targets(config: ScrapeConfig) -> list[Target]:
        labels = ((("instance", f"10.0.{n >> 8}.{n & 255}:9100"), ("job", "j")) for n in range(count))
        return [Target(config, each, f"http://{each[0][1]}/metrics", 86_400.0, 10.0) for each in labels]

    first, second = targets(job()), targets(job(metric_relabel_configs=[{"regex": "x", "action": "labeldrop"}]))
    async with measured(f"{count} targets begin"):
        await pool.sync(first)
    async with measured(f"{count} targets stay"):
        await pool.sync(first)
    async with measured(f"{count} targets of a changed job"):
        await pool.sync(second)
    async with measured(f"{count} targets end"):
        await pool.sync([])
    await pool.close()


async def main(page_mb: int, targets: int) -> None:
    """Run every case."""
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs, page_mb << 20, 1 << 20))
    server.start()
    try:
        base = f"http://127.0.0.1:{await asyncio.to_thread(ours.recv)}"
        await scrape(f"{base}/label", "a label of 1 MiB", 2)
        await scrape(f"{base}/page", f"{page_mb} MiB, limit 10 MB", 1, body_size_limit="10MB")
        await scrape(f"{base}/page", f"{page_mb} MiB, all values change", 3)
    finally:
        server.kill()
        server.join()
    await begin_many(targets)


if __name__ == "__main__":
    import uvloop

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page-mb", type=int, default=100)
    parser.add_argument("--targets", type=int, default=100_000)
    arguments = parser.parse_args()
    uvloop.run(main(arguments.page_mb, arguments.targets))
