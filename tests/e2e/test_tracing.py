"""One trace from a scrape to its delivery, through every component over real sockets; no harm without a collector."""

import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from agent.config import load
from agent.service import Agent
from gateway.config import GatewayConfig
from gateway.service import Gateway
from pipeline.log.interface import Partition
from pipeline.log.open import open_log
from pipeline.telemetry import LogMetrics
from pipeline.wire.envelope import from_headers
from tests.e2e.exporter import Exporter, Target
from tests.ingester.parts import Store, config_of, ingesting, until
from tests.pipeline.tracing.collector import Collector, Span, collecting, tracing
from tests.servers.processes import Process, free_port

AWAY = {"client_type": "http", "endpoint": "127.0.0.1:1", "insecure": True, "sampling_fraction": 1, "timeout": "1s"}


@dataclass
class Chain:
    """What a test looks at."""

    store: Store
    exporter: Exporter
    contexts: list[str]
    """What the records' headers said once everything had stopped."""

    def kinds(self) -> set[str]:
        return {dict(labels)["__name__"] for labels, _, _ in self.store.taken}


def section(collector: Collector | None, fraction: float) -> dict[str, Any]:
    if collector is None:
        return AWAY
    return {**AWAY, "endpoint": f"127.0.0.1:{collector.port}", "sampling_fraction": fraction}


def job(name: str, port: int) -> dict[str, Any]:
    return {
        "job_name": name,
        "scrape_interval": "1s",
        "scrape_timeout": "1s",
        "metrics_path": f"/{name}",
        "static_configs": [{"targets": [f"127.0.0.1:{port}"]}],
    }


@asynccontextmanager
async def chain(
    folder: Path, collector: Collector | None, *, transport: str = "http", agent: float = 1.0, others: float = 0.0
) -> AsyncIterator[Chain]:
    """Run exporter, agent, gateway, embedded log, ingester and store; `agent` and `others` are sampling fractions."""
    registry = CollectorRegistry()
    listen = {"http": "127.0.0.1:0", "grpc": "127.0.0.1:0"}
    async with Exporter({"a": Target("a", 20)}) as exporter, Store().running() as store:
        ingester_config = config_of(folder / "log", store.url)
        gateway_config = GatewayConfig.model_validate(
            {
                "log": {"sqlite": {"path": str(folder / "log"), "partitions": 2}},
                "listen": listen,
                "tracing": section(collector, others),
            }
        )
        log = open_log(ingester_config.log, LogMetrics(registry))
        await log.start()
        made = Chain(store, exporter, [])
        try:
            async with (
                tracing(gateway_config.tracing, "ingester") as of_ingester,
                tracing(gateway_config.tracing, "gateway") as of_gateway,
                ingesting(ingester_config, log, of_ingester),
            ):
                gateway = Gateway(gateway_config, log, registry, tracing=of_gateway)
                await gateway.start()
                port = gateway.http_port if transport == "http" else gateway.grpc_port
                file = folder / "prometheus.yml"
                jobs = [job("a", exporter.port), job("gone", 1)]
                destination = {"url": f"{transport}://127.0.0.1:{port}"}
                value = {
                    "cluster": "c1",
                    "gateway": destination,
                    "scrape_configs": jobs,
                    "tracing": section(collector, agent),
                }
                file.write_text(json.dumps(value))
                config = load(file, {}).config
                async with tracing(config.tracing, "agent") as of_agent:
                    part = Agent(config, folder / "agent", CollectorRegistry(), "n1", tracing=of_agent)
                    await part.start()
                    try:
                        yield made
                    finally:
                        await part.drain()
                        await gateway.drain()
            for number in range(2):
                for record in await log.read(Partition("pronoia.metrics", number), 0, max_bytes=2**30):
                    made.contexts.append(from_headers(record.headers).traceparent)
        finally:
            await log.close()


def whole(collector: Collector) -> Span | None:
    """Return a good scrape that was one batch, and the first of its delivery's request."""
    delivered = {span.trace for span in collector.named("deliver")}
    for span in collector.named("scrape"):
        if span.error is None and span.attributes["parts"] == 1 and span.trace in delivered:
            return span
    return None


def of_trace(spans: list[Span], trace: str) -> dict[str, Span]:
    return {span.name: span for span in spans if span.trace == trace}


