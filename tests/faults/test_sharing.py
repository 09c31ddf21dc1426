"""Three agents share 300 targets of a cluster; one is killed with -9, another is cut off from the API server.

Then one is stopped for a while, as a machine under pressure does it, and one is restarted in order. The targets judge:
how long each was left, who asked it, and when. The store is judged by what the targets served.
"""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web
from prometheus_client.parser import text_string_to_metric_families

from tests.agent.sharing.test_worker import RULES
from tests.e2e.exporter import Exporter, Target
from tests.e2e.judge import judge, settled
from tests.e2e.processes import Member, until
from tests.servers.kubernetes import Kubernetes
from tests.servers.processes import free_port
from tests.servers.prometheus import Prometheus
from tests.servers.proxy import TcpProxy

pytestmark = [pytest.mark.faults, pytest.mark.kubernetes, pytest.mark.prometheus]

TARGETS, SERIES, INTERVAL_S, TIMEOUT_S = 300, 5, 10.0, 2.0
LEASE_S = 4.0
"""What follows from the interval where the file names no lease."""
AGENTS = ("a", "b", "c")


@dataclass
class WatchfulExporter(Exporter):
    """An exporter that notes who asked, and when."""

    asked: dict[str, list[tuple[float, str]]] = field(default_factory=dict)

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        if not self.frozen:
            name = request.match_info["name"]
            self.asked.setdefault(name, []).append((time.monotonic(), request.headers["X-Agent"]))
        return await super()._serve(request)


@dataclass
class Scene:
    """Everything that runs."""

    kubernetes: Kubernetes
    prometheus: Prometheus
    exporter: WatchfulExporter
    agents: dict[str, Member]
    proxies: dict[str, TcpProxy]
    moments: list[tuple[str, float]] = field(default_factory=list)
    """Who was killed or stopped, and when."""
    watches_before: dict[str, float] = field(default_factory=dict)
    """The API server's own."""

    async def watches(self) -> dict[str, float]:
        """Return how many watches of each resource are open, as the API server counts them."""
        text = await self.kubernetes.text("/metrics")
        found: dict[str, float] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == "apiserver_longrunning_requests" and sample.labels["verb"] == "WATCH":
                    resource = sample.labels["resource"]
                    found[resource] = found.get(resource, 0.0) + sample.value
        return found

    async def watches_are(self, **expected: int) -> None:
        """Wait until the agents have these watches open."""
        now: dict[str, float] = {}

        async def are() -> bool:
            counted = await self.watches()
            now.update({name: counted.get(name, 0.0) - self.watches_before.get(name, 0.0) for name in expected})
            return now == expected

        await until(are, f"{expected} watches: {now}")

    async def kill(self, name: str) -> None:
        """kill -9."""
        await self.agents[name].process.kill()
        self.moments.append((name, time.monotonic()))

    def pause(self, name: str) -> None:
        """Let an agent stand still, and notice nothing of it."""
        self.moments.append((name, time.monotonic()))
        os.kill(self.agents[name].process.pid, signal.SIGSTOP)

    def resume(self, name: str) -> None:
        """Let it go on."""
        os.kill(self.agents[name].process.pid, signal.SIGCONT)

    def asked_by(self, name: str, *, after_s: float) -> int:
        """Return how often an agent has scraped shared targets since then."""
        asked = (each for asked in self.asked_shared().values() for each in asked)
        return sum(1 for at_s, who in asked if who == name and at_s > after_s)

    def asked_shared(self) -> dict[str, list[tuple[float, str]]]:
        """Return the scrapes of each shared target, without those of the nodes' own pods."""
        return {name: asked for name, asked in self.exporter.asked.items() if not name.startswith("on-")}

    async def held(self) -> dict[str, list[int]]:
        """Return the slots of each agent that answers."""
        held = {}
        for name, member in self.agents.items():
            status, text = 0, ""
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):  # One that stands still takes connections, and answers nothing.
                    status, text = await member.get("/api/v1/sharing")
            held[name] = yaml.safe_load(text)["data"]["held"] if status == 200 else []
        return held

    async def holders(self, *names: str) -> list[str]:
        """Wait until exactly these agents (any two, if none is named) hold a slot each; return who does."""
        found: list[str] = []

        async def spread() -> bool:
            held = {name: slots for name, slots in (await self.held()).items() if slots}
            found[:] = sorted(held)
            return sorted(held.values()) == [[0], [1]] and set(names) <= set(held)

        await until(spread, f"slots are held by {names or 'two'}")
        return found

    def gaps_s(self) -> dict[str, float]:
        """Return the longest time that each shared target was left."""
        return {
            name: max(after - before for (before, _), (after, _) in pairwise(asked))
            for name, asked in self.asked_shared().items()
        }

    def overlaps_s(self) -> list[float]:
        """Return for each target that two agents scraped at a time for how long they did."""
        overlaps = []
        for asked in self.exporter.asked.values():
            handed: list[tuple[float, str]] = []
            for at_s, agent in asked:
                earlier = [begun for begun, who in handed if who == agent]
                if earlier and handed[-1][1] != agent and (at_s - handed[-1][0]) < 2 * LEASE_S:
                    overlaps.append(at_s - handed[-1][0])
                if not handed or handed[-1][1] != agent:
                    handed.append((at_s, agent))
        return overlaps


