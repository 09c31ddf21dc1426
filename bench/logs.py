"""What a log agent costs: CPU seconds a million lines, and lines a second, from files to a sink that acknowledges.

Writes files of CRI lines (about 200 bytes each), starts one agent at a time on them, waits until nothing more arrives,
and counts the distinct lines that did (Loki push as snappy protobuf, or OTLP).

    python -m bench.logs --lines 1000000 [--files 50] NAME=COMMAND ...

In a COMMAND, {dir} is a fresh folder with pods/*.log, and with pronoia.yml and promtail.yml, which both tail them with
the stage `cri`, keep positions on disk and push to the sink; {port} is the sink's.
"""

import argparse
import asyncio
import json
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import cramjam
from aiohttp import web

from bench.processes import Usage, free_port, start, stop, usage

PAD: Final = "lorem ipsum dolor sit amet consectetur adipiscing elit sed do eiusmod tempor incididunt ut labore et"
QUIET_S: Final = 6.0
FIRST_S: Final = 60.0
LINE: Final = re.compile(rb"id=(\d+-\d+) ")


@dataclass
class Sink:
    """Takes everything, keeps it for counting."""

    bodies: list[bytes] = field(default_factory=list)
    last_s: float = 0.0

    async def take(self, request: web.Request) -> web.Response:
        self.bodies.append(await request.read())
        self.last_s = time.monotonic()
        is_loki = "loki" in request.path
        return web.Response(status=204 if is_loki else 200, content_type="application/x-protobuf")

    async def has_all(self, began_s: float) -> None:
        """Return when nothing has come for a while."""
        while time.monotonic() < (self.last_s + QUIET_S if self.last_s else began_s + FIRST_S):
            await asyncio.sleep(0.2)

    def lines(self) -> tuple[int, int]:
        """Return how many distinct lines came, and how many came in all."""
        found, total = set[bytes](), 0
        for body in self.bodies:
            ids = LINE.findall(_plain(body))
            found.update(ids)
            total += len(ids)
        return len(found), total


def _plain(body: bytes) -> bytes:
    try:
        return bytes(cramjam.snappy.decompress_raw(body))
    except cramjam.DecompressionError:
        return body


@dataclass(frozen=True)
class Carried:
    """How one agent did."""

    name: str
    wanted: int
    distinct: int
    total: int
    took_s: float
    used: Usage
    wire_bytes: int
    log: str

    @property
    def cpu_s_per_million(self) -> float:
        return self.used.cpu_s / self.wanted * 1e6

    def __str__(self) -> str:
        return (
            f"{self.name:14s} {self.distinct} of {self.wanted} lines, {self.total - self.distinct} twice, at"
            f" {self.wanted / self.took_s / 1e3:6.0f} k/s  cpu {self.cpu_s_per_million:6.2f} s/M"
            f"  wire {self.wire_bytes / self.wanted:5.1f} B/line  written {self.used.written_bytes / self.wanted:5.1f}"
            f" B/line  peak rss {self.used.peak_mib:.0f} MiB" + ("" if self.total else self.log)
        )


def fill(folder: Path, files: int, lines: int) -> None:
    """Write the files that agents are to read."""
    pods = folder / "pods"
    pods.mkdir()
    for number in range(files):
        with (pods / f"app-{number}.log").open("w") as file:
            for line in range(lines // files):
                at = f"2026-11-21T10:{line // 60_000 % 60:02d}:{line // 1000 % 60:02d}.{line % 1000:03d}000000Z"
                file.write(f'{at} stdout F level=info id={number}-{line} msg="{PAD}"\n')


def configure(folder: Path, port: int) -> None:
    """Write what tells agents to tail the files."""
    job = {
        "job_name": "pods",
        "pipeline_stages": [{"cri": {}}],
        "static_configs": [
            {"targets": ["localhost"], "labels": {"job": "pods", "__path__": str(folder / "pods" / "*.log")}}
        ],
    }
    common = {"clients": [{"url": f"http://127.0.0.1:{port}/loki/api/v1/push"}], "scrape_configs": [job]}
    admin = free_port()
    ours = {"cluster": "c1", "admin": f"127.0.0.1:{admin}", "logs": common}
    positions = {"filename": str(folder / "positions.yaml")}
    promtail = {"server": {"disable": True}, "positions": positions, **common}
    # JSON is YAML.
    (folder / "pronoia.yml").write_text(json.dumps(ours))
    (folder / "promtail.yml").write_text(json.dumps(promtail))


async def measure(name: str, command: str, chosen: argparse.Namespace) -> Carried:
    """Let one agent carry everything and return how it did."""
    with tempfile.TemporaryDirectory() as at:
        folder, sink = Path(at), Sink()
        fill(folder, chosen.files, chosen.lines)
        app = web.Application(client_max_size=1 << 30)
        app.router.add_post("/{any:.*}", sink.take)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port = runner.addresses[0][1]
        configure(folder, port)
        began_s = time.monotonic()
        agent = await start(command.format(dir=folder, port=port), folder, "log")
        await sink.has_all(began_s)
        used = usage(agent.pid)
        await stop(agent)
        await runner.cleanup()
        distinct, total = sink.lines()
        return Carried(
            name=name,
            wanted=chosen.lines // chosen.files * chosen.files,
            distinct=distinct,
            total=total,
            took_s=max(sink.last_s - began_s, 0.1),
            used=used,
            wire_bytes=sum(map(len, sink.bodies)),
            log=(folder / "log").read_text()[-800:],
        )


async def main(arguments: Sequence[str] | None = None) -> list[Carried]:
    """Measure each agent in turn and print a line for each."""
    parser = argparse.ArgumentParser(prog="bench.logs", description=__doc__)
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--files", type=int, default=50)
    parser.add_argument("agent", nargs="+", help="NAME=COMMAND")
    chosen = parser.parse_args(arguments)
    results = []
    for agent in chosen.agent:
        name, _, command = agent.partition("=")
        results.append(await measure(name, command, chosen))
        print(results[-1], flush=True)
    return results


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
