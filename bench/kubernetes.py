"""What following a cluster costs: memory and CPU of an agent that discovers pods on a real API server.

Fills an API server with pods, then runs one agent at a time: how much CPU until it knows them all, then how much while
pods change. All pods but a few are dropped by a rule, so that scraping costs nothing to speak of.

    python -m bench.kubernetes --pods 10000 --changes 1000 NAME=COMMAND ...

In COMMAND, {config} is a Prometheus configuration file, {dir} a fresh folder, {port} a free port for its own pages.
"""

import argparse
import asyncio
import random
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.agents import Peers
from bench.processes import free_port, resident_mib, start, stop, usage
from tests.servers.kubernetes import ADMIN_TOKEN, Kubernetes

SCRAPED = 10
"""So many pods are served by this process; that all of them were scraped says that an agent knows the cluster."""
PARALLEL = 16


def pod(number: int) -> dict[str, Any]:
    """Make a pod as a Deployment's are: some 5 KB of JSON."""
    app = f"app-{number % 200}"
    scraped = number < SCRAPED
    containers = [
        {
            "name": name,
            "image": f"registry.example/team/{name}:1.2.3",
            "ports": [{"name": "metrics", "containerPort": 9100}] if name == "main" else [],
            "env": [{"name": f"VARIABLE_{k}", "value": f"value-{k}"} for k in range(15)],
            "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"cpu": "1", "memory": "1Gi"}},
            "livenessProbe": {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 10},
        }
        for name in ("main", "sidecar")
    ]
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "controller": True}
    labels = {f"app.kubernetes.io/{name}": f"{app}-{name}" for name in ("name", "instance", "version", "component")}
    return {
        "metadata": {
            "name": f"{app}-7d4b9c6f5d-{number:05x}",
            "namespace": f"ns-{number % 20}",
            "labels": {**labels, "pod-template-hash": "7d4b9c6f5d", "team": f"team-{number % 20}"},
            "annotations": {"prometheus.io/scrape": "true" if scraped else "false", "change": "0"},
            "ownerReferences": [{**owner, "name": f"{app}-7d4b9c6f5d", "uid": app}],
        },
        "spec": {"nodeName": f"node-{number % 100}", "containers": containers},
        "status": {
            "phase": "Running",
            "podIP": f"127.0.1.{number + 1}" if scraped else f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}",
            "hostIP": f"10.128.0.{number % 100 + 1}",
            "conditions": [{"type": kind, "status": "True"} for kind in ("Initialized", "Ready", "PodScheduled")],
            "containerStatuses": [
                {
                    "name": container["name"],
                    "image": container["image"],
                    "imageID": f"{container['image']}@sha256:{number:064x}",
                    "containerID": f"containerd://{number:064x}",
                    "ready": True,
                    "restartCount": 0,
                }
                for container in containers
            ],
        },
    }


async def fill(cluster: Kubernetes, pods: int) -> None:
    """Create all pods, each with its status."""
    for namespace in range(20):
        await cluster.ensure_namespace(f"ns-{namespace}")
    numbers = iter(range(pods))

    async def create() -> None:
        for number in numbers:
            item = pod(number)
            path = f"/api/v1/namespaces/{item['metadata']['namespace']}/pods"
            made = await cluster.request("POST", path, item)
            made["status"] = item["status"]
            await cluster.request("PUT", f"{path}/{item['metadata']['name']}/status", made)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(PARALLEL):
            tasks.create_task(create())


async def change(cluster: Kubernetes, pods: int, changes_a_minute: float, seconds: float) -> int:
    """Change one pod after the other at a steady pace, and return how many were changed."""
    chosen, began, done = random.Random(0), time.monotonic(), 0
    while (elapsed := time.monotonic() - began) < seconds:
        if done / changes_a_minute * 60 > elapsed:
            await asyncio.sleep(0.01)
            continue
        metadata = pod(chosen.randrange(SCRAPED, pods))["metadata"]
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
        body = {"metadata": {"annotations": {"change": str(done)}}}
        await cluster.request("PATCH", path, body, content_type="application/merge-patch+json")
        done += 1
    return done