def kubeconfig(folder: Path, kubernetes: Kubernetes, port: int, token: str) -> Path:
    path = folder / f"kubeconfig-{port}.yml"
    cluster = {"server": f"https://127.0.0.1:{port}", "certificate-authority": str(kubernetes.ca_file)}
    content = {
        "current-context": "x",
        "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x", "namespace": "monitoring"}}],
        "clusters": [{"name": "x", "cluster": cluster}],
        "users": [{"name": "x", "user": {"token": token}}],
    }
    path.write_text(yaml.safe_dump(content))
    return path


def agent_config(name: str, exporter_port: int, access: Path, write_url: str, admin: int) -> dict[str, Any]:
    services: dict[str, Any] = {
        "job_name": "services",
        "kubernetes_sd_configs": [{"role": "service", "kubeconfig_file": str(access)}],
        "http_headers": {"X-Agent": {"values": [name]}},
        "relabel_configs": [
            {"source_labels": ["__meta_kubernetes_service_label_shared"], "regex": "yes", "action": "keep"},
            {
                "source_labels": ["__meta_kubernetes_service_name"],
                "target_label": "__metrics_path__",
                "replacement": "/$1",
            },
            {"source_labels": ["__meta_kubernetes_service_name"], "target_label": "instance"},
            {"target_label": "__address__", "replacement": f"127.0.0.1:{exporter_port}"},
        ],
    }
    pods: dict[str, Any] = {
        "job_name": "pods",
        "kubernetes_sd_configs": [{"role": "pod", "kubeconfig_file": str(access)}],
        "http_headers": {"X-Agent": {"values": [name]}},
        "relabel_configs": [
            {"source_labels": ["__meta_kubernetes_pod_name"], "target_label": "__metrics_path__", "replacement": "/$1"},
            {"source_labels": ["__address__"], "target_label": "__address__", "replacement": f"$1:{exporter_port}"},
        ],
    }
    return {
        "global": {"scrape_interval": f"{INTERVAL_S:.0f}s", "scrape_timeout": f"{TIMEOUT_S:.0f}s"},
        "scrape_configs": [services, pods],
        "sharing": {"kubeconfig_file": str(access), "node_name": f"node-{name}"},
        "remote_write": [{"url": write_url}],
        "cluster": "c1",
        "agent": name,
        "admin": f"127.0.0.1:{admin}",
    }


