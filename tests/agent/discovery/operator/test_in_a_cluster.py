"""Custom resources in a real API server, under the operator's own definitions, and an agent that scrapes by them."""

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from click.testing import CliRunner
from prometheus_client import CollectorRegistry, generate_latest

from agent.config import AgentConfig
from agent.config.operator import OperatorConfig
from agent.config.scrape import GlobalConfig
from agent.discovery import Tools
from agent.discovery.operator.follow import OperatorJobs
from agent.service import Agent
from agent.target import Target
from pipeline.telemetry import DiscoveryMetrics, OperatorMetrics
from pronoia.targets import targets as targets_command
from tests.agent.discovery.operator.cluster import Cluster, exporter

pytestmark = [pytest.mark.kubernetes, pytest.mark.asyncio(loop_scope="session")]

DEADLINE_S = 30.0

SERVICE_MONITOR = """
kind: ServiceMonitor
metadata: {name: cart, labels: {team: shop}}
spec:
  selector: {matchLabels: {app: cart}}
  endpoints:
    - port: web
      interval: 200ms
      path: /first
      relabelings:
        - sourceLabels: [__meta_kubernetes_pod_ip, __meta_kubernetes_pod_container_port_number]
          separator: ":"
          targetLabel: __address__
"""
POD_MONITOR = """
kind: PodMonitor
metadata: {name: cart}
spec: {selector: {matchLabels: {app: cart}}, podMetricsEndpoints: [{port: web, interval: 200ms, path: /pods}]}
"""
REASON = 'spec.scrapeClass: "none" is none of the scrape_classes'
ALL: dict[str, Any] = {
    "service_monitor_selector": {},
    "pod_monitor_selector": {},
    "service_discovery_role": "EndpointSlice",
}


async def until(reached: Callable[[], object], said: Callable[[], object]) -> None:
    """Wait for a condition; fails with what `said` gives."""
    try:
        async with asyncio.timeout(DEADLINE_S):
            while True:
                if reached():
                    return
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"not reached: {said()}") from None


@asynccontextmanager
async def agent(folder: Path, operator: dict[str, Any], **keys: Any) -> AsyncIterator[Agent]:
    """Run an agent whose receiver is down: what it scrapes stays in its buffer."""
    receiver = {"url": "http://127.0.0.1:9/api/v1/write"}
    config = {"operator": operator, "remote_write": [receiver], "cluster": "c", **keys}
    one = Agent(AgentConfig.model_validate(config), folder, CollectorRegistry(), "node")
    await one.start()
    try:
        yield one
    finally:
        await one.drain()


def targets(one: Agent) -> dict[str, Target]:
    """Return what is scraped, by job."""
    return {name: target for name, job in one.targets.by_job.items() for target in job.active}


@asynccontextmanager
async def following(section: dict[str, Any], secrets_s: float = 0.1) -> AsyncIterator[OperatorJobs]:
    """Follow what a section selects, and look at Secrets often."""
    async with aiohttp.ClientSession() as session:
        registry = CollectorRegistry()
        tools = Tools(session, DiscoveryMetrics(registry))
        settings = OperatorConfig.model_validate(section)
        jobs = OperatorJobs(settings, GlobalConfig(), tools, OperatorMetrics(registry), secrets_s=secrets_s)
        task = asyncio.create_task(jobs.run())
        try:
            yield jobs
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def on_disk(folder: Path) -> bytes:
    """Return everything that an agent left behind."""
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


async def everything_shown(one: Agent) -> str:
    """Return the answers of all routes of an agent's admin port, and its metrics."""
    app = web.Application()
    one.add_routes(app)
    async with TestClient(TestServer(app)) as client:
        paths = {route.resource.canonical for route in app.router.routes() if route.method == "GET" and route.resource}
        answers = [await (await client.get(path)).text() for path in sorted(paths)]
    return "".join(answers) + generate_latest(one.registry).decode()


def names(jobs: OperatorJobs) -> list[str]:
    """Return the names of all jobs."""
    return [job.job_name for job in jobs.jobs]