@pytest.mark.parametrize("transport", ["http", "grpc"])
async def test_one_trace_goes_from_a_scrape_to_its_delivery(tmp_path: Path, transport: str) -> None:
    async with collecting() as collector:
        async with chain(tmp_path, collector, transport=transport) as running:
            await until(lambda: whole(collector) is not None)
        scrape = whole(collector)
        assert scrape is not None
        spans = of_trace(collector.spans, scrape.trace)
        assert {name: span.service for name, span in spans.items()} == {
            "scrape": "pronoia-agent",
            "push": "pronoia-agent",
            "accept": "pronoia-gateway",
            "append": "pronoia-gateway",
            "deliver": "pronoia-ingester",
            "send": "pronoia-ingester",
        }
        above = {"push": "scrape", "accept": "scrape", "append": "accept", "deliver": "scrape", "send": "deliver"}
        assert {name: span.parent for name, span in spans.items()} == {
            "scrape": "",
            **{name: spans[parent].id for name, parent in above.items()},
        }
        assert not any(span.error for span in spans.values())
        assert scrape.attributes["target"] == f"http://127.0.0.1:{running.exporter.port}/a"
        assert (scrape.attributes["job"], scrape.attributes["samples"]) == ("a", 20)
        assert spans["push"].attributes["destination"] == "gateway"
        assert spans["push"].attributes["items"] == spans["accept"].attributes["items"] == 25
        assert (spans["accept"].attributes["cluster"], spans["deliver"].attributes["sink"]) == ("c1", "store")
        assert spans["send"].attributes["outcome"] == "delivered"
        failed = next(span for span in collector.named("scrape") if span.attributes["job"] == "gone")
        assert failed.error
        assert set(running.contexts) == {span.traceparent for span in collector.named("scrape")}


async def test_a_batch_whose_scrape_is_not_sampled_carries_nothing_and_is_not_traced(tmp_path: Path) -> None:
    async with collecting() as collector:
        async with chain(tmp_path, collector, agent=0.0) as running:
            await until(lambda: "served_total" in running.kinds())
        assert set(running.contexts) == {""}
        assert collector.spans == []


async def test_a_collector_that_is_away_disturbs_nothing(tmp_path: Path) -> None:
    async with chain(tmp_path, None, others=1.0) as running:
        await until(lambda: len(running.exporter.targets["a"].served) >= 3)
    served = {(at_ms, float(value)) for at_ms, value in running.exporter.targets["a"].served}
    stored = [(at_ms, value) for labels, at_ms, value in running.store.taken if ("series", "7") in labels]
    assert served <= set(stored)
    assert all(context for context in running.contexts)


async def test_an_agent_that_writes_straight_to_a_store_traces_that(tmp_path: Path) -> None:
    file = tmp_path / "prometheus.yml"
    async with Exporter({"a": Target("a", 20)}) as exporter, Store().running() as store, collecting() as collector:
        jobs, writes = [job("a", exporter.port)], [{"name": "there", "url": store.url}]
        value = {"scrape_configs": jobs, "remote_write": writes, "tracing": section(collector, 1.0)}
        file.write_text(json.dumps(value))
        config = load(file, {}).config
        async with tracing(config.tracing) as on:
            part = Agent(config, tmp_path / "agent", CollectorRegistry(), "n1", tracing=on)
            await part.start()
            try:
                await until(lambda: len(store.taken) >= 40)
            finally:
                await part.drain()
        scrapes = {span.id: span for span in collector.named("scrape")}
        for push in collector.named("push"):
            assert push.trace == scrapes[push.parent].trace
            assert push.attributes["destination"] == "remote_write:there"
            assert push.error is None
        assert sum(push.attributes["delivered"] for push in collector.named("push")) == len(store.taken)


async def test_in_one_process_each_section_says_where_its_spans_go(tmp_path: Path) -> None:
    grpc, http, admin, console = (f"127.0.0.1:{free_port()}" for _ in range(4))
    async with Exporter({"a": Target("a", 20)}) as exporter, collecting() as one, collecting() as other:
        sections = {
            "agent": {"cluster": "c1", "scrape_configs": [job("a", exporter.port)], "tracing": section(one, 1.0)},
            "gateway": {"listen": {"grpc": grpc, "http": http, "admin": admin}, "tracing": section(one, 0.0)},
            "ingester": {"sinks": [{"name": "store", "store": {}}], "tracing": section(other, 0.0)},
        }
        (tmp_path / "up.yml").write_text(json.dumps(sections))
        arguments = ("-m", "pronoia", "up", "--config", "up.yml", "--listen", console)
        process = Process((sys.executable, *arguments), tmp_path)

        async def answers() -> bool:
            return process.said(f"http://{console}")

        await process.start(answers)
        try:
            await until(lambda: bool(one.named("accept")) and bool(other.named("deliver")))
            async with aiohttp.ClientSession() as session, session.get(f"http://{admin}/metrics") as answer:
                metrics = await answer.text()
        finally:
            await process.stop()
        assert {span.service for span in one.spans} == {"pronoia-agent", "pronoia-gateway"}
        assert {span.service for span in other.spans} == {"pronoia-ingester"}
        assert {span.trace for span in other.spans} <= {span.trace for span in one.named("scrape")}
    for component in ("agent", "gateway", "ingester"):
        assert f'pronoia_tracing_spans_total{{component="{component}",outcome="exported"}}' in metrics
        assert f'pronoia_tracing_spans_total{{component="{component}",outcome="dropped"}} 0.0' in metrics