def pod_on(agent: str) -> dict[str, Any]:
    """Return a pod of an agent's node."""
    spec = {"nodeName": f"node-{agent}", "containers": [{"name": "x", "image": "x"}]}
    status = {"phase": "Running", "podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}]}
    return {"kind": "Pod", "metadata": {"name": f"on-{agent}", "namespace": "shop"}, "spec": spec, "status": status}


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with AsyncExitStack() as stack:
        kubernetes = await stack.enter_async_context(Kubernetes(tmp_path / "kubernetes"))
        prometheus = await stack.enter_async_context(Prometheus(tmp_path / "prometheus", out_of_order_time_window="1d"))
        names = [f"t{n}" for n in range(TARGETS)]
        own = [f"on-{name}" for name in AGENTS]
        exporter = WatchfulExporter({name: Target(name, SERIES) for name in (*names, *own)})
        await stack.enter_async_context(exporter)
        for name in names:
            metadata = {"name": name, "namespace": "shop", "labels": {"shared": "yes"}}
            await kubernetes.apply({"kind": "Service", "metadata": metadata, "spec": {"ports": [{"port": 80}]}})
        for name in AGENTS:
            await kubernetes.apply(pod_on(name))
        await kubernetes.ensure_namespace("monitoring")
        reading = {"apiGroups": [""], "resources": ["services", "pods"], "verbs": ["list", "watch"]}
        token = await kubernetes.token("agent", [*RULES, reading], namespace="monitoring")
        agents, proxies = {}, {}
        for name in AGENTS:
            proxy = proxies[name] = await stack.enter_async_context(TcpProxy(kubernetes.port))
            admin = free_port()
            access = kubeconfig(tmp_path, kubernetes, proxy.port, token)
            config = agent_config(name, exporter.port, access, prometheus.write_url, admin)
            agents[name] = Member(tmp_path / name, "agent", config, admin)
            stack.push_async_callback(agents[name].process.kill)
        made = Scene(kubernetes, prometheus, exporter, agents, proxies)
        before = await made.watches()
        await asyncio.gather(*(agent.start() for agent in agents.values()))
        made.watches_before = before
        yield made


async def every_target_was_asked(scene: Scene, times: int) -> None:
    """Wait until each target was scraped so many times from now on."""
    shared = [name for name in scene.exporter.targets if not name.startswith("on-")]
    before = {name: len(scene.exporter.asked.get(name, ())) for name in shared}

    async def asked() -> bool:
        return all(len(scene.exporter.asked.get(name, ())) >= before[name] + times for name in before)

    await until(asked, f"every target is scraped {times} times", deadline_s=INTERVAL_S * (times + 3))


async def test_targets_are_neither_left_nor_doubled_whatever_becomes_of_their_agent(scene: Scene) -> None:
    try:
        first, second = await scene.holders()
        (third,) = set(AGENTS) - {first, second}
        await every_target_was_asked(scene, 1)
        await scene.watches_are(services=2, pods=3, leases=3)

        await scene.kill(first)
        await scene.holders(second, third)
        await every_target_was_asked(scene, 1)
        await scene.agents[first].start()  # As its DaemonSet would: what was on its disk is sent.

        cut_s = time.monotonic()
        scene.proxies[second].cut()
        await scene.holders(first, third)
        await every_target_was_asked(scene, 2)
        scene.proxies[second].mend()
        assert scene.asked_by(second, after_s=cut_s + LEASE_S) == 0, "who cannot renew stops before its lease is over"

        scene.pause(third)
        await scene.holders(first, second)
        resumed_s = time.monotonic()
        scene.resume(third)
        await every_target_was_asked(scene, 1)
        assert scene.asked_by(third, after_s=resumed_s) == 0, "whose time was over while it was stopped notices first"

        await scene.agents[first].process.stop()
        await scene.holders(second, third)
        await every_target_was_asked(scene, 1)
        await scene.watches_are(services=2, pods=2, leases=2)
        scene.exporter.frozen = True

        gaps, overlaps = scene.gaps_s(), scene.overlaps_s()
        print(f"longest gap {max(gaps.values()):.2f} s of {2 * INTERVAL_S:.0f}; scraped by two: {len(overlaps)} times")
        assert len(gaps) == TARGETS
        for name in AGENTS:
            assert {who for _, who in scene.exporter.asked[f"on-{name}"]} == {name}, "a node's pods are its own agent's"
        assert max(gaps.values()) < 2 * INTERVAL_S, (
            f"left for too long: {sorted(gaps.items(), key=lambda g: -g[1])[:5]}"
        )
        assert not overlaps, f"scraped by two at a time, for seconds: {overlaps[:5]}"
        await the_store_has_what_was_served(scene)
    except AssertionError as error:
        tails = "\n".join(f"--- {name}\n{member.process.tail(3000)}" for name, member in scene.agents.items())
        raise AssertionError(f"{error}\n{tails}") from error


async def no_series_was_ended(scene: Scene) -> None:
    """A series that is marked as stale is missing from every answer until its next sample: none is, at any moment."""
    end_s = time.time()
    counts = await scene.prometheus.query_range(
        'count(up{job="services"})', start_s=end_s - 180, end_s=end_s, step_s=0.2
    )
    (seen,) = counts.values()
    after_all = [count for _, count in seen][[count for _, count in seen].index(TARGETS) :]
    assert min(after_all) == TARGETS, f"a hand-over ends series: {min(after_all)} of {TARGETS} at some moment"


async def the_store_has_what_was_served(scene: Scene) -> None:
    """Nothing invented, nothing twice; lost is at most what an agent had read and not written yet at its moment.

    (What it had asked for by then may be served a little later.)
    """
    await settled(scene.prometheus, quiet_s=5.0)
    verdict = await judge(scene.prometheus, {"c1": scene.exporter})
    assert not verdict.invented, str(verdict)
    in_hand = {
        name
        for name, asked in scene.exporter.asked.items()
        for asked_s, who in asked
        if any(who == agent and abs(at_s - asked_s) < TIMEOUT_S for agent, at_s in scene.moments)
    }
    lost = {name.removeprefix("c1/") for name, _ in verdict.lost_pages}
    assert lost <= in_hand, f"lost beside what an agent had in hand: {sorted(lost - in_hand)[:5]}: {verdict}"
    assert len(verdict.lost) == len(verdict.lost_pages) * SERIES, f"pages are lost whole or not at all: {verdict}"
    await no_series_was_ended(scene)
