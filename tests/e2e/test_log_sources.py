"""Containers, topics and a cluster's events through an agent's process into a real Loki."""

import json
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml
from aiokafka import AIOKafkaProducer

from tests.e2e.processes import Member, until
from tests.servers.docker import Docker
from tests.servers.kafka import Kafka
from tests.servers.kubernetes import ADMIN_TOKEN, Kubernetes
from tests.servers.loki import Found, Loki
from tests.servers.processes import free_port

pytestmark = [pytest.mark.loki, pytest.mark.asyncio(loop_scope="session")]

HOUR_NS = 3600 * 10**9


@pytest_asyncio.fixture(loop_scope="session")
async def loki(tmp_path: Path) -> AsyncIterator[Loki]:
    """A Loki on the loop of the servers that all tests share."""
    async with Loki(tmp_path / "loki") as server:
        yield server


@asynccontextmanager
async def agent_with(folder: Path, loki: Loki, *jobs: dict[str, Any]) -> AsyncIterator[Member]:
    port = free_port()
    config = {
        "server": {"http_listen_address": "127.0.0.1", "http_listen_port": port},
        "clients": [{"url": loki.push_url, "external_labels": {"machine": folder.name}}],
        "scrape_configs": list(jobs),
    }
    agent = Member(folder / "agent", "agent", config, port)
    await agent.start()
    try:
        yield agent
    finally:
        await agent.process.kill()


async def found(loki: Loki, machine: str) -> list[Found]:
    now_ns = time.time_ns()
    return await loki.entries(f'{{machine="{machine}"}}', start_ns=now_ns - HOUR_NS, end_ns=now_ns + HOUR_NS)


async def has(loki: Loki, machine: str, count: int) -> list[Found]:
    async def enough() -> bool:
        return len(await found(loki, machine)) >= count

    await until(enough, f"{count} lines are in Loki")
    return await found(loki, machine)


@pytest.mark.docker
async def test_containers_are_discovered_relabelled_by_stream_and_read_once_through_a_kill(
    tmp_path: Path, loki: Loki, tmp_path_factory: pytest.TempPathFactory
) -> None:
    async with Docker(tmp_path_factory.mktemp("d")) as docker:
        script = 'n=0; while [ $n -lt 500 ]; do echo "out $n"; echo "err $n" >&2; n=$((n+1)); done; sleep 1000'
        for name in ("wanted", "other"):
            command = ["/bin/sh", "-c", script]
            await docker.run(name, Cmd=command, HostConfig={"NetworkMode": "none"}, Labels={"role": name})
        stream = "__meta_docker_container_log_stream"
        job = {
            "job_name": "containers",
            "docker_sd_configs": [{"host": f"unix://{docker.socket}", "refresh_interval": "1s"}],
            "relabel_configs": [
                {"source_labels": ["__meta_docker_container_label_role"], "regex": "wanted", "action": "keep"},
                {"source_labels": [stream], "regex": "stderr", "action": "keep"},
                {"source_labels": ["__meta_docker_container_name"], "regex": "/(.*)", "target_label": "container"},
                {"source_labels": [stream], "target_label": "stream"},
            ],
        }
        async with agent_with(tmp_path, loki, job) as agent:
            await has(loki, tmp_path.name, 1)
            await agent.process.kill()
            await agent.start()
            lines = await has(loki, tmp_path.name, 500)
    assert sorted(entry.line for entry in lines) == sorted(f"err {number}" for number in range(500))
    assert dict(lines[0].labels) == {"machine": tmp_path.name, "container": "wanted", "stream": "stderr"}


@pytest.mark.kafka
@pytest.mark.kubernetes
async def test_topics_and_events_arrive_once_through_a_kill(
    tmp_path: Path, loki: Loki, kafka: Kafka, kubernetes: Kubernetes
) -> None:
    name = f"e2e-{uuid.uuid4().hex[:8]}"
    await kubernetes.ensure_namespace(name)
    cluster = {"server": kubernetes.url, "certificate-authority": str(kubernetes.ca_file)}
    kubeconfig = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u", "namespace": name}}],
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": {"token": ADMIN_TOKEN}}],
    }
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(kubeconfig))
    events = {"namespaces": [name], "kubeconfig_file": str(tmp_path / "kubeconfig"), "lease_duration": 3}
    topic = {"brokers": [kafka.address], "topics": [name], "group_id": name, "labels": {"job": "topic"}}
    jobs = (
        {"job_name": "topic", "kafka": topic},
        {"job_name": "events", "kubernetes_events": {**events, "log_format": "json"}},
    )
    producer = AIOKafkaProducer(bootstrap_servers=kafka.address)
    await producer.start()
    try:
        async with agent_with(tmp_path, loki, *jobs) as agent:
            for part in range(3):
                for number in range(100):
                    await producer.send(name, f"record {part}-{number}".encode())
                await producer.flush()
                event = {
                    "metadata": {"name": f"event-{part}", "namespace": name},
                    "involvedObject": {"kind": "Pod", "name": "p", "namespace": name},
                    "message": f"event {part}",
                }
                await kubernetes.request("POST", f"/api/v1/namespaces/{name}/events", event)
                lines = await has(loki, tmp_path.name, 101 * (part + 1))
                await agent.process.kill()
                await agent.start()
    finally:
        await producer.stop()
    texts = [json.loads(entry.line)["msg"] if entry.line.startswith("{") else entry.line for entry in lines]
    records = [f"record {part}-{number}" for part in range(3) for number in range(100)]
    assert sorted(texts) == sorted([*records, *(f"event {part}" for part in range(3))])