async def test_what_resources_select_is_scraped_as_they_come_change_and_go(cluster: Cluster, tmp_path: Path) -> None:
    async with exporter() as page, agent(tmp_path, cluster.section(**ALL)) as one:
        await cluster.pod("cart-0", page.port, app="cart")
        await cluster.service("cart", "cart-0", page.port, app="cart")
        await cluster.put(SERVICE_MONITOR)
        await cluster.put(POD_MONITOR)
        await cluster.put("{kind: PodMonitor, metadata: {name: wrong}, spec: {selector: {}, scrapeClass: none}}")
        of_service, of_pod = (f"{kind}/{cluster.name}/cart/0" for kind in ("serviceMonitor", "podMonitor"))
        await until(lambda: page.paths == {"/first", "/pods"}, lambda: (page, one.targets.by_job))
        found = targets(one)
        assert dict(found[of_service].labels) == {
            "container": "app",
            "endpoint": "web",
            "instance": f"127.0.0.1:{page.port}",
            "job": "cart",
            "namespace": cluster.name,
            "pod": "cart-0",
            "service": "cart",
        }
        assert dict(found[of_pod].labels) == {
            "container": "app",
            "endpoint": "web",
            "instance": f"127.0.0.1:{page.port}",
            "job": f"{cluster.name}/cart",
            "namespace": cluster.name,
            "pod": "cart-0",
        }
        await until(lambda: all(one.pool.health(target).health == "up" for target in found.values()), lambda: found)

        assert one.resources.status() == {
            "jobs": [of_service, of_pod],
            "refused": [{"kind": "PodMonitor", "resource": f"{cluster.name}/wrong", "reason": REASON}],
        }

        await cluster.put(SERVICE_MONITOR.replace("/first", "/second"))
        await until(lambda: "/second" in page.paths, lambda: page)
        assert targets(one)[of_pod] is found[of_pod]

        await cluster.delete("ServiceMonitor", "cart")
        await until(lambda: of_service not in one.targets.by_job, lambda: one.targets.by_job)
        assert targets(one)[of_pod] is found[of_pod]


async def test_secrets_are_read_when_they_come_and_again_when_they_change(cluster: Cluster) -> None:
    auth = "basicAuth: {username: {name: auth, key: user}, password: {name: auth, key: password}}"
    await cluster.put(SERVICE_MONITOR.replace("path: /first", auth))
    async with following(cluster.section(service_monitor_selector={})) as jobs:
        await until(lambda: jobs.refused, lambda: jobs.refused)
        assert "spec.endpoints[0].basicAuth.username: cannot get secrets" in str(jobs.refused[0])
        assert 'secrets "auth" not found' in str(jobs.refused[0])
        await cluster.secret("auth", {"user": "me"})
        await until(lambda: "password" in str(jobs.refused), lambda: jobs.refused)
        assert str(jobs.refused[0]).endswith('basicAuth.password: Secret "auth" has no key "password"')
        for password in ("sesame", "changed"):
            await cluster.secret("auth", {"user": "me", "password": password})

            def has_it(wanted: str = password) -> bool:
                identity = jobs.jobs[0].basic_auth if jobs.jobs else None
                return identity is not None and identity.password.get_secret_value() == wanted

            await until(has_it, lambda: jobs.jobs)
        assert not jobs.refused
        assert "changed" not in repr(jobs.jobs)
        await cluster.delete("Secret", "auth")
        await until(lambda: jobs.refused and not jobs.jobs, lambda: jobs.jobs)


