"""promtail's own configuration for Kubernetes, on a real API server and a real Loki: started as it is."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from agent.config import load
from agent.config.sharing import restricted
from agent.discovery.kubernetes import in_cluster
from agent.job import JobTargets
from agent.logs.job import LogJob, LogTarget
from agent.targets import AnyTargets
from tests.agent.discovery.kubernetes.following import DEADLINE_S, tools_for
from tests.e2e.processes import Member, until
from tests.servers.kubernetes import ADMIN_TOKEN, Kubernetes
from tests.servers.loki import Found, Loki
from tests.servers.processes import free_port

STOCK: Final = Path(__file__).parents[1] / "promtail" / "kubernetes.yaml"
NODE: Final = "n1"
HOUR_NS: Final = 3600 * 10**9


def pod(name: str, *, node: str = NODE, labels: dict[str, str] | None = None, mirror: str = "") -> dict[str, Any]:
    """A pod of one container."""
    metadata: dict[str, Any] = {"name": name, "namespace": "shop", "labels": labels or {}}
    if mirror:
        # A static pod: its files lie under the kubelet's name for it, not under its uid.
        metadata["annotations"] = {"kubernetes.io/config.hash": mirror, "kubernetes.io/config.mirror": mirror}
    return {
        "kind": "Pod",
        "metadata": metadata,
        "spec": {"nodeName": node, "containers": [{"name": "web", "image": "web:1"}]},
        "status": {"phase": "Running", "podIP": "10.2.0.1", "hostIP": "10.1.0.1"},
    }


async def uid_of(cluster: Kubernetes, name: str) -> str:
    found = await cluster.request("GET", f"/api/v1/namespaces/shop/pods/{name}")
    return str(found["metadata"]["uid"])


@asynccontextmanager
async def pods(folder: Path) -> AsyncIterator[Kubernetes]:
    async with Kubernetes(folder / "kubernetes") as cluster:
        await cluster.apply(pod("cart-5d4f8c7b9-x2x4z", labels={"app": "cart"}))
        await cluster.apply(pod("etcd-n1", mirror="abc123"))
        await cluster.apply(pod("elsewhere", node="n2"))
        yield cluster


def account_of(cluster: Kubernetes, folder: Path) -> Path:
    """Return what every pod of the cluster has of its service account."""
    account = folder / "account"
    account.mkdir()
    (account / "token").write_text(ADMIN_TOKEN)
    (account / "ca.crt").write_bytes(cluster.ca_file.read_bytes())
    return account


async def found_with(
    stock: Path, cluster: Kubernetes, account: Path, enough: int
) -> Mapping[str, JobTargets[LogTarget]]:
    """Return what an unchanged file finds in a pod of the cluster, on the node NODE."""
    host, port = cluster.url.removeprefix("https://").split(":")
    environment = {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}
    logs = load(stock, {}).config.logs
    assert logs is not None
    async with tools_for(lambda: in_cluster(environment, account)) as tools:
        jobs = [restricted(job, NODE) for job in logs.scrape_configs]
        targets = AnyTargets(lambda config: LogJob(config, NODE), jobs, tools, settle_s=0.0)
        run = asyncio.create_task(targets.run())
        try:
            async with asyncio.timeout(DEADLINE_S):
                async for found in targets.changes():
                    if len(found) == enough:
                        break
            assert not tools.failures
            return targets.by_job
        finally:
            run.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await run


@pytest.mark.kubernetes
async def test_the_stock_file_finds_this_nodes_pods_and_their_files(tmp_path: Path) -> None:
    async with pods(tmp_path) as cluster:
        uid = await uid_of(cluster, "cart-5d4f8c7b9-x2x4z")
        jobs = await found_with(STOCK, cluster, account_of(cluster, tmp_path), 2)
    found = {target.path: dict(target.labels) for target in jobs["logs/kubernetes-pods"].active}
    assert found == {
        f"/var/log/pods/*{uid}/web/*.log": {
            "app": "cart",
            "container": "web",
            "job": "shop/cart",
            "namespace": "shop",
            "node_name": "n1",
            "pod": "cart-5d4f8c7b9-x2x4z",
        },
        "/var/log/pods/*abc123/web/*.log": {
            "app": "etcd-n1",
            "container": "web",
            "job": "shop/etcd-n1",
            "namespace": "shop",
            "node_name": "n1",
            "pod": "etcd-n1",
        },
    }


@pytest.mark.kubernetes
async def test_the_older_file_finds_each_pod_by_one_of_its_jobs(tmp_path: Path) -> None:
    stock = STOCK.with_name("kubernetes-by-labels.yaml")
    async with pods(tmp_path) as cluster:
        await cluster.apply(pod("named", labels={"name": "by-name", "app": "x"}))
        await cluster.apply(pod("etcd-n1", labels={"component": "etcd"}, mirror="abc123"))
        found = await found_with(stock, cluster, account_of(cluster, tmp_path), 3)
    assert {name: [dict(target.labels)["job"] for target in job.active] for name, job in found.items()} == {
        "logs/kubernetes-pods-name": ["shop/by-name"],
        "logs/kubernetes-pods-app": ["shop/cart"],
        "logs/kubernetes-pods-direct-controllers": [],
        "logs/kubernetes-pods-indirect-controller": [],
        "logs/kubernetes-pods-static": ["shop/etcd"],
    }


def moved(folder: Path, cluster: Kubernetes, token: str, loki: Loki, port: int) -> dict[str, Any]:
    """Return the stock file with nothing changed but where things are."""
    text = STOCK.read_text().replace("/var/log/pods", str(folder / "pods")).replace("/run/promtail", str(folder))
    config: dict[str, Any] = yaml.safe_load(text)
    config["clients"] = [{"url": loki.push_url}]
    config["server"].update(http_listen_port=port, http_listen_address="127.0.0.1")
    config["scrape_configs"][0]["kubernetes_sd_configs"][0].update(
        api_server=cluster.url,
        authorization={"credentials": token},
        tls_config={"ca_file": str(cluster.ca_file)},
    )
    return config


@pytest.mark.kubernetes
@pytest.mark.loki
async def test_lines_of_pods_get_to_loki_and_promtails_positions_are_gone_on_from(
    tmp_path: Path, loki: Loki, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOSTNAME", NODE)
    async with pods(tmp_path) as cluster:
        uid = await uid_of(cluster, "cart-5d4f8c7b9-x2x4z")
        file = tmp_path / "pods" / f"shop_cart_{uid}" / "web" / "0.log"
        file.parent.mkdir(parents=True)
        read = cri(1, "stdout F promtail had this")
        file.write_text(read)
        (tmp_path / "positions.yaml").write_text(f'positions:\n  {file}: "{len(read)}"\n')
        token = await cluster.token("agent", [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]}])
        port = free_port()
        agent = Member(tmp_path / "agent", "agent", moved(tmp_path, cluster, token, loki, port), port)
        await agent.start()
        try:
            with file.open("a") as log:
                log.write(cri(2, "stderr P half ") + cri(3, "stderr F a line"))
            await until(lambda: stored(loki, ["half a line"]), "the line is in Loki")
            (found,) = await entries(loki)
            assert dict(found.labels) == {
                "app": "cart",
                "container": "web",
                "filename": str(file),
                "job": "shop/cart",
                "namespace": "shop",
                "node_name": "n1",
                "pod": "cart-5d4f8c7b9-x2x4z",
                "stream": "stderr",
            }
            assert (await agent.get("/ready"))[0] == 200, "where promtail's probes ask"
            await agent.process.kill()
            with file.open("a") as log:
                log.write(cri(4, "stdout F after the kill"))
            await agent.start()
            await until(lambda: stored(loki, ["half a line", "after the kill"]), "reading goes on")
        finally:
            await agent.process.stop()


def cri(number: int, text: str) -> str:
    """Return a line as a container runtime writes it, of an hour ago."""
    at = datetime.now(UTC).replace(minute=0, second=0, microsecond=number)
    return f"{at.isoformat(timespec='microseconds').removesuffix('+00:00')}Z {text}\n"


async def entries(loki: Loki) -> list[Found]:
    now_ns = time.time_ns()
    return await loki.entries('{namespace="shop"}', start_ns=now_ns - 2 * HOUR_NS, end_ns=now_ns + HOUR_NS)


async def stored(loki: Loki, lines: list[str]) -> bool:
    return [entry.line for entry in await entries(loki)] == lines
