import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry

from gateway.config import GatewayConfig
from gateway.service import Gateway
from pipeline.log.config import LogConfig
from pipeline.log.interface import Partition
from pipeline.log.open import open_log
from pipeline.telemetry import LogMetrics
from pipeline.wire import snappy
from pipeline.wire.envelope import from_headers
from pipeline.wire.remote_write import decode, unpack_double
from tests.gateway.running import WRITE, Running, batch, own, running, stream, until
from tests.servers.kafka import Kafka
from tests.servers.prometheus import Prometheus

PAGE = "# HELP served_total What was served.\n# TYPE served_total counter\n" + "".join(
    f'served_total{{n="{n}"}} {n * 1.5}\n' for n in range(3000)
)


@asynccontextmanager
async def exporter() -> AsyncIterator[int]:
    async def page(_: web.Request) -> web.Response:
        return web.Response(text=PAGE, headers={"Content-Type": "text/plain; version=0.0.4"})

    runner = web.ServerRunner(web.Server(page))  # type: ignore[arg-type]  # every path is the page
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def sender_config(port: int, run: Running, message: str | None, external_labels: dict[str, str]) -> dict[str, Any]:
    write: dict[str, Any] = {"url": run.url("/api/v1/write"), "authorization": {"credentials": "secret-1"}}
    write["queue_config"] = {"batch_send_deadline": "1s", "max_samples_per_send": 500}
    if message is not None:
        write["protobuf_message"] = message
    return {
        "global": {"scrape_interval": "1s", "external_labels": external_labels},
        "scrape_configs": [{"job_name": "j", "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}],
        "remote_write": [write],
    }


async def failed(prometheus: Prometheus) -> float:
    """Return how many samples Prometheus says that we did not take."""
    async with aiohttp.ClientSession() as session, session.get(f"{prometheus.url}/metrics") as answer:
        text = await answer.text()
    found = re.findall(r"^prometheus_remote_storage_samples_failed_total\{.*\} (\S+)$", text, re.MULTILINE)
    return sum(map(float, found))


async def served(run: Running) -> dict[str, float]:
    """Return the exporter's series in the log, by their number, all of one cluster."""
    out: dict[str, float] = {}
    for record in await run.records():
        for one in decode(snappy.decompress(record.payload)):
            labels = dict(one.labels)
            assert labels["cluster"] == "c1"
            if labels["__name__"] == "served_total":
                out[labels["n"]] = unpack_double(one.samples[-1][0])[0]
    return out


@pytest.mark.prometheus
@pytest.mark.parametrize("external_labels", [{"cluster": "c1"}, {}], ids=["labelled", "bare"])
@pytest.mark.parametrize("message", [None, "io.prometheus.write.v2.Request"], ids=["1.0", "2.0"])
async def test_what_a_real_prometheus_sends_is_in_the_log(
    tmp_path: Path, message: str | None, external_labels: dict[str, str]
) -> None:
    async with running(tmp_path) as run, exporter() as port:
        config = sender_config(port, run, message, external_labels)
        if message is not None:
            async with Prometheus(tmp_path / "probe") as probe:
                if not probe.takes_remote_write_2:
                    pytest.skip("this Prometheus does not speak remote write 2.0")
        async with Prometheus(tmp_path / "prometheus", config=config) as prometheus:

            async def all_there() -> bool:
                return len(await served(run)) == 3000

            await until(all_there, "every series is in the log", 30.0)
            assert await served(run) == {str(n): n * 1.5 for n in range(3000)}
            assert await failed(prometheus) == 0
        for record in await run.records():
            raw = snappy.decompress(record.payload)
            assert from_headers(record.headers).items == sum(len(one.samples) for one in decode(raw))


@pytest.mark.prometheus
async def test_a_real_prometheus_of_another_cluster_is_refused_and_hears_of_it(tmp_path: Path) -> None:
    async with running(tmp_path) as run, exporter() as port:
        config = sender_config(port, run, None, {"cluster": "c2"})
        async with Prometheus(tmp_path / "prometheus", config=config) as prometheus:

            async def refused() -> bool:
                return await failed(prometheus) > 0

            await until(refused, "Prometheus counts what was refused", 30.0)
        assert await run.records() == []
        assert (
            run.metric("pronoia_gateway_refused_items_total", cluster="c1", signal="metrics", reason="foreign") >= 500
        )


@pytest.mark.kafka
async def test_the_same_gateway_works_over_kafka(kafka: Kafka, tmp_path: Path) -> None:
    log_config = LogConfig(kafka=kafka.config(partitions=3))
    config = GatewayConfig.model_validate(
        {
            "log": log_config,
            "clusters": [{"name": "c1", "tokens": ["secret-1"]}],
            "listen": {"http": "127.0.0.1:0", "grpc": "127.0.0.1:0"},
            "name": "gw",
        }
    )
    registry = CollectorRegistry()
    log = open_log(log_config, LogMetrics(registry))
    await log.start()
    gateway = Gateway(config, log, registry)
    try:
        await gateway.start()
        assert gateway.ready() is None
        async with stream(gateway.grpc_port) as call:
            for sequence in range(50):
                await call.write(batch(own(sequence), sequence))
            await call.done_writing()
            acks = [ack async for ack in call]
        assert (acks[-1].sequence, {ack.status for ack in acks}) == (49, {0})
        url = f"http://127.0.0.1:{gateway.http_port}/api/v1/write"
        headers = {"Authorization": "Bearer secret-1"}
        async with aiohttp.ClientSession(headers=headers) as session:
            for number in range(20):
                async with session.post(url, data=snappy.compress(own(number)), headers=WRITE) as answer:
                    assert answer.status == 204
        found: dict[tuple[str, int], list[int]] = {}
        for partition in range(3):
            at = Partition(log_config.topic("metrics").name, partition)
            for record in await log.read(at, 0, max_bytes=1 << 24):
                envelope = from_headers(record.headers)
                found.setdefault((envelope.agent, envelope.lane), []).append(envelope.sequence)
        assert found.pop(("node-1", 3)) == list(range(50))
        ((agent, _),) = found
        assert agent == "gw"
        assert list(found.values()) == [list(range(20))]
    finally:
        await gateway.drain()
        await log.close()
