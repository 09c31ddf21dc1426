"""Workers on a real API server: what they write into Leases, what others see of it, and who works when."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import chain
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import pytest
import pytest_asyncio
from prometheus_client import CollectorRegistry

from agent.discovery.kubernetes import ApiServer, Cluster, Timing
from agent.discovery.kubernetes.resources import LEASES
from agent.sharing.lease import object_name
from agent.sharing.view import Terms
from agent.sharing.worker import Worker
from pipeline.http_config import HttpClientConfig
from pipeline.telemetry import SharingMetrics
from tests.e2e.processes import until
from tests.servers.kubernetes import Kubernetes

pytestmark = [pytest.mark.kubernetes, pytest.mark.asyncio(loop_scope="session")]

LEASE_S, WORKERS = 3, 2
RULES: list[dict[str, Any]] = [
    {
        "apiGroups": ["coordination.k8s.io"],
        "resources": ["leases"],
        "verbs": ["get", "list", "watch", "create", "update"],
    }
]


class Group:
    """Agents of one group that do nothing but share."""

    def __init__(self, server: Kubernetes, namespace: str, stack: AsyncExitStack) -> None:
        self.server, self.namespace, self.stack = server, namespace, stack
        self.cluster = Cluster(server.url, HttpClientConfig())
        self.workers: dict[str, Worker] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self.registries: dict[str, CollectorRegistry] = {}

    async def allow(self, verbs: list[str]) -> None:
        """Let the agents that are added from now on do this with Leases."""
        rules = [{**RULES[0], "verbs": verbs}]
        token = await self.server.token(f"{self.namespace}-{len(verbs)}", rules, namespace=self.namespace)
        access = {"bearer_token": token, "tls_config": {"ca_file": str(self.server.ca_file)}}
        self.cluster = Cluster(self.server.url, HttpClientConfig.model_validate(access))

    async def add(self, name: str, give_up: Callable[[], Awaitable[None]] | None = None) -> Worker:
        async def nothing() -> None:
            return None

        session = await self.stack.enter_async_context(aiohttp.ClientSession())
        timing = Timing(answer_s=2.0, silence_s=2 * LEASE_S, backoff_s=0.2, max_backoff_s=1.0)
        self.registries[name] = CollectorRegistry()
        worker = self.workers[name] = Worker(
            "default",
            Terms(f"{name}/1", WORKERS, LEASE_S),
            ApiServer(lambda: self.cluster, session, timing),
            self.namespace,
            SharingMetrics(self.registries[name]),
            seed="c1",
            changed=lambda: None,
            give_up=give_up or nothing,
        )
        self.tasks[name] = asyncio.create_task(worker.run())
        return worker

    async def kill(self, name: str) -> None:
        """As kill -9 does: without a word."""
        self.tasks[name].cancel()
        await asyncio.gather(self.tasks[name], return_exceptions=True)
        del self.workers[name]

    def held(self) -> dict[str, list[int]]:
        """Which slots each may work on at this moment."""
        return {
            name: sorted(slot for slot, tenure in worker.tenures.items() if not tenure.has_ended)
            for name, worker in self.workers.items()
        }

    async def settled(self, most: int = 1, deadline_s: float = 20.0) -> None:
        """Wait until every slot is held and nobody holds more than `most`."""

        async def is_settled() -> bool:
            held = self.held().values()
            return sorted(chain(*held)) == list(range(WORKERS)) and max(map(len, held)) <= most

        await until(is_settled, f"every slot held, at most {most} by one: {self.held()}", deadline_s)

    async def lease(self, slot: int) -> Any:
        return await self.server.request("GET", LEASES.path(self.namespace, object_name("default", slot)))

    def metric(self, name: str, metric: str, **labels: str) -> float:
        return self.registries[name].get_sample_value(f"pronoia_sharing_{metric}", labels) or 0.0


@asynccontextmanager
async def group_on(server: Kubernetes) -> AsyncIterator[Group]:
    namespace = f"sharing-{uuid4().hex[:8]}"
    await server.ensure_namespace(namespace)
    async with AsyncExitStack() as stack:
        made = Group(server, namespace, stack)
        await made.allow(RULES[0]["verbs"])
        yield made
        for task in made.tasks.values():
            task.cancel()
        await asyncio.gather(*made.tasks.values(), return_exceptions=True)


@pytest_asyncio.fixture(loop_scope="session")
async def group(kubernetes: Kubernetes) -> AsyncIterator[Group]:
    async with group_on(kubernetes) as made:
        yield made


async def test_slots_are_spread_and_renewed_and_the_others_write_nothing(group: Group) -> None:
    for name in ("a", "b", "c"):
        await group.add(name)
    await group.settled()
    idle = next(name for name, slots in group.held().items() if not slots)
    renewed = [(await group.lease(slot))["spec"]["renewTime"] for slot in range(WORKERS)]

    async def all_renewed() -> bool:
        now = [(await group.lease(slot))["spec"]["renewTime"] for slot in range(WORKERS)]
        return all(before != after for before, after in zip(renewed, now, strict=True))

    await until(all_renewed, "renewals")
    assert group.metric(idle, "requests_total", step="renew", outcome="ok") == 0
    assert group.metric(idle, "slots_held") == 0
    assert group.metric(idle, "changes_total") > 0
    spec = (await group.lease(0))["spec"]
    assert spec["leaseDurationSeconds"] == LEASE_S
    assert spec["holderIdentity"] in ("a/1", "b/1", "c/1")


async def test_one_agent_does_everything_until_another_comes_and_is_given_half(group: Group) -> None:
    await group.add("a")
    await group.settled(most=WORKERS)
    await group.add("b")
    await group.settled()
    assert group.metric("a", "losses_total", reason="released") == 1
    assert group.metric("b", "requests_total", step="ask", outcome="ok") == 1
    annotations = (await group.lease(1))["metadata"]["annotations"]
    assert "pronoia/wanted-by" not in annotations, "the wish is granted"


async def test_a_killed_agents_slot_goes_to_another_not_before_its_lease_is_over(group: Group) -> None:
    for name in ("a", "b", "c"):
        await group.add(name)
    await group.settled()
    victim = next(name for name, slots in group.held().items() if slots)
    await group.kill(victim)
    killed_s = time.monotonic()
    await group.settled()
    assert time.monotonic() - killed_s > LEASE_S / 2, "it was renewed a third of a lease ago at most"
    assert sum(group.metric(name, "takeovers_total") for name in group.workers) == WORKERS


async def test_an_agent_that_stops_in_order_is_succeeded_at_once_after_its_scrapes_have_ended(group: Group) -> None:
    ended = asyncio.Event()
    await group.add("a", ended.wait)  # type: ignore[arg-type] # what it returns is not looked at
    await group.settled(most=WORKERS)
    await group.add("b")

    async def is_asked() -> bool:
        return "pronoia/wanted-by" in (await group.lease(1))["metadata"]["annotations"]

    await until(is_asked, "b asks")
    closing = asyncio.create_task(group.workers["a"].close())
    await asyncio.sleep(0)
    assert group.held() == {"a": [], "b": []}, "a begins nothing more, and b must wait"
    assert (await group.lease(0))["spec"]["holderIdentity"] == "a/1"
    ended.set()
    await closing
    del group.workers["a"]
    await group.settled(most=WORKERS)


async def test_a_deleted_lease_is_made_anew(group: Group) -> None:
    await group.add("a")
    await group.settled(most=WORKERS)
    await group.server.delete("Lease", object_name("default", 0), group.namespace)

    async def is_back() -> bool:
        answer = await group.server.request("GET", LEASES.path(group.namespace))
        return len(answer["items"]) == WORKERS and group.held() == {"a": [0, 1]}

    await until(is_back, "the lease is back")


async def test_an_api_server_that_comes_back_finds_the_work_taken_up_again(tmp_path: Path) -> None:
    async with Kubernetes(tmp_path / "kubernetes") as server, group_on(server) as group:
        for name in ("a", "b"):
            await group.add(name)
        await group.settled()
        await server.kill()

        async def nobody_works() -> bool:
            return not any(group.held().values())

        await until(nobody_works, "leases run out")
        await server.restart()
        await group.settled(most=WORKERS)


async def test_without_the_right_to_write_leases_nothing_is_shared_and_the_reason_is_told(
    group: Group, caplog: pytest.LogCaptureFixture
) -> None:
    await group.allow(["get", "list", "watch"])
    await group.add("a")

    async def is_told() -> bool:
        return "forbidden to create leases.coordination.k8s.io" in caplog.text

    await until(is_told, "the reason")
    assert group.held() == {"a": []}