async def test_a_password_from_a_secret_opens_the_page_and_is_nowhere_to_be_seen(
    cluster: Cluster, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    auth = "basicAuth: {username: {name: auth, key: user}, password: {name: auth, key: password}}"
    async with exporter("sesame") as page:
        await cluster.secret("auth", {"user": "me", "password": "sesame"})
        await cluster.pod("cart-0", page.port, app="cart")
        await cluster.put(POD_MONITOR.replace("path: /pods", auth))
        async with agent(tmp_path, cluster.section(pod_monitor_selector={})) as one:
            await until(lambda: page.served, lambda: (page, one.targets.by_job))
            shown = await everything_shown(one)
    assert page.refused == 0
    assert f"podMonitor/{cluster.name}/cart/0" in shown  # It is the right thing that was looked at.
    assert "sesame" not in shown + caplog.text + repr(one.targets.by_job) + repr(one.resources.jobs)
    held = on_disk(tmp_path)
    assert b"cluster" in held  # It is the buffer that was looked at.
    assert b"sesame" not in held


async def test_namespaces_and_resources_are_selected_by_their_labels(cluster: Cluster) -> None:
    other = await Cluster.make(cluster.server)
    for place in (cluster, other):
        await place.put(SERVICE_MONITOR)
        await place.put(SERVICE_MONITOR.replace("name: cart", "name: unmarked").replace("{team: shop}", "{}"))
    of_other = {"key": "of", "operator": "In", "values": [other.name]}
    section = cluster.section(
        service_monitor_selector={"match_labels": {"team": "shop"}},
        service_monitor_namespace_selector={"matchExpressions": [of_other]},
    )
    async with following(section) as jobs:
        await until(lambda: jobs.jobs, lambda: jobs.refused)
        assert names(jobs) == [f"serviceMonitor/{other.name}/cart/0"]
        body = [{"op": "replace", "path": "/metadata/labels/of", "value": other.name}]
        path = f"/api/v1/namespaces/{cluster.name}"
        await cluster.server.request("PATCH", path, body, content_type="application/json-patch+json")
        both = [f"serviceMonitor/{place.name}/cart/0" for place in (cluster, other)]
        await until(lambda: names(jobs) == sorted(both), lambda: names(jobs))


async def test_a_kind_that_is_forbidden_is_told_and_leaves_the_others_alone(cluster: Cluster) -> None:
    rule = {"apiGroups": ["monitoring.coreos.com"], "resources": ["servicemonitors"], "verbs": ["list", "watch"]}
    token = await cluster.server.token(f"reader-{cluster.name}", [rule])
    await cluster.put(SERVICE_MONITOR)
    await cluster.put(POD_MONITOR)
    async with following(cluster.section(token, **ALL)) as jobs:
        await until(lambda: jobs.jobs, lambda: jobs.refused)
        assert names(jobs) == [f"serviceMonitor/{cluster.name}/cart/0"]
        failures = "".join(jobs.tools.failures.values())
        assert f"forbidden to list podmonitors.monitoring.coreos.com in namespace {cluster.name}" in failures


async def test_the_command_shows_what_comes_of_resources_with_no_more_rights_than_the_page_says(
    cluster: Cluster, tmp_path: Path
) -> None:
    page = Path(__file__).parents[4] / "docs" / "operator.md"
    role = re.search(r"```yaml\n(apiVersion.*?)```", page.read_text(), re.DOTALL)
    assert role is not None
    token = await cluster.server.token(f"agent-{cluster.name}", yaml.safe_load(role[1])["rules"])
    await cluster.secret("auth", {"user": "me", "password": "sesame"})
    auth = "basicAuth: {username: {name: auth, key: user}, password: {name: auth, key: password}}"
    await cluster.pod("cart-0", 8080, app="cart")
    await cluster.service("cart", "cart-0", 8080, app="cart")
    await cluster.put(SERVICE_MONITOR.replace("path: /first", auth))
    await cluster.put("{kind: PodMonitor, metadata: {name: wrong}, spec: {selector: {}, scrapeClass: none}}")
    await cluster.put(
        "{kind: Probe, metadata: {name: site}, spec: {prober: {url: prober}, targets: {staticConfig: {static: [a]}}}}"
    )
    await cluster.put(
        """
        kind: ScrapeConfig
        metadata: {name: nodes}
        spec: {kubernetesSDConfigs: [{role: Ingress}], staticConfigs: [{targets: ["s:1"]}]}
        """
    )
    others: dict[str, Any] = {"probe_selector": {}, "scrape_config_selector": {}}
    within = {"pod_monitor_namespace_selector": {"matchLabels": {"of": cluster.name}}}
    file = tmp_path / "agent.yml"
    file.write_text(yaml.safe_dump({"operator": cluster.section(token, **ALL, **others, **within)}))
    run = await asyncio.to_thread(CliRunner().invoke, targets_command, ["--config", str(file), "--json"])
    assert run.exit_code == 0, run.output
    shown = json.loads(run.stdout)
    assert [(one["scrapePool"], one["scrapeUrl"]) for one in shown["activeTargets"]] == [
        (f"probe/{cluster.name}/site", "http://prober/probe?target=a"),
        (f"scrapeConfig/{cluster.name}/nodes", "http://s:1/metrics"),
        (f"serviceMonitor/{cluster.name}/cart/0", "http://127.0.0.1:8080/metrics"),
    ]
    assert shown["refusedResources"] == [{"kind": "PodMonitor", "resource": f"{cluster.name}/wrong", "reason": REASON}]
    text = await asyncio.to_thread(CliRunner().invoke, targets_command, ["--config", str(file)])
    assert f"refused: PodMonitor {cluster.name}/wrong: {REASON}" in text.stdout
    assert "sesame" not in run.output + text.output


async def test_of_agents_that_share_only_those_at_work_follow_resources(cluster: Cluster, tmp_path: Path) -> None:
    await cluster.put(SERVICE_MONITOR)
    file = tmp_path / "kubeconfig"
    file.write_text(yaml.safe_dump(cluster.kubeconfig()))
    sharing = {"workers": 1, "lease": "3s", "namespace": cluster.name, "kubeconfig_file": str(file)}
    section = cluster.section(**ALL)
    job = f"serviceMonitor/{cluster.name}/cart/0"

    def shared(name: str) -> AbstractAsyncContextManager[Agent]:
        return agent(tmp_path / name, section, agent=name, sharing={**sharing, "node_name": name, "pod_name": name})

    async with shared("one") as one, shared("two") as two:
        both = (one, two)
        await until(lambda: any(job in each.targets.by_job for each in both), lambda: both)
        idle, at_work = sorted(both, key=lambda each: job in each.targets.by_job)
        assert at_work.resources.status()["jobs"] == [job]
        assert idle.resources.status()["jobs"] == []
        await at_work.drain()
        await until(lambda: job in idle.targets.by_job, idle.resources.status)
