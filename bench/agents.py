"""What a scraping agent costs: CPU seconds and bytes a sample, peak memory; any agents, one after the other.

Serves changing pages of N series from `--targets` targets and a remote-write sink, runs one agent at a time against
both, and reads what the agent's process tree used between two points of steady state.

    python -m bench.agents --series 100000 --churn 0.02 --interval 5 --seconds 40 NAME=COMMAND ...

In COMMAND, {config} is a Prometheus configuration file, {write} the sink's URL, {dir} a fresh folder; {norw} leaves
`remote_write` out of the configuration, for agents that refuse it there. {admin} is a port for the agent's own metrics:
where they count syncs to disk (`pronoia_log_fsyncs_total`), the table has them.
"""

import argparse
import asyncio
import random
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import ClientError, ClientSession, web

from bench.processes import free_port, start, stop, usage
from bench.samples import count_series

NAMES = (
    "kube_pod_status_phase",
    "kube_pod_container_status_restarts_total",
    "kube_pod_info",
    "kube_deployment_status_replicas",
    "container_cpu_usage_seconds_total",
)


def page(series: int, number: int, churn: float) -> bytes:
    """Make the page's `number`-th version: `churn` of the values differ from every other version's."""
    fixed, changing, out = random.Random(0), random.Random(number), []
    for name in NAMES:
        out.append(f"# HELP {name} help text for {name}\n# TYPE {name} gauge")
        for i in range(max(series // len(NAMES), 1)):
            value: float = fixed.choice([0, 1, 0, 0, 1, 3.25, 17])
            if changing.random() < churn:
                value = changing.random() * 1e6
            out.append(
                f'{name}{{namespace="ns-{i % 50}",pod="app-{i % 997}-{i:06x}-abcde",'
                f'uid="3f1c{i:08x}-aaaa-bbbb-cccc-0123456789ab",container="c{i % 5}",node="node-{i % 100}"}} {value}'
            )
    return ("\n".join(out) + "\n").encode()


@dataclass
class Peers:
    """The targets to scrape and the sink to write to, and what came."""

    pages: Sequence[bytes]
    scrapes: int = 0
    requests: int = 0
    counting: bool = False
    bodies: list[bytes] = field(default_factory=list)

    async def metrics(self, _: web.Request) -> web.Response:
        self.scrapes += 1
        body = self.pages[self.scrapes % len(self.pages)]
        return web.Response(body=body, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    async def write(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.requests += 1
        if self.counting:
            self.bodies.append(body)
        return web.Response(status=204)

    async def listen(self) -> tuple[web.AppRunner, int]:
        app = web.Application(client_max_size=1 << 30)
        app.router.add_get("/{any:.*}", self.metrics)
        app.router.add_post("/{any:.*}", self.write)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return runner, runner.addresses[0][1]


@dataclass(frozen=True)
class Cost:
    """What one agent used in steady state; `cpu_s_per_million` is CPU seconds a million samples."""

    name: str
    scrapes: int
    samples: int
    requests: int
    seconds: float
    cpu_s: float
    peak_mib: float
    wire_bytes: int
    written_bytes: int
    fsyncs: float | None
    log: str

    @property
    def cpu_s_per_million(self) -> float:
        return self.cpu_s / self.samples * 1e6 if self.samples else float("nan")

    def __str__(self) -> str:
        return (
            f"{self.name:22s} scrapes {self.scrapes:4d}  sent {self.samples:9d} samples in {self.requests} requests"
            f"  cpu {self.cpu_s:6.2f} s = {self.cpu_s_per_million:5.2f} s/M, {self.cpu_s / self.seconds:6.1%} of a core"
            f"  wire {self.wire_bytes / max(self.samples, 1):5.1f} B/sample"
            f"  disk {self.written_bytes / self.seconds / 1e6:5.2f} MB/s{self._syncs()}"
            f"  peak rss {self.peak_mib:4.0f} MiB" + ("" if self.samples else f"\n  {self.log}")
        )

    def _syncs(self) -> str:
        return "" if self.fsyncs is None else f", {self.fsyncs / self.seconds:.1f} fsyncs/s"


def configuration(port: int, options: argparse.Namespace, remote_write: bool) -> str:
    """Write the configuration that every agent gets."""
    jobs = "".join(
        f"- job_name: ksm{n}\n  metrics_path: /{n}\n  static_configs: [{{targets: ['127.0.0.1:{port}']}}]\n"
        for n in range(options.targets)
    )
    send = f"remote_write:\n- url: http://127.0.0.1:{port}/api/v1/write\n" if remote_write else ""
    timing = f"scrape_interval: {options.interval}s, scrape_timeout: {options.interval}s"
    return f"global: {{{timing}, external_labels: {{cluster: c1}}}}\nscrape_configs:\n{jobs}{send}"


async def count_fsyncs(port: int) -> float | None:
    """Ask an agent's own metrics how often it synced to disk; None where it does not tell."""
    try:
        async with ClientSession() as session, session.get(f"http://127.0.0.1:{port}/metrics") as answer:
            lines = (await answer.text()).splitlines()
    except ClientError:
        return None
    found = [float(line.rpartition(" ")[2]) for line in lines if line.startswith("pronoia_log_fsyncs_total")]
    return sum(found) if found else None


async def measure(name: str, command: str, options: argparse.Namespace, pages: Sequence[bytes]) -> Cost:
    """Run one agent until it is steady, then for the time asked, and return what it used."""
    peers = Peers(pages)
    runner, port = await peers.listen()
    folder = Path(tempfile.mkdtemp())
    (folder / "config.yml").write_text(configuration(port, options, "{norw}" not in command))
    write = f"http://127.0.0.1:{port}/api/v1/write"
    admin = free_port()
    places = {"config": folder / "config.yml", "write": write, "dir": folder, "admin": admin}
    filled = command.replace("{norw}", "").format(**places)
    process = await start(filled, folder)
    deadline = time.monotonic() + 60
    while peers.requests < 3 and time.monotonic() < deadline:
        await asyncio.sleep(0.2)
    await asyncio.sleep(options.interval * 3)
    synced = await count_fsyncs(admin)
    before, scrapes, began = usage(process.pid), peers.scrapes, time.monotonic()
    peers.counting = True
    await asyncio.sleep(options.seconds)
    after, seconds = usage(process.pid), time.monotonic() - began
    peers.counting = False
    synced_after = await count_fsyncs(admin)
    scrapes = peers.scrapes - scrapes
    await stop(process)
    await runner.cleanup()
    return Cost(
        name=name,
        scrapes=scrapes,
        samples=sum(map(count_series, peers.bodies)),
        requests=len(peers.bodies),
        seconds=seconds,
        cpu_s=after.cpu_s - before.cpu_s,
        peak_mib=after.peak_mib,
        wire_bytes=sum(map(len, peers.bodies)),
        written_bytes=after.written_bytes - before.written_bytes,
        fsyncs=None if synced is None or synced_after is None else synced_after - synced,
        log=(folder / "log").read_text()[-800:],
    )


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="bench.agents", description=__doc__)
    parser.add_argument("--series", type=int, default=100_000, help="series of one target's page")
    parser.add_argument("--targets", type=int, default=1)
    parser.add_argument("--churn", type=float, default=0.02, help="share of values that change between scrapes")
    parser.add_argument("--interval", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=40)
    parser.add_argument("agent", nargs="+", help="NAME=COMMAND")
    return parser.parse_args(arguments)


async def main(arguments: Sequence[str] | None = None) -> list[Cost]:
    """Measure each agent in turn and print a line for each."""
    chosen = options(arguments)
    pages = [page(chosen.series, number, chosen.churn) for number in range(6)]
    print(
        f"{chosen.targets} x {chosen.series} series, {len(pages[0]) / 1e6:.1f} MB a page, {chosen.churn:.0%} of values"
        f" change, every {chosen.interval} s",
        flush=True,
    )
    costs = []
    for agent in chosen.agent:
        name, _, command = agent.partition("=")
        costs.append(await measure(name, command, chosen, pages))
        print(costs[-1], flush=True)
    return costs


if __name__ == "__main__":
    asyncio.run(main())
