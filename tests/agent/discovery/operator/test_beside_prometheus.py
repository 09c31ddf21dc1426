"""What we find by custom resources is what a Prometheus finds by the configuration that the operator writes for it."""

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from prometheus_client import CollectorRegistry

from agent import custom_resources
from agent.config import AgentConfig
from agent.discovery import Tools
from agent.discovery.operator.convert import KINDS
from agent.targets import find_once
from pipeline.telemetry import DiscoveryMetrics
from tests.agent.discovery.operator import shop
from tests.agent.discovery.operator.cases import Case, cases
from tests.agent.discovery.operator.cluster import Cluster
from tests.agent.discovery.operator.conftest import serve_kinds
from tests.servers.kubernetes import ADMIN_TOKEN, Kubernetes
from tests.servers.operator import operator_makes
from tests.servers.prometheus import Prometheus

pytestmark = [pytest.mark.kubernetes, pytest.mark.prometheus]

DEADLINE_S = 60.0

Found = tuple[list[tuple[str, str, str]], dict[str, int]]
"""Each target's job, URL and labels; and how many each job has dropped."""


async def test_targets_are_those_of_prometheus_under_the_operators_own_configuration(tmp_path: Path) -> None:
    async with Kubernetes(tmp_path / "kubernetes") as server:
        await serve_kinds(server)
        await shop.build(server)
        # What the others name is in no cluster of ours.
        compared = [case for case in cases() if case.name != "scrape_config"]
        for case in compared:
            await _put(Cluster(server, "monitoring"), case)
        await asyncio.gather(*(_compare(server, case, tmp_path / case.name) for case in compared))


async def _put(cluster: Cluster, case: Case) -> None:
    for kind, key in (("Secret", "secrets"), ("ConfigMap", "configMaps")):
        for item in case.value.get(key, ()):
            await cluster.put(yaml.safe_dump({"kind": kind, **item}), item["metadata"]["namespace"])
    for item in case.resources:
        labelled = {**item, "metadata": {**item["metadata"], "labels": {"case": case.name}}}
        await cluster.put(yaml.safe_dump(labelled), item["metadata"]["namespace"])


async def _compare(server: Kubernetes, case: Case, folder: Path) -> None:
    configs = await _written(server, case)
    ours = await _ours(Cluster(server, "monitoring"), case)
    assert ours[0]
    async with Prometheus(folder, config={"scrape_configs": configs}) as prometheus, aiohttp.ClientSession() as session:
        theirs: Found = [], {}
        try:
            async with asyncio.timeout(DEADLINE_S):
                while ours != theirs:
                    await asyncio.sleep(0.1)
                    theirs = await _theirs(session, prometheus)
        except TimeoutError:
            assert ours == theirs


async def _written(server: Kubernetes, case: Case) -> list[Any]:
    """Return the jobs that the operator writes, for an API server that is not its own cluster's."""
    found = []
    for item in case.resources:
        (resource,) = (kind.resource for kind in KINDS if kind.name == item["kind"])
        path = resource.path(item["metadata"]["namespace"], item["metadata"]["name"])
        found.append(await server.request("GET", path))
    reach = {"host": server.url, "authorization": {"credentialsFile": "/nowhere"}}
    prometheus = {**case.value["prometheus"], "apiserverConfig": reach}
    answer = await asyncio.to_thread(operator_makes, case.given(resources=found, prometheus=prometheus))
    configs: list[Any] = yaml.safe_load(answer["configs"])["scrape_configs"]
    for job in configs:
        # Nothing is scraped: the files that resources name need not be there.
        job.pop("tls_config", None)
        for section in job.get("kubernetes_sd_configs", ()):
            section["authorization"] = {"credentials": ADMIN_TOKEN}
            section["tls_config"] = {"ca_file": str(server.ca_file)}
    return configs


async def _ours(cluster: Cluster, case: Case) -> Found:
    section: dict[str, Any] = {**case.value["operator"], **cluster.section()}
    for kind in KINDS:
        if f"{kind.setting}_selector" in section:
            section[f"{kind.setting}_selector"] = {"match_labels": {"case": case.name}}
            section[f"{kind.setting}_namespace_selector"] = {}
    config = AgentConfig.model_validate({"operator": section})
    async with aiohttp.ClientSession() as session:
        registry = CollectorRegistry()
        tools = Tools(session, DiscoveryMetrics(registry))
        jobs, refused = await custom_resources.find_once(config, tools, registry)
        found = await find_once(jobs, tools)
    assert refused == ()
    assert tools.failures == {}
    targets = [(name, one.url, _text(dict(one.labels))) for name, job in found.items() for one in job.active]
    return sorted(targets), {name: job.dropped_count for name, job in found.items()}


async def _theirs(session: aiohttp.ClientSession, prometheus: Prometheus) -> Found:
    async with session.get(f"{prometheus.url}/api/v1/targets") as response:
        data = (await response.json())["data"]
    targets = [(one["scrapePool"], one["scrapeUrl"], _text(one["labels"])) for one in data["activeTargets"]]
    return sorted(targets), data["droppedTargetCounts"]


def _text(labels: dict[str, str]) -> str:
    return json.dumps(labels, sort_keys=True)
