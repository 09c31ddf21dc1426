"""What custom resources cost an agent: until their jobs are there, and until a change of one is.

    python -m bench.monitors [--monitors 500] [--namespaces 10]

Fills a real API server with ServiceMonitors that find nothing, and follows them in this process: time, CPU, memory,
and the longest that the event loop was held.
"""

import argparse
import asyncio
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp
from prometheus_client import CollectorRegistry

from agent.config import GlobalConfig
from agent.config.operator import OperatorConfig
from agent.discovery import Tools
from agent.discovery.operator.follow import OperatorJobs
from agent.targets import Targets
from bench.targets import rss_bytes
from pipeline.telemetry import DiscoveryMetrics, OperatorMetrics
from tests.agent.discovery.operator.cluster import Cluster
from tests.agent.discovery.operator.conftest import serve_kinds
from tests.servers.kubernetes import Kubernetes

PARALLEL = 16
CHANGES = 5
LOOK_S = 0.001


def monitor(number: int, app: str) -> str:
    """Return a ServiceMonitor like those of common charts."""
    return f"""
    kind: ServiceMonitor
    metadata: {{name: monitor-{number}}}
    spec:
      jobLabel: app.kubernetes.io/name
      selector: {{matchLabels: {{app.kubernetes.io/name: {app}, app.kubernetes.io/instance: {app}}}}}
      endpoints:
        - port: http-metrics
          interval: 30s
          relabelings: [{{sourceLabels: [__meta_kubernetes_pod_node_name], targetLabel: node}}]
          metricRelabelings: [{{sourceLabels: [__name__], regex: "go_.*|process_{number}_.*", action: drop}}]
    """


class Pulse:
    """The longest that the loop was held."""

    def __init__(self) -> None:
        self.longest_s = 0.0

    async def run(self) -> None:
        last_s = time.perf_counter()
        while True:
            await asyncio.sleep(LOOK_S)
            now_s = time.perf_counter()
            self.longest_s, last_s = max(self.longest_s, now_s - last_s - LOOK_S), now_s

    def take_ms(self) -> float:
        """Return it in milliseconds, and begin anew."""
        longest_s, self.longest_s = self.longest_s, 0.0
        return longest_s * 1000


async def fill(places: list[Cluster], monitors: int) -> None:
    """Create all monitors, spread over the namespaces."""
    turns = asyncio.Semaphore(PARALLEL)

    async def put(number: int) -> None:
        async with turns:
            await places[number % len(places)].put(monitor(number, f"app-{number}"))

    await asyncio.gather(*(put(number) for number in range(monitors)))


async def measure(server: Kubernetes, places: list[Cluster]) -> None:
    """Follow them, and say what it cost."""
    everywhere: dict[str, Any] = {"service_monitor_selector": {}, "service_monitor_namespace_selector": {}}
    section = OperatorConfig.model_validate(places[0].section(**everywhere))
    changed = asyncio.Event()
    async with aiohttp.ClientSession() as session:
        tools = Tools(session, DiscoveryMetrics(CollectorRegistry()))
        targets, pulse = Targets((), tools), Pulse()

        def took() -> None:
            targets.reload(jobs.jobs)
            changed.set()

        jobs = OperatorJobs(section, GlobalConfig(), tools, OperatorMetrics(CollectorRegistry()), took)
        async with asyncio.TaskGroup() as group:
            cpu_s, rss, began_s = time.process_time(), rss_bytes(), time.perf_counter()
            tasks = [group.create_task(work) for work in (targets.run(), pulse.run(), jobs.run())]
            await changed.wait()
            print(f"{len(jobs.jobs)} jobs after {time.perf_counter() - began_s:.2f} s")
            await asyncio.sleep(5)  # Discoveries begin.
            used_s, taken_mib = time.process_time() - cpu_s, (rss_bytes() - rss) / 2**20
            held_ms = pulse.take_ms()
            print(f"  {used_s:.2f} s CPU, {taken_mib:.0f} MiB, loop held for at most {held_ms:.0f} ms")
            took_s = []
            for number in range(CHANGES):
                changed.clear()
                began_s = time.perf_counter()
                await places[0].put(monitor(0, f"changed-{number}"))
                await changed.wait()
                took_s.append(time.perf_counter() - began_s)
            print(f"  a change after {max(took_s):.2f} s, loop held for at most {pulse.take_ms():.0f} ms")
            for task in tasks:
                task.cancel()


async def main() -> None:
    """Parse, fill, measure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--monitors", type=int, default=500)
    parser.add_argument("--namespaces", type=int, default=10)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        async with Kubernetes(Path(folder)) as server:
            await serve_kinds(server)
            places = [await Cluster.make(server) for _ in range(chosen.namespaces)]
            await fill(places, chosen.monitors)
            await measure(server, places)


if __name__ == "__main__":
    asyncio.run(main())
