"""An agent's own process in a cluster: it finds pods on a real API server, and scrapes on while that is away."""

from pathlib import Path
from typing import Any

import pytest

from tests.e2e.exporter import Exporter, Target
from tests.e2e.processes import Member, until
from tests.servers.kubernetes import Kubernetes
from tests.servers.processes import free_port
from tests.servers.prometheus import Prometheus

pytestmark = [pytest.mark.kubernetes, pytest.mark.prometheus]


def pod(name: str, port: int) -> dict[str, Any]:
    """A pod that this machine serves: its address is loopback."""
    containers = [{"name": "c", "image": "i", "ports": [{"containerPort": port}]}]
    return {
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "shop", "labels": {"app": name}},
        "spec": {"nodeName": "n1", "containers": containers},
        "status": {"phase": "Running", "podIP": "127.0.0.1"},
    }


def config(cluster: Kubernetes, token: str, store: Prometheus, admin: int) -> dict[str, Any]:
    access = {
        "api_server": cluster.url,
        "authorization": {"credentials": token},
        "tls_config": {"ca_file": str(cluster.ca_file)},
    }
    rules = [
        {"source_labels": ["__meta_kubernetes_pod_name"], "target_label": "__metrics_path__", "replacement": "/$1"},
        {"action": "labelmap", "regex": "__meta_kubernetes_pod_label_(.+)"},
    ]
    jobs = [
        {"job_name": role, "kubernetes_sd_configs": [{"role": role, **access}], "relabel_configs": rules}
        for role in ("pod", "service")
    ]
    return {
        "global": {"scrape_interval": "1s", "external_labels": {"cluster": "c1"}},
        "admin": f"127.0.0.1:{admin}",
        "scrape_configs": jobs,
        "remote_write": [{"url": store.write_url}],
    }


async def test_an_agent_scrapes_on_while_the_api_server_is_killed(tmp_path: Path, prometheus: Prometheus) -> None:
    first, second = Target("first", 3), Target("second", 3)
    async with Exporter({"first": first, "second": second}) as exporter, Kubernetes(tmp_path / "cluster") as cluster:
        # What it may not see (services) is no reason not to scrape what it may.
        token = await cluster.token("agent", [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]}])
        await cluster.apply(pod("first", exporter.port))
        agent = Member(tmp_path / "agent", "agent", config(cluster, token, prometheus, admin := free_port()), admin)
        await agent.start()
        try:
            await until(stored(prometheus, "first"), "samples of the first pod")
            assert agent.process.said(
                'forbidden to list services: services is forbidden: User \\"system:serviceaccount'
            )
            await cluster.kill()
            seen = len(first.served)

            async def scraped_on() -> bool:
                return len(first.served) >= seen + 3

            await until(scraped_on, "scrapes while the API server is away")
            await cluster.restart()
            await cluster.apply(pod("second", exporter.port))
            await until(stored(prometheus, "second"), "samples of a pod that came after the kill")
            await cluster.delete("Pod", "first", "shop")

            async def forgotten() -> bool:
                return not await prometheus.query('up{app="first"}')

            await until(forgotten, "the end of a deleted pod's series")
            status, metrics = await agent.get("/metrics")
            assert status == 200
            assert 'pronoia_discovery_targets{job="pod"} 1.0' in metrics
        finally:
            await agent.process.stop()


def stored(prometheus: Prometheus, name: str) -> Any:
    async def is_up() -> bool:
        return list((await prometheus.query(f'up{{app="{name}",job="pod",cluster="c1"}}')).values()) == [1.0]

    return is_up