@dataclass(frozen=True)
class Cost:
    """What one agent used: `first_cpu_s` until it knew all pods, `cpu_s` in `seconds` of changes."""

    name: str
    first_cpu_s: float
    first_s: float
    seconds: float
    changes: int
    cpu_s: float
    resident_mib: float
    peak_mib: float
    log: str

    def __str__(self) -> str:
        return (
            f"{self.name:12s} first {self.first_cpu_s:6.2f} s cpu in {self.first_s:5.1f} s"
            f"  then {self.changes} changes in {self.seconds:.0f} s: {self.cpu_s:6.2f} s cpu"
            f" = {self.cpu_s / self.seconds:6.2%} of a core"
            f"  rss {self.resident_mib:4.0f} MiB, peak {self.peak_mib:4.0f} MiB"
        )

    def ratios(self, other: "Cost") -> str:
        """Say what this one used in shares of what another did."""
        pairs = (
            ("first cpu", self.first_cpu_s, other.first_cpu_s),
            ("cpu", self.cpu_s, other.cpu_s),
            ("rss", self.resident_mib, other.resident_mib),
            ("peak", self.peak_mib, other.peak_mib),
        )
        return f"  {self.name} / {other.name}: " + ", ".join(f"{name} {a / b:.2f}" for name, a, b in pairs if b)


def configuration(cluster: Kubernetes, page: int, sink: int) -> str:
    """Write the configuration that every agent gets: the usual annotation, at the exporter's port."""
    return f"""global: {{scrape_interval: 15s, external_labels: {{cluster: c1}}}}
scrape_configs:
- job_name: pods
  kubernetes_sd_configs:
  - role: pod
    api_server: {cluster.url}
    authorization: {{credentials: {ADMIN_TOKEN}}}
    tls_config: {{ca_file: {cluster.ca_file}}}
  relabel_configs:
  - {{source_labels: [__meta_kubernetes_pod_annotation_prometheus_io_scrape], action: keep, regex: "true"}}
  - {{source_labels: [__meta_kubernetes_pod_container_port_name], action: keep, regex: metrics}}
  - {{source_labels: [__address__], regex: "(.*):.*", target_label: __address__, replacement: "127.0.0.1:{page}"}}
  - {{source_labels: [__meta_kubernetes_pod_name], target_label: __metrics_path__, replacement: "/$1"}}
  - {{action: labelmap, regex: __meta_kubernetes_pod_label_(.+)}}
  - {{source_labels: [__meta_kubernetes_namespace], target_label: namespace}}
  - {{source_labels: [__meta_kubernetes_pod_name], target_label: pod}}
remote_write: [{{url: "http://127.0.0.1:{sink}/api/v1/write"}}]
"""


async def measure(name: str, command: str, cluster: Kubernetes, options: argparse.Namespace) -> Cost:
    """Run one agent until it knows the cluster, then while pods change, and return what it used."""
    peers = Peers([b"a_metric 1\n"])
    runner, port = await peers.listen()
    folder = Path(tempfile.mkdtemp())
    (folder / "config.yml").write_text(configuration(cluster, port, port))
    began = time.monotonic()
    process = await start(
        command.format(config=folder / "config.yml", dir=folder, port=free_port(), admin=free_port()), folder
    )
    try:
        while peers.scrapes < SCRAPED and time.monotonic() < began + 120 and process.returncode is None:
            await asyncio.sleep(0.1)
        first_s = time.monotonic() - began
        first = usage(process.pid)
        await asyncio.sleep(options.settle)
        before, steady = usage(process.pid), time.monotonic()
        changes = await change(cluster, options.pods, options.changes, options.seconds)
        after, seconds = usage(process.pid), time.monotonic() - steady
        resident = resident_mib(process.pid)
    finally:
        await stop(process)
        await runner.cleanup()
    log = (folder / "log").read_text()[-800:] if peers.scrapes < SCRAPED else ""
    return Cost(name, first.cpu_s, first_s, seconds, changes, after.cpu_s - before.cpu_s, resident, after.peak_mib, log)


def read_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="bench.kubernetes", description=__doc__)
    parser.add_argument("--pods", type=int, default=10_000)
    parser.add_argument("--changes", type=float, default=1_000, help="changed pods a minute")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--settle", type=float, default=20.0, help="seconds from the first scrapes to the measure")
    parser.add_argument("agent", nargs="+", help="NAME=COMMAND")
    return parser.parse_args(arguments)


async def main(arguments: Sequence[str] | None = None) -> list[Cost]:
    """Measure each agent in turn on the same API server; print a line for each, then the first's shares."""
    options, costs = read_options(arguments), list[Cost]()
    with tempfile.TemporaryDirectory() as folder:
        async with Kubernetes(Path(folder)) as cluster:
            began = time.monotonic()
            await fill(cluster, options.pods)
            print(f"{options.pods} pods, made in {time.monotonic() - began:.0f} s", flush=True)
            for agent in options.agent:
                name, _, command = agent.partition("=")
                costs.append(await measure(name, command, cluster, options))
                print(costs[-1], costs[-1].log and f"\n{costs[-1].log}", flush=True)
    for other in costs[1:]:
        print(costs[0].ratios(other), flush=True)
    return costs


if __name__ == "__main__":
    asyncio.run(main())
