"""Custom resources through the end of the API server itself: it is killed, and comes back."""

from pathlib import Path

import pytest

from tests.agent.discovery.operator.cluster import Cluster
from tests.agent.discovery.operator.conftest import serve_kinds
from tests.agent.discovery.operator.test_in_a_cluster import SERVICE_MONITOR, following, names, until
from tests.servers.kubernetes import Kubernetes

pytestmark = pytest.mark.kubernetes


async def test_jobs_stay_while_the_api_server_is_away_and_follow_what_changed_meanwhile(tmp_path: Path) -> None:
    auth = "basicAuth: {username: {name: auth, key: user}, password: {name: auth, key: password}}"
    async with Kubernetes(tmp_path / "kubernetes") as server:
        await serve_kinds(server)
        cluster = await Cluster.make(server)
        await cluster.secret("auth", {"user": "me", "password": "sesame"})
        await cluster.put(SERVICE_MONITOR.replace("path: /first", auth))
        async with following(cluster.section(service_monitor_selector={})) as jobs:
            await until(lambda: jobs.jobs, lambda: jobs.refused)
            before = jobs.jobs
            await server.kill()
            # Its Secret is asked for again meanwhile, in vain.
            await until(lambda: jobs.tools.failures, lambda: jobs.jobs)
            assert jobs.jobs is before
            await server.restart()
            await cluster.put(SERVICE_MONITOR.replace("name: cart", "name: later"))
            both = [f"serviceMonitor/{cluster.name}/{name}/0" for name in ("cart", "later")]
            await until(lambda: names(jobs) == both, lambda: names(jobs))
            assert not jobs.refused
            await until(lambda: not jobs.tools.failures, lambda: jobs.tools.failures)
