"""Samples of two clusters, from exporters to a PromQL answer, through every process there is."""

from pathlib import Path
from typing import Any

import pytest

from tests.e2e.exporter import Exporter, Target
from tests.e2e.judge import judge, settled
from tests.e2e.processes import Fleet, until
from tests.servers.kafka import Kafka
from tests.servers.prometheus import Prometheus

pytestmark = [pytest.mark.kafka, pytest.mark.prometheus]


def jobs(exporter: Exporter) -> list[dict[str, Any]]:
    return [
        {"job_name": name, "metrics_path": f"/{name}", "static_configs": [{"targets": [f"127.0.0.1:{exporter.port}"]}]}
        for name in exporter.targets
    ]


@pytest.mark.parametrize("http", [False, True], ids=["grpc", "http"])
async def test_two_clusters_arrive_with_the_values_that_were_scraped(
    kafka: Kafka, prometheus: Prometheus, tmp_path: Path, http: bool
) -> None:
    async with (
        Exporter({"a": Target("a", 50), "b": Target("b", 50)}) as one,
        Exporter({"a": Target("a", 50)}) as other,
        Fleet(tmp_path, [kafka.address], prometheus.write_url, prefix=f"chain-{http}.") as fleet,
    ):
        fleet.add_gateway("gateway")
        fleet.add_ingester("ingester")
        fleet.add_agent("agent-c1", "c1", jobs(one), gateway=0, http=http)
        fleet.add_agent("agent-c2", "c2", jobs(other), gateway=0, http=http)
        await fleet.start()

        async def scraped_often() -> bool:
            return all(len(t.served) >= 5 for exporter in (one, other) for t in exporter.targets.values())

        await until(scraped_often, "five scrapes of every target")
        one.frozen = other.frozen = True
        exporters = {"c1": one, "c2": other}
        await settled(prometheus, quiet_s=3.0)
        verdict = await judge(prometheus, exporters)
        assert verdict.clean, f"{verdict}\n{fleet.tails()}"
        assert await prometheus.query("count by (cluster) (count by (cluster, job) (served_total))") == {
            (("cluster", "c1"),): 2.0,
            (("cluster", "c2"),): 1.0,
        }
        for member in reversed(fleet.members.values()):
            await member.process.stop()
        assert "did not drain" not in fleet.tails()


async def test_parts_start_in_any_order(kafka: Kafka, prometheus: Prometheus, tmp_path: Path) -> None:
    async with (
        Exporter({"a": Target("a", 10)}) as exporter,
        Fleet(tmp_path, [kafka.address], prometheus.write_url, prefix="order.") as fleet,
    ):
        fleet.add_gateway("gateway")
        fleet.add_ingester("ingester")
        fleet.add_agent("agent-c1", "c1", jobs(exporter), gateway=0)
        for member in reversed(fleet.members.values()):
            await member.start()

        async def there() -> bool:
            return bool(await prometheus.query('served_total{cluster="c1"}'))

        await until(there, "a sample in the store")
