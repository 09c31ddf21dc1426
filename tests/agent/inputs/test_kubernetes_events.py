"""Events of a real API server: read by one agent, each once, through restarts and hand-overs."""

import asyncio
import json
import sys
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml

from agent.config.kubernetes_events import KubernetesEventsConfig
from agent.inputs.elected import group_name
from agent.inputs.kubernetes_event import KubernetesEvent
from agent.inputs.kubernetes_events import KubernetesEvents
from tests.agent.inputs.parts import Desk, Memory, running
from tests.e2e.processes import until
from tests.servers.kubernetes import ADMIN_TOKEN, Kubernetes, RefusedError

pytestmark = [pytest.mark.kubernetes, pytest.mark.asyncio(loop_scope="session")]


class Namespace:
    """A namespace of a test's own, whose events it writes."""

    def __init__(self, server: Kubernetes, folder: Path, name: str) -> None:
        self.server = server
        self.name = name
        self.kubeconfig = folder / "kubeconfig"
        self.kubeconfig.write_text(
            yaml.safe_dump(
                {
                    "current-context": "c",
                    "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u", "namespace": name}}],
                    "clusters": [
                        {"name": "c", "cluster": {"server": server.url, "certificate-authority": str(server.ca_file)}}
                    ],
                    "users": [{"name": "u", "user": {"token": ADMIN_TOKEN}}],
                }
            )
        )

    async def happens(self, name: str, message: str, **more: Any) -> None:
        event = {
            "metadata": {"name": name, "namespace": self.name},
            "involvedObject": {"kind": "Pod", "name": "web-0", "namespace": self.name, "apiVersion": "v1"},
            "reason": "BackOff",
            "message": message,
            "type": "Warning",
            "count": 3,
            "lastTimestamp": "2026-01-02T03:04:05Z",
            "source": {"component": "kubelet", "host": "n1"},
            **more,
        }
        await self.server.request("POST", f"/api/v1/namespaces/{self.name}/events", event)

    async def happens_again(self, name: str, message: str) -> None:
        body = {"message": message, "count": 4}
        path = f"/api/v1/namespaces/{self.name}/events/{name}"
        await self.server.request("PATCH", path, body, content_type="application/merge-patch+json")

    def source(self, desk: Desk, **more: Any) -> KubernetesEvents:
        given = {"namespaces": [self.name], "kubeconfig_file": self.kubeconfig, "lease_duration": 3, **more}
        return KubernetesEvents(KubernetesEventsConfig.model_validate(given), desk.tools())


@pytest_asyncio.fixture(loop_scope="session")
async def namespace(kubernetes: Kubernetes, tmp_path: Path) -> AsyncIterator[Namespace]:
    name = f"events-{uuid.uuid4().hex[:8]}"
    await kubernetes.ensure_namespace(name)
    yield Namespace(kubernetes, tmp_path, name)


def messages(desk: Desk) -> list[str]:
    return [json.loads(text)["msg"] for text in desk.memory.texts]


async def test_events_are_lines_with_labels(namespace: Namespace) -> None:
    desk = Desk(Memory())
    desk.relabel = lambda found: {
        **{name: value for name, value in found.items() if not name.startswith("__")},
        "reason": found["__meta_kubernetes_event_reason"],
    }
    await namespace.happens("a", 'Back-off "restarting"')
    async with running(namespace.source(desk, labels={"by": "events"})):
        [line] = await desk.memory.has(1)
        await namespace.happens_again("a", "again")
        await desk.memory.has(2)
    version = line.line.partition("eventRV=")[2].partition(" ")[0]
    assert line.line == (
        f"name=web-0 kind=Pod objectAPIversion=v1 eventRV={version} sourcecomponent=kubelet sourcehost=n1"
        ' reason=BackOff type=Warning count=3 msg="Back-off \\"restarting\\""'
    )
    assert line.labels == {"namespace": namespace.name, "job": "job", "by": "events", "reason": "BackOff"}
    assert line.time_ns == 1_767_323_045 * 10**9
    assert 'count=4 msg="again"' in desk.memory.texts[1]


