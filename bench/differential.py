"""Does a store fed by a sender hold what Prometheus holds when it scrapes the same pages itself?

Serves real exposition pages, lets one Prometheus scrape them (the reference) and the sender scrape them into another's
remote-write receiver, then compares every series and value at one moment, once with all series there and once after
half of each page's series have vanished, so that staleness is compared too.

    python -m bench.differential --pages FOLDER [--interval 3] "SENDER COMMAND with {config} and {dir}"

FOLDER holds *.prom files. The sender's configuration has all pages as jobs, `remote_write` and the cluster label c1.
"""

import argparse
import asyncio
import json
import math
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from bench.processes import free_port, start, stop

NOT_COMPARED = {
    "scrape_duration_seconds",
    "scrape_series_added",
    "scrape_timeout_seconds",
    "scrape_sample_limit",
    "scrape_body_size_bytes",
}
TEXT = "text/plain; version=0.0.4; charset=utf-8"

Stored = dict[tuple[tuple[str, str], ...], tuple[str, str | None]]
"""Label set without the cluster → (value as Prometheus writes it, the cluster label)."""


def half_of(page: bytes) -> bytes:
    """Leave every other sample out."""
    kept, samples = [], 0
    for line in page.split(b"\n"):
        if line and not line.startswith(b"#"):
            samples += 1
            if samples % 2:
                continue
        kept.append(line)
    return b"\n".join(kept)


def stored(port: int, at_s: float) -> Stored:
    """Read every series of a store as it is at one moment."""
    query = urllib.parse.urlencode({"query": '{__name__!=""}', "time": at_s})
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/query?{query}", timeout=120) as answer:
        result = json.load(answer)["data"]["result"]
    out: Stored = {}
    for series in result:
        labels = {name: value for name, value in series["metric"].items() if name != "cluster"}
        if labels["__name__"] not in NOT_COMPARED:
            out[tuple(sorted(labels.items()))] = (series["value"][1], series["metric"].get("cluster"))
    return out


@dataclass(frozen=True)
class Difference:
    """How a sender's store differs from the reference."""

    what: str
    series: int
    missing: list[str] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)
    different: list[str] = field(default_factory=list)
    without_cluster: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        return len(self.missing) + len(self.extra) + len(self.different) + len(self.without_cluster)

    def __str__(self) -> str:
        examples = [*self.missing[:3], *self.extra[:3], *self.different[:3], *self.without_cluster[:3]]
        return (
            f"{self.what}: {self.series} series in the reference; missing {len(self.missing)}, extra"
            f" {len(self.extra)}, different {len(self.different)}, without the cluster label"
            f" {len(self.without_cluster)}" + "".join(f"\n   {example}" for example in examples)
        )


def compare(what: str, reference: Stored, sent: Stored) -> Difference:
    """Compare two stores series by series; NaN equals NaN."""

    def same(one: str, other: str) -> bool:
        return one == other or (math.isnan(float(one)) and math.isnan(float(other)))

    return Difference(
        what,
        len(reference),
        missing=[f"missing {dict(k)} {reference[k][0]}" for k in reference if k not in sent],
        extra=[f"extra {dict(k)} {sent[k][0]}" for k in sent if k not in reference],
        different=[
            f"different {dict(k)} {reference[k][0]} {sent[k][0]}"
            for k in reference
            if k in sent and not same(reference[k][0], sent[k][0])
        ],
        without_cluster=[f"no cluster {dict(k)}" for k, (_, cluster) in sent.items() if cluster != "c1"],
    )


async def run(sender: str, pages: dict[str, bytes], *, interval_s: int, prometheus: str) -> list[Difference]:
    """Run both ways side by side and return the two comparisons."""
    state = {"half": False}
    halves = {name: half_of(body) for name, body in pages.items()}

    async def serve(request: web.Request) -> web.Response:
        body = (halves if state["half"] else pages)[request.match_info["name"]]
        return web.Response(body=body, headers={"Content-Type": TEXT})

    app = web.Application()
    app.router.add_get("/{name}", serve)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port, folder = runner.addresses[0][1], Path(tempfile.mkdtemp())
    reference, store = free_port(), free_port()
    jobs = "scrape_configs:\n" + "".join(
        f"- job_name: {name}\n  metrics_path: /{name}\n  static_configs: [{{targets: ['127.0.0.1:{port}']}}]\n"
        for name in pages
    )
    timing = f"scrape_interval: {interval_s}s, scrape_timeout: {interval_s}s, external_labels: {{cluster: c1}}"
    (folder / "reference.yml").write_text(f"global: {{{timing}}}\n{jobs}")
    (folder / "store.yml").write_text("global: {}\n")
    (folder / "sender.yml").write_text(
        f"global: {{{timing}}}\n{jobs}remote_write: [{{url: 'http://127.0.0.1:{store}/api/v1/write'}}]\n"
    )
    serving = (
        f"{prometheus} --config.file={{0}}.yml --storage.tsdb.path={folder}/{{0}} --web.listen-address=127.0.0.1:{{1}}"
    )
    running = [await start(serving.format("store", store) + " --web.enable-remote-write-receiver", folder, "store.log")]
    await asyncio.sleep(3)
    running.append(await start(serving.format("reference", reference), folder, "reference.log"))
    running.append(await start(sender.format(config=folder / "sender.yml", dir=folder), folder, "sender.log"))
    results = []
    try:
        for what in ("all series there", "half of them gone"):
            await asyncio.sleep(interval_s * 7)
            at_s = time.time() - 2 * interval_s
            results.append(
                compare(
                    what,
                    await asyncio.to_thread(stored, reference, at_s),
                    await asyncio.to_thread(stored, store, at_s),
                )
            )
            print(results[-1], flush=True)
            state["half"] = True
    finally:
        for process in reversed(running):
            await stop(process)
        await runner.cleanup()
    if not results[0].series or results[0].count:
        print((folder / "sender.log").read_text()[-1500:])
    return results


async def main(arguments: Sequence[str] | None = None) -> int:
    """Print the differences and return how many there are."""
    parser = argparse.ArgumentParser(prog="bench.differential", description=__doc__)
    parser.add_argument("--pages", type=Path, required=True)
    parser.add_argument("--interval", type=int, default=3)
    parser.add_argument("--prometheus", default="prometheus")
    parser.add_argument("sender")
    chosen = parser.parse_args(arguments)
    pages = {path.name: path.read_bytes() for path in sorted(chosen.pages.glob("*.prom"))}
    results = await run(chosen.sender, pages, interval_s=chosen.interval, prometheus=chosen.prometheus)
    count = sum(result.count for result in results)
    print(f"{count} differences")
    return count


if __name__ == "__main__":
    sys.exit(min(asyncio.run(main()), 1))
