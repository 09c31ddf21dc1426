"""Prometheus' own example for Kubernetes, as it is: on a real API server we find what Prometheus finds."""

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
import yaml

from agent.config import ScrapeConfig, load
from agent.config.kubernetes import ROLES
from agent.discovery.kubernetes import in_cluster
from agent.targets import Targets
from tests.agent.discovery.kubernetes.following import DEADLINE_S, tools_for
from tests.servers.kubernetes import ADMIN_TOKEN, Kubernetes
from tests.servers.processes import MissingServerError, run_tool
from tests.servers.prometheus import MODULE, Prometheus

pytestmark = [pytest.mark.kubernetes, pytest.mark.prometheus]

JOBS: Final = {"apiservers", "nodes", "cadvisor", "service-endpoints", "services", "ingresses", "pods"}
Found = dict[str, set[tuple[str, tuple[tuple[str, str], ...]]]]
"""Each job's targets: the URL and the labels."""

METADATA: Final = {
    "labels": {"app.kubernetes.io/name": "shop", "tier": "web"},
    "annotations": {"team": "a b", "empty": ""},
}
_HTTP: Final = {"name": "http", "containerPort": 8080}
_REFERENCE: Final = {"kind": "Pod", "name": "shop-0", "namespace": "shop"}
_BACKEND: Final = {"pathType": "Prefix", "backend": {"service": {"name": "shop", "port": {"number": 80}}}}
OBJECTS: Final[list[dict[str, Any]]] = [
    {
        "kind": "Node",
        "metadata": {"name": "n1", "labels": {"topology.kubernetes.io/zone": "z1"}},
        "spec": {"providerID": "cloud://n1"},
        "status": {
            "addresses": [{"type": "InternalIP", "address": "10.1.0.1"}, {"type": "Hostname", "address": "n1"}],
            "conditions": [{"type": "Ready", "status": "True"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
        },
    },
    {
        "kind": "Pod",
        "metadata": {**METADATA, "name": "shop-0", "namespace": "shop"},
        "spec": {
            "nodeName": "n1",
            "containers": [
                {"name": "web", "image": "web:1", "ports": [_HTTP, {"containerPort": 9100}]},
                {"name": "no-ports", "image": "x:1"},
            ],
            "initContainers": [
                {"name": "sidecar", "image": "s:1", "restartPolicy": "Always", "ports": [{"containerPort": 15020}]}
            ],
        },
        "status": {
            "phase": "Running",
            "podIP": "10.2.0.1",
            "hostIP": "10.1.0.1",
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    },
    {
        "kind": "Service",
        "metadata": {**METADATA, "name": "shop", "namespace": "shop"},
        "spec": {"ports": [{"name": "http", "port": 80}, {"name": "metrics", "port": 9100}]},
    },
    {
        "kind": "Service",
        "metadata": {"name": "out", "namespace": "shop"},
        "spec": {"type": "ExternalName", "externalName": "x.org", "ports": [{"port": 1}]},
    },
    {
        "kind": "Endpoints",
        "metadata": {"name": "shop", "namespace": "shop"},
        "subsets": [
            {
                "addresses": [{"ip": "10.2.0.1", "nodeName": "n1", "targetRef": _REFERENCE}],
                "notReadyAddresses": [{"ip": "10.2.0.9", "hostname": "nine"}],
                "ports": [{"name": "http", "port": 8080}],
            }
        ],
    },
    {
        "kind": "Endpoints",
        "metadata": {"name": "kubernetes", "namespace": "default"},
        "subsets": [{"addresses": [{"ip": "10.1.0.1"}], "ports": [{"name": "https", "port": 6443}]}],
    },
    {
        "kind": "Ingress",
        "metadata": {**METADATA, "name": "shop", "namespace": "shop"},
        "spec": {
            "ingressClassName": "nginx",
            "tls": [{"hosts": ["*.example.org"]}],
            "rules": [
                {"host": host, "http": {"paths": [{**_BACKEND, "path": path} for path in ("/", "/api")]}}
                for host in ("shop.example.org", "other.org")
            ],
        },
    },
]


def stock_file() -> Path:
    """Return the example of the Prometheus that the tests run; raises MissingServerError."""
    if shutil.which("go") is None:
        raise MissingServerError("Prometheus' own examples come with its sources, by Go (no `go` on the PATH)")
    run_tool("go", "mod", "download", "github.com/prometheus/prometheus", cwd=MODULE)
    folder = run_tool("go", "list", "-m", "-f", "{{.Dir}}", "github.com/prometheus/prometheus", cwd=MODULE)
    return Path(folder.strip(), "documentation", "examples", "prometheus-kubernetes.yml")


@asynccontextmanager
async def cluster(folder: Path) -> AsyncIterator[tuple[Kubernetes, Mapping[str, str], Path]]:
    """Give an API server with something of each kind, and the environment and account of a pod in it."""
    async with Kubernetes(folder / "kubernetes") as server:
        for item in OBJECTS:
            await server.apply(item)
        account = folder / "account"
        account.mkdir()
        (account / "token").write_text(ADMIN_TOKEN)
        (account / "ca.crt").write_bytes(server.ca_file.read_bytes())
        host, port = server.url.removeprefix("https://").split(":")
        yield server, {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}, account


async def found_by_us(jobs: tuple[ScrapeConfig, ...], environment: Mapping[str, str], account: Path) -> Found:
    """Return what our agent finds, as soon as every job has found something."""
    async with tools_for(lambda: in_cluster(environment, account)) as tools:
        targets = Targets(jobs, tools, settle_s=0.0)
        run = asyncio.create_task(targets.run())
        try:
            async with asyncio.timeout(DEADLINE_S):
                async for _ in targets.changes():
                    if all(targets.by_job[job.job_name].active for job in jobs):
                        break
            assert not tools.failures
            return {
                name: {(target.url, target.labels) for target in job.active} for name, job in targets.by_job.items()
            }
        finally:
            run.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await run


async def found_by(prometheus: Prometheus, jobs: int) -> Found:
    """Return what Prometheus has found, as soon as every job has found something."""
    async with aiohttp.ClientSession() as session, asyncio.timeout(DEADLINE_S):
        while True:
            async with session.get(f"{prometheus.url}/api/v1/targets?state=active") as response:
                active = (await response.json())["data"]["activeTargets"]
            found: Found = {}
            for target in active:
                one = target["scrapeUrl"], tuple(sorted(target["labels"].items()))
                found.setdefault(target["scrapePool"], set()).add(one)
            if len(found) == jobs:
                return found
            await asyncio.sleep(0.2)


async def test_the_stock_example_finds_targets_for_all_of_its_jobs(tmp_path: Path) -> None:
    stock = await asyncio.to_thread(stock_file)
    # Its certificates and tokens are where every pod has them, and this machine has not.
    loaded = load(stock, {}, check_files=False)
    assert {job.job_name for job in loaded.config.scrape_configs} == {f"kubernetes-{name}" for name in JOBS}
    async with cluster(tmp_path) as (_, environment, account):
        found = await found_by_us(loaded.config.scrape_configs, environment, account)
    assert all(found.values())


async def test_the_stock_example_with_rules_and_alerting_loads_with_a_warning(tmp_path: Path) -> None:
    stock = yaml.safe_load((await asyncio.to_thread(stock_file)).read_text())
    stock["rule_files"] = ["rules/*.yml"]
    stock["alerting"] = {"alertmanagers": [{"static_configs": [{"targets": ["alertmanager:9093"]}]}]}
    path = tmp_path / "prometheus.yml"
    path.write_text(yaml.safe_dump(stock))
    loaded = load(path, {}, check_files=False)
    assert len(loaded.config.scrape_configs) == len(JOBS)
    assert any("alerting" in warning and "rule_files" in warning for warning in loaded.warnings)


async def test_its_jobs_find_what_prometheus_finds(tmp_path: Path) -> None:
    stock = yaml.safe_load((await asyncio.to_thread(stock_file)).read_text())
    async with cluster(tmp_path) as (server, environment, account):
        # Where the cluster is stands in the file, since Prometheus looks for a pod's account at one place only.
        access = {
            "api_server": server.url,
            "authorization": {"credentials": ADMIN_TOKEN},
            "tls_config": {"ca_file": str(server.ca_file)},
        }
        for job in stock["scrape_configs"]:
            job["kubernetes_sd_configs"] = [{**section, **access} for section in job["kubernetes_sd_configs"]]
            job.pop("authorization", None)
            job.pop("tls_config", None)
        path = tmp_path / "prometheus.yml"
        path.write_text(yaml.safe_dump(stock))
        ours = await found_by_us(load(path, {}).config.scrape_configs, environment, account)
        async with Prometheus(tmp_path / "prometheus", config=stock) as prometheus:
            assert ours == await found_by(prometheus, len(JOBS))


def _pod(name: str, owner: tuple[str, str], **status: Any) -> dict[str, Any]:
    reference = {"apiVersion": "v1", "kind": owner[0], "name": owner[1], "uid": f"{owner[1]}-uid", "controller": True}
    annotations = {"example.org/with.dots": "ünïcode", "empty": "", "json": '{"a": [1, "b"]}'}
    return {
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "shop", "annotations": annotations, "ownerReferences": [reference]},
        "spec": {"nodeName": "n2", "containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 9100}]}]},
        "status": {"phase": "Running", "podIP": "10.2.0.5", **status},
    }


def _owned(kind: str, name: str, owner: tuple[str, str]) -> dict[str, Any]:
    reference = {"apiVersion": "v1", "kind": owner[0], "name": owner[1], "uid": f"{owner[1]}-uid", "controller": True}
    pod: dict[str, Any] = {"spec": {"containers": [{"name": "c", "image": "i"}], "restartPolicy": "Never"}}
    spec: dict[str, Any] = {"template": pod}
    if kind == "ReplicaSet":
        pod = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
        spec = {"selector": {"matchLabels": {"a": "b"}}, "template": pod}
    return {"kind": kind, "metadata": {"name": name, "namespace": "shop", "ownerReferences": [reference]}, "spec": spec}


def _slice(
    name: str, service: str, kind: str, *endpoints: dict[str, Any], ports: list[dict[str, Any]]
) -> dict[str, Any]:
    labels = {"kubernetes.io/service-name": service}
    metadata = {"name": name, "namespace": "shop", "labels": labels}
    return {
        "kind": "EndpointSlice",
        "metadata": metadata,
        "addressType": kind,
        "ports": ports,
        "endpoints": list(endpoints),
    }


MORE: Final[list[dict[str, Any]]] = [
    {
        "kind": "Node",
        "metadata": {"name": "n2", "annotations": {"node.alpha.kubernetes.io/ttl": "0"}},
        "status": {
            "addresses": [
                {"type": "ExternalDNS", "address": "n2.example.org"},
                {"type": "ExternalIP", "address": "fd00::2"},
            ],
            "conditions": [{"type": "DiskPressure", "status": "Unknown"}],
        },
    },
    {"kind": "Node", "metadata": {"name": "without-an-address"}},
    _pod("by-deployment", ("ReplicaSet", "web-1")),
    _pod(
        "by-cronjob",
        ("Job", "nightly-1"),
        podIP="fd00::5",
        phase="Succeeded",
        conditions=[{"type": "Ready", "status": "False"}],
    ),
    _pod("by-stateful-set", ("StatefulSet", "db"), hostIP="10.1.0.2"),
    _pod("pending", ("ReplicaSet", "web-1"), podIP="", phase="Pending"),
    {
        **_pod("on-no-node", ("DaemonSet", "d")),
        "spec": {"nodeName": "gone", "containers": [{"name": "c", "image": "i"}]},
    },
    _owned("ReplicaSet", "web-1", ("Deployment", "web")),
    _owned("Job", "nightly-1", ("CronJob", "nightly")),
    {
        "kind": "Service",
        "metadata": {**METADATA, "name": "balanced", "namespace": "shop"},
        "spec": {"type": "LoadBalancer", "ports": [{"name": "dns", "port": 53, "protocol": "UDP"}]},
        "status": {"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}, {"hostname": "lb"}, {"ip": "1.2.3.5"}]}},
    },
    {
        "kind": "Service",
        "metadata": {"name": "dual", "namespace": "shop"},
        "spec": {
            "clusterIP": "None",
            "ipFamilyPolicy": "RequireDualStack",
            "ipFamilies": ["IPv6", "IPv4"],
            "ports": [{"port": 9100}],
        },
    },
    _slice("dual-4", "dual", "IPv4", {"addresses": ["10.2.0.5"]}, ports=[{"port": 9100}]),
    _slice("dual-6", "dual", "IPv6", {"addresses": ["fd00::5"]}, ports=[{"port": 9100}]),
    _slice(
        "shop-1",
        "shop",
        "IPv4",
        {
            "addresses": ["10.2.0.1"],
            "conditions": {"ready": True, "serving": True, "terminating": False},
            "nodeName": "n1",
            "zone": "z1",
            "hostname": "shop-0",
            "targetRef": _REFERENCE,
        },
        {
            "addresses": ["10.2.0.5"],
            "conditions": {"ready": False},
            "targetRef": {**_REFERENCE, "name": "by-deployment"},
        },
        {"addresses": ["10.1.0.1"], "targetRef": {"kind": "Node", "name": "n2"}, "nodeName": "n1"},
        ports=[{"name": "http", "port": 8080, "appProtocol": "http"}, {"name": "sidecar", "port": 15020}],
    ),
    _slice(
        "names",
        "unknown",
        "FQDN",
        {"addresses": ["a.example.org"]},
        ports=[{"name": "x", "port": 1, "protocol": "UDP"}],
    ),
    {
        "kind": "Endpoints",
        "metadata": {**METADATA, "name": "balanced", "namespace": "shop"},
        "subsets": [
            {
                "addresses": [
                    {"ip": "10.2.0.5", "nodeName": "n2", "targetRef": {**_REFERENCE, "name": "by-cronjob"}},
                    {"ip": "10.1.0.2", "targetRef": {"kind": "Node", "name": "n2"}},
                ],
                "ports": [{"name": "a", "port": 9100}, {"name": "other", "port": 1, "protocol": "UDP"}],
            },
            {"addresses": [{"ip": "10.2.0.7"}], "ports": [{"name": "b", "port": 2}]},
        ],
    },
]
ALL_METADATA: Final = {"node": True, "namespace": True, "deployment": True, "job": True, "cronjob": True}


async def test_every_role_with_all_metadata_finds_what_prometheus_finds(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (server, environment, account):
        for item in MORE:
            await server.apply(item)
        access = {
            "api_server": server.url,
            "authorization": {"credentials": ADMIN_TOKEN},
            "tls_config": {"ca_file": str(server.ca_file)},
        }
        # Every label of discovery becomes one of the target's.
        show = [{"action": "labelmap", "regex": "__meta_kubernetes_(.+)", "replacement": "k_$1"}]
        sections: dict[str, dict[str, Any]] = {role: {"role": role} for role in ROLES}
        sections |= {f"{role} with all": {"role": role, "attach_metadata": ALL_METADATA} for role in ROLES}
        sections["selected"] = {
            "role": "pod",
            "namespaces": {"names": ["shop", "none"]},
            "attach_metadata": {"node": True},
            "selectors": [{"role": "pod", "field": "status.phase=Running"}, {"role": "node", "label": "!no"}],
        }
        jobs = [
            {"job_name": name, "kubernetes_sd_configs": [{**section, **access}], "relabel_configs": show}
            for name, section in sections.items()
        ]
        path = tmp_path / "prometheus.yml"
        path.write_text(yaml.safe_dump({"scrape_configs": jobs}))
        ours = await found_by_us(load(path, {}).config.scrape_configs, environment, account)
        async with Prometheus(tmp_path / "prometheus", config={"scrape_configs": jobs}) as prometheus:
            theirs = await found_by(prometheus, len(jobs))
        for name in sections:
            assert ours[name] == theirs[name], name