async def test_a_restart_neither_loses_nor_repeats(namespace: Namespace) -> None:
    memory = Memory()
    for number in range(3):
        desk = Desk(memory)
        await namespace.happens(f"stopped-{number}", f"stopped {number}")
        async with running(namespace.source(desk, log_format="json", elected=False)):
            await namespace.happens(f"running-{number}", f"running {number}")
            await memory.has(2 * number + 2)
    assert messages(Desk(memory)) == [f"{state} {number}" for number in range(3) for state in ("stopped", "running")]


async def test_one_of_two_agents_reads_and_the_other_goes_on_behind_it(namespace: Namespace) -> None:
    first, second = Desk(Memory()), Desk(Memory())
    await namespace.happens("e0", "0")
    async with running(namespace.source(second, log_format="json")):
        await second.memory.has(1)
        async with running(namespace.source(first, log_format="json")):
            await namespace.happens("e1", "1")
            await second.memory.has(2)
            assert not first.memory.lines
    # It let go in order: the other has it at once, and reads nothing again.
    await namespace.happens("e2", "2")
    async with running(namespace.source(first, log_format="json")):
        await first.memory.has(1)
        await namespace.happens("e3", "3")
        await first.memory.has(2)
    assert (messages(second), messages(first)) == (["0", "1"], ["2", "3"])


async def test_an_agent_that_was_killed_is_followed_by_another(namespace: Namespace) -> None:
    await namespace.happens("e0", "0")
    given = {"namespaces": [namespace.name], "kubeconfig_file": str(namespace.kubeconfig), "lease_duration": 3}
    command = (sys.executable, "-m", "tests.agent.inputs.reads_events", json.dumps({**given, "log_format": "json"}))
    first = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        assert first.stdout is not None
        assert json.loads(await first.stdout.readline())["msg"] == "0"
        path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace.name}/leases/pronoia-position-events-job"

        async def is_noted() -> bool:
            try:
                await namespace.server.request("GET", path)
            except RefusedError:
                return False
            return True

        await until(is_noted, "how far it has come is noted in the cluster")
        second = Desk(Memory())
        async with running(namespace.source(second, log_format="json")):
            first.kill()
            await namespace.happens("e1", "1")
            await second.memory.has(1)
    finally:
        if first.returncode is None:
            first.kill()
        await first.wait()
    assert messages(second) == ["1"]


async def test_versions_that_begin_anew_do_not_hide_events(namespace: Namespace) -> None:
    memory = Memory()
    async with running(namespace.source(Desk(memory), log_format="json", elected=False)):
        await namespace.happens("a", "a")
        await memory.has(1)
    [key] = [key for key in memory.kept if key.endswith(b"position")]
    memory.kept[key] = b"99999999999"
    async with running(namespace.source(Desk(memory), log_format="json", elected=False)):
        await namespace.happens("b", "b")
        await memory.has(2)
    assert messages(Desk(memory)) == ["a", "b"]


async def test_an_agent_that_may_not_read_says_so(namespace: Namespace) -> None:
    token = await namespace.server.token(
        "nobody", [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}], namespace=namespace.name
    )
    text = namespace.kubeconfig.read_text().replace(ADMIN_TOKEN, token)
    namespace.kubeconfig.write_text(text)
    source = namespace.source(Desk(Memory()), elected=False)
    task = asyncio.create_task(source.run())

    async def is_told() -> bool:
        return "events" in (source.trouble() or "") and "forbidden" in (source.trouble() or "").lower()

    try:
        await until(is_told, "it says what it may not")
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_groups_have_names_that_a_lease_can_have() -> None:
    assert group_name("events", "cluster") == "events-cluster"
    names = {group_name("events", job) for job in ("Events!", "events?", "x" * 100, "x" * 99 + "y")}
    assert len(names) == 4
    assert all(len(name) <= 40 and name.islower() for name in names)


async def test_the_time_of_an_event_is_its_last() -> None:
    import msgspec

    newer = {
        "metadata": {"name": "n", "resourceVersion": "7", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "eventTime": "2026-01-01T00:00:01.000001Z",
        "series": {"count": 9, "lastObservedTime": "2026-01-01T00:00:02.5Z"},
        "lastTimestamp": None,
        "reportingComponent": "scheduler",
    }
    event = msgspec.convert(newer, KubernetesEvent, strict=False)
    assert event.time_ns == 1_767_225_602_500_000_000
    assert event.version == 7
