"""What sharing asks of an API server: while all is well, when a worker dies, and when the API server comes back.

The agents are simulated: each is the code that an agent shares by (`agent.sharing.worker`), with a session, a watch and
connections of its own, but many of them to a process, and nothing else of an agent. The API server is a real one.

    python -m bench.sharing --agents 100 --workers 2 --lease 15

A watch ends after five to ten minutes, longer than is measured here: that adds the number of agents / 450 requests/s.
For comparison it lets the same number of clients poll: a list of the group's Leases every third of a lease, which is
what noticing a death in the same time would take without watches.
"""

import argparse
import asyncio
import random
import signal
import ssl
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from agent.discovery.kubernetes import ApiServer, Cluster, Timing
from agent.discovery.kubernetes.resources import LEASES
from agent.sharing.lease import NAME_LABEL
from agent.sharing.view import Terms
from agent.sharing.worker import Worker
from bench.processes import usage
from pipeline.http_config import HttpClientConfig
from pipeline.telemetry import SharingMetrics
from tests.servers.kubernetes import ADMIN_TOKEN, Kubernetes

NAMESPACE, PROCESSES = "monitoring", 4
RULES = [{"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["*"]}]


@dataclass(frozen=True)
class Load:
    """What the API server has counted of Leases so far, by verb; watches that are open, and events sent to them."""

    at_s: float
    requests: dict[str, float]
    watches: float
    events: float
    cpu_s: float

    def since(self, before: "Load") -> str:
        """Return what happened in between, a second."""
        seconds = self.at_s - before.at_s
        verbs = {verb: (count - before.requests.get(verb, 0)) / seconds for verb, count in self.requests.items()}
        shown = ", ".join(f"{verb} {rate:.2f}" for verb, rate in sorted(verbs.items()) if rate > 0)
        return (
            f"{sum(verbs.values()):6.2f} requests/s ({shown}), {self.watches:.0f} watches open,"
            f" {(self.events - before.events) / seconds:.1f} events/s,"
            f" API server {100 * (self.cpu_s - before.cpu_s) / seconds:.1f} % of a core"
        )


async def read_load(kubernetes: Kubernetes, session: aiohttp.ClientSession) -> Load:
    """Read the API server's own metrics; its own Leases count too, and are measured before anything starts."""
    async with session.get(f"{kubernetes.url}/metrics", headers={"Authorization": f"Bearer {ADMIN_TOKEN}"}) as answer:
        text = await answer.text()
    requests, watches, events = dict[str, float](), 0.0, 0.0
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = sample.labels
            if labels.get("resource") != "leases":
                continue
            if sample.name == "apiserver_request_total":
                requests[labels["verb"]] = requests.get(labels["verb"], 0.0) + sample.value
            elif sample.name == "apiserver_longrunning_requests":
                watches += sample.value
            elif sample.name == "apiserver_watch_events_total":
                events += sample.value
    return Load(time.monotonic(), requests, watches, events, usage(kubernetes.process.pid).cpu_s)


async def share(number: int, options: argparse.Namespace, server: ApiServer) -> None:
    """Be one agent."""

    async def nothing() -> None:
        return None

    worker = Worker(
        "bench",
        Terms(f"agent-{number}/{random.randrange(2**32):x}", options.workers, options.lease),
        server,
        NAMESPACE,
        SharingMetrics(CollectorRegistry()),
        seed="c",
        changed=lambda: print(f"{time.time():.3f} agent-{number} {sorted(worker.tenures)}", flush=True),
        give_up=nothing,
    )
    await worker.run()


async def poll(options: argparse.Namespace, server: ApiServer) -> None:
    """Be one agent that would poll."""
    await asyncio.sleep(random.uniform(0, options.lease / 3))
    while True:
        params = {"labelSelector": f"{NAME_LABEL}=bench", "resourceVersion": "0"}
        await server.request("GET", LEASES.path(NAMESPACE), params=params)
        await asyncio.sleep(options.lease / 3 * random.uniform(0.9, 1.1))


async def be_clients(options: argparse.Namespace) -> None:
    """Be some of the agents, in one process."""
    http = HttpClientConfig.model_validate({"bearer_token": options.token, "tls_config": {"ca_file": options.ca}})
    cluster = Cluster(options.url, http)
    lease_s = options.lease
    timing = Timing(answer_s=max(2.0, lease_s / 3), silence_s=2.0 * lease_s, backoff_s=0.3, max_backoff_s=lease_s)
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
        for number in range(options.first, options.first + options.agents):
            session = await stack.enter_async_context(aiohttp.ClientSession())
            server = ApiServer(lambda: cluster, session, timing)
            tasks.create_task(poll(options, server) if options.poll else share(number, options, server))


async def start_clients(
    options: argparse.Namespace, kubernetes: Kubernetes, token: str, folder: Path, *, polling: bool
) -> list[asyncio.subprocess.Process]:
    """Start all agents, spread over a few processes; each tells in a file what its agents take and lose."""
    each = -(-options.agents // PROCESSES)
    processes = []
    for number in range(PROCESSES):
        count = min(each, options.agents - number * each)
        arguments = ["--clients", "--first", str(number * each), "--agents", str(count), "--lease", str(options.lease)]
        arguments += ["--workers", str(options.workers), "--url", kubernetes.url, "--ca", str(kubernetes.ca_file)]
        arguments += ["--token", token, *(["--poll"] if polling else [])]
        with (folder / f"clients-{number}").open("wb") as out:
            command = [sys.executable, "-m", "bench.sharing", *arguments]
            processes.append(await asyncio.create_subprocess_exec(*command, stdout=out, stderr=out))
    return processes


async def end(processes: list[asyncio.subprocess.Process]) -> None:
    """End them all."""
    for process in processes:
        if process.returncode is None:
            process.kill()
        await process.wait()


def holders(folder: Path) -> dict[int, tuple[float, int]]:
    """Return who took each slot last: when, and in which process."""
    found: dict[int, tuple[float, int]] = {}
    for number in range(PROCESSES):
        for line in (folder / f"clients-{number}").read_text().splitlines():
            at_s, _, slots = line.split(" ", 2)
            for slot in [int(slot) for slot in slots.strip("[]").split(",") if slot]:
                found[slot] = max(found.get(slot, (0.0, 0)), (float(at_s), number))
    return found


async def measure(options: argparse.Namespace, kubernetes: Kubernetes, token: str, folder: Path) -> None:
    """Start, be quiet, kill, and tell each."""
    trust = ssl.create_default_context(cafile=kubernetes.ca_file)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trust)) as session:
        before = await read_load(kubernetes, session)
        await asyncio.sleep(options.seconds)
        idle = await read_load(kubernetes, session)
        print(f"nobody            {idle.since(before)}", flush=True)
        processes = await start_clients(options, kubernetes, token, folder, polling=False)
        try:
            await asyncio.sleep(options.lease)
            settled = await read_load(kubernetes, session)
            print(f"{options.agents} agents start  {settled.since(idle)}", flush=True)
            await asyncio.sleep(options.seconds)
            quiet = await read_load(kubernetes, session)
            print(f"{options.agents} agents        {quiet.since(settled)}", flush=True)
            victim = holders(folder)[0][1]
            killed_s = time.time()
            processes[victim].send_signal(signal.SIGKILL)
            await asyncio.sleep(2 * options.lease)
            after = await read_load(kubernetes, session)
            taken_s = max(at_s for at_s, _ in holders(folder).values()) - killed_s
            died = -(-options.agents // PROCESSES)
            print(f"{died} die, a worker too {after.since(quiet)}; taken over after {taken_s:.1f} s", flush=True)
            await kubernetes.kill()
            await asyncio.sleep(2 * options.lease)
            await kubernetes.restart()
            nothing = Load(time.monotonic(), {}, 0.0, 0.0, usage(kubernetes.process.pid).cpu_s)
            await asyncio.sleep(options.lease)
            back = await read_load(kubernetes, session)
            print(f"it comes back     {back.since(nothing)}", flush=True)
        finally:
            await end(processes)
        before = await read_load(kubernetes, session)
        processes = await start_clients(options, kubernetes, token, folder, polling=True)
        try:
            await asyncio.sleep(options.lease)
            begun = await read_load(kubernetes, session)
            await asyncio.sleep(options.seconds)
            polled = await read_load(kubernetes, session)
            print(f"{options.agents} would poll    {polled.since(begun)}", flush=True)
        finally:
            await end(processes)


async def main(argv: list[str]) -> None:
    """Measure, or be some of the agents that are measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", type=int, default=100)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--lease", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=30.0, help="how long each phase is measured")
    for name in ("--url", "--ca", "--token"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    parser.add_argument("--first", type=int, help=argparse.SUPPRESS)
    for name in ("--clients", "--poll"):
        parser.add_argument(name, action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.clients:
        await be_clients(options)
        return
    with tempfile.TemporaryDirectory() as folder:
        async with Kubernetes(Path(folder) / "kubernetes") as kubernetes:
            await kubernetes.ensure_namespace(NAMESPACE)
            token = await kubernetes.token("agent", RULES, namespace=NAMESPACE)
            await measure(options, kubernetes, token, Path(folder))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
