import time
from pathlib import Path

import aiohttp
import psutil
import pytest

from pipeline.wire import snappy
from pipeline.wire.loki import encode_entry, encode_stream
from tests.servers.elasticsearch import Elasticsearch
from tests.servers.kafka import Kafka
from tests.servers.kubernetes import Kubernetes
from tests.servers.loki import Loki
from tests.servers.opensearch import OpenSearch
from tests.servers.prometheus import Prometheus


@pytest.mark.prometheus
async def test_prometheus_answers_after_a_kill_and_keeps_its_data(prometheus: Prometheus) -> None:
    await prometheus.kill()
    await prometheus.restart()
    assert await prometheus.query("vector(1)") == {(): 1.0}
    now_s = time.time()
    steps = await prometheus.query_range("vector(2)", start_s=now_s - 2, end_s=now_s, step_s=1)
    assert [value for _, value in steps[()]] == [2.0, 2.0, 2.0]
    assert prometheus.version[0] >= 2


@pytest.mark.kafka
async def test_kafka_starts_again_on_the_same_port_after_a_kill(tmp_path: Path, kafka: Kafka) -> None:
    async with Kafka(tmp_path / "own") as own:
        address = own.address
        await own.kill()
        await own.restart()
        assert own.address == address != kafka.address


@pytest.mark.loki
async def test_loki_keeps_its_entries_over_a_kill(loki: Loki) -> None:
    now_ns = time.time_ns()
    payload = snappy.compress(encode_stream(b'{app="x"}', encode_entry(now_ns, b"kept", [("k", "v")])))
    async with aiohttp.ClientSession() as session, session.post(loki.push_url, data=payload) as answer:
        assert answer.status == 204
    await loki.kill()
    await loki.restart()
    found = await loki.entries('{app="x"}', start_ns=now_ns - 10**9, end_ns=now_ns + 10**9)
    assert found == [((("app", "x"),), now_ns, "kept", (("k", "v"),))]


@pytest.mark.kubernetes
async def test_an_api_server_keeps_its_objects_over_a_kill(tmp_path: Path) -> None:
    async with Kubernetes(tmp_path / "own") as own:
        await own.apply({"kind": "Service", "metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}})
        await own.kill()
        await own.restart()
        listed = await own.request("GET", "/api/v1/namespaces/default/services")
        assert "s" in [item["metadata"]["name"] for item in listed["items"]]


@pytest.mark.elasticsearch
async def test_elasticsearch_leaves_neither_processes_nor_files_and_keeps_its_documents_over_a_kill() -> None:
    async with Elasticsearch() as own:
        await own.request("PUT", "/kept/_doc/1?refresh=true", {"a": 1})
        pids, folder = own.pids, own.folder
        await own.kill()
        assert not any(psutil.pid_exists(pid) for pid in pids)
        await own.restart()
        assert [document["_id"] for document in await own.documents("kept")] == ["1"]
        pids = own.pids
    assert not any(psutil.pid_exists(pid) for pid in pids)
    assert not folder.exists()


@pytest.mark.opensearch
async def test_opensearch_keeps_its_documents_over_a_kill() -> None:
    async with OpenSearch() as own:
        await own.request("PUT", "/kept/_doc/1?refresh=true", {"a": 1})
        await own.kill()
        await own.restart()
        assert await own.count("kept") == 1
