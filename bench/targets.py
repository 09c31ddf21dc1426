"""What targets cost an agent before any is scraped: memory for each, and CPU when all, some or none have changed.

    python -m bench.targets [--targets 100000] [--per-group 50]

Files of `file_sd_configs` name the targets; six rules relabel them, of which one drops every tenth. CPU is the
process's own, so that waiting for the next look at the files does not count.
"""

import argparse
import asyncio
import gc
import json
import os
import tempfile
import time
from pathlib import Path

import aiohttp
from prometheus_client import CollectorRegistry

from agent.config import GlobalConfig, ScrapeConfig
from agent.discovery import Tools
from agent.targets import Targets
from pipeline.telemetry import DiscoveryMetrics

FILES = 20
RULES = (
    {"source_labels": ["__meta_shard"], "regex": "9", "action": "drop"},
    {"source_labels": ["__address__"], "regex": "([^:]+):.*", "target_label": "host", "replacement": "$1"},
    {"source_labels": ["__meta_team"], "target_label": "team"},
    {"regex": "__meta_label_(.+)", "action": "labelmap"},
    {"source_labels": ["__meta_zone", "__meta_cluster"], "separator": "/", "target_label": "zone"},
    {"regex": "spare_.*", "action": "labeldrop"},
)


def rss_bytes() -> int:
    """Return the process's resident memory (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def write(path: Path, number: int, targets: int, per_group: int, shift: int = 0) -> None:
    """Write one file of groups; another `shift` makes its first group another one."""
    groups = []
    for first in range(0, targets, per_group):
        addresses = [
            f"host-{number}-{n + (shift if first == 0 else 0)}.example:9100" for n in range(first, first + per_group)
        ]
        service = f"service-{number}-{first}"
        labels = {"__meta_team": f"team-{first % 30}", "__meta_zone": f"z{number % 3}", "__meta_cluster": "c1"}
        more = {"__meta_shard": str(first // per_group % 10), "__meta_label_app": service, "__meta_label_tier": "web"}
        groups.append({"targets": addresses, "labels": {**labels, **more, "spare_a": "1", "spare_b": "2"}})
    path.write_text(json.dumps(groups))


class Meter:
    """Says what came to pass since it was last asked."""

    def __init__(self) -> None:
        self.cpu_s, self.rss = time.process_time(), rss_bytes()

    def tell(self, what: str, targets: int) -> None:
        """Print the CPU and memory since the last call."""
        gc.collect()
        cpu_s, rss = time.process_time(), rss_bytes()
        used_s, taken = cpu_s - self.cpu_s, (rss - self.rss) / targets
        print(f"{what:<44} {used_s:7.2f} s CPU {used_s * 1e6 / targets:7.1f} µs and {taken:6.0f} B a target")
        self.cpu_s, self.rss = time.process_time(), rss_bytes()


async def measure(folder: Path, count: int, per_group: int) -> None:
    """Discover, then change one group, then nothing, and say what each costs."""
    each = count // FILES
    for number in range(FILES):
        write(folder / f"{number:02}.json", number, each, per_group)
    job = {"job_name": "many", "file_sd_configs": [{"files": [f"{folder}/*.json"], "refresh_interval": "6s"}]}
    config = ScrapeConfig.model_validate({**job, "relabel_configs": RULES}).inherit(GlobalConfig())
    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as tasks:
        targets = Targets([config], Tools(session, DiscoveryMetrics(CollectorRegistry())))
        meter = Meter()
        running = tasks.create_task(targets.run())
        changes = targets.changes()
        await anext(changes)
        found = targets.by_job["many"]
        meter.tell(f"{len(found.active)} found, {found.dropped_count} dropped", count)
        for shift in (1, 2):
            write(folder / "00.json", 0, each, per_group, shift * per_group * 1000)
            meter = Meter()
            await anext(changes)
            meter.tell("one group of one file has changed", count)
        await asyncio.sleep(6.5)
        meter.tell("all files were read again, none has changed", count)
        running.cancel()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--targets", type=int, default=100_000)
    parser.add_argument("--per-group", type=int, default=50)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        asyncio.run(measure(Path(made), arguments.targets, arguments.per_group))
