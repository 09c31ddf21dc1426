"""What stays when the API server is away, and what goes when the configuration says so."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from prometheus_client import CollectorRegistry

from agent import custom_resources
from agent.config import AgentConfig, ScrapeConfig
from agent.custom_resources import CustomResources
from agent.discovery import Tools
from agent.discovery.operator.convert import KINDS
from agent.discovery.operator.follow import OperatorJobs
from pipeline.telemetry import DiscoveryMetrics, OperatorMetrics
from tests.agent.discovery.kubernetes.stub import stub_api_server
from tests.servers.processes import free_port

BEFORE = tuple(ScrapeConfig(job_name=name) for name in ("podMonitor/n/a/0", "serviceMonitor/n/a/0"))


def config(**operator: Any) -> AgentConfig:
    """Return a configuration whose API server is away."""
    reach = {"api_server": f"http://127.0.0.1:{free_port()}", "namespace": "n"}
    return AgentConfig.model_validate({"operator": {**reach, **operator}} if operator else {})


@asynccontextmanager
async def tools() -> AsyncIterator[Tools]:
    async with aiohttp.ClientSession() as session:
        yield Tools(session, DiscoveryMetrics(CollectorRegistry()))


async def until(reached: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while True:
            if reached():
                return
            await asyncio.sleep(0.01)


async def test_jobs_of_before_stay_while_their_kind_cannot_be_listed() -> None:
    section = config(service_monitor_selector={}).operator
    assert section is not None
    changed = asyncio.Event()
    async with tools() as given:
        metrics = OperatorMetrics(CollectorRegistry())
        jobs = OperatorJobs(section, AgentConfig().global_config, given, metrics, changed.set, before=BEFORE)
        task = asyncio.create_task(jobs.run())
        await asyncio.wait_for(changed.wait(), 10)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    # The one that is selected no more goes, the other may still be right.
    assert [job.job_name for job in jobs.jobs] == ["serviceMonitor/n/a/0"]
    assert "cannot list servicemonitors.monitoring.coreos.com" in "".join(given.failures.values())


async def test_a_job_of_before_stays_while_its_secret_cannot_be_asked_for() -> None:
    async def answer(request: web.Request) -> web.StreamResponse | None:
        return web.Response(status=503) if "/secrets/" in request.path else None

    async with stub_api_server() as server, tools() as given:
        server.answer = answer
        endpoint = {"port": "web", "authorization": {"credentials": {"name": "s", "key": "k"}}}
        spec = {"selector": {}, "endpoints": [endpoint]}
        for name in ("a", "new"):
            await server.put(KINDS[0].resource, {"metadata": {"namespace": "n", "name": name}, "spec": spec})
        section = config(service_monitor_selector={}, api_server=server.url).operator
        assert section is not None
        metrics = OperatorMetrics(CollectorRegistry())
        jobs = OperatorJobs(section, AgentConfig().global_config, given, metrics, before=BEFORE)
        await jobs.find()
    assert [job.job_name for job in jobs.jobs] == ["serviceMonitor/n/a/0"]
    assert [refused.key for refused in jobs.refused] == ["n/a", "n/new"]
    assert "authorization.credentials: cannot get secrets in namespace n" in jobs.refused[0].reason


async def test_a_section_that_is_gone_takes_its_jobs_along() -> None:
    calls: list[int] = []
    async with tools() as given:
        resources = CustomResources(given, CollectorRegistry(), lambda: calls.append(1))
        await resources.configure(config(service_monitor_selector={}))
        await until(lambda: given.failures)
        assert resources.ready() is None
        await resources.configure(config())
        assert resources.jobs == ()
        assert resources.refused == ()
        await resources.stop()
    assert calls == []


async def test_asking_once_ends_where_no_api_server_can_be_known(tmp_path: Path) -> None:
    async with tools() as given:
        section = {"kubeconfig_file": str(tmp_path / "none"), "service_monitor_selector": {}}
        one = AgentConfig.model_validate({"operator": section})
        assert await custom_resources.find_once(one, given, CollectorRegistry()) == ((), ())
    assert "cannot be read: No such file" in "".join(given.failures.values())


async def test_the_agents_own_namespace_has_to_be_known_where_it_is_meant() -> None:
    async with tools() as given:
        section = {"api_server": "http://127.0.0.1:9", "service_monitor_selector": {}, "probe_selector": {}}
        one = AgentConfig.model_validate({"operator": {**section, "probe_namespace_selector": {}}})
        assert await custom_resources.find_once(one, given, CollectorRegistry()) == ((), ())
    said = "the agent's own namespace is not known: set operator.namespace, or service_monitor_namespace_selector"
    assert list(given.failures.values()) == [said]
