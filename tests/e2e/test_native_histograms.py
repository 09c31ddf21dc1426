"""One target, scraped by Prometheus and by our agent: what both stores answer is the same, whatever the way there."""

from pathlib import Path
from typing import Any

import pytest

from tests.e2e.processes import Fleet, Member, until
from tests.servers.histograms import Histograms
from tests.servers.kafka import Kafka
from tests.servers.processes import free_port
from tests.servers.prometheus import Prometheus

pytestmark = [pytest.mark.kafka, pytest.mark.prometheus]

WAYS = ("1.0", "2.0", "gateway, 1.0", "gateway, 2.0")
V2 = "io.prometheus.write.v2.Request"
LOCAL = {"via", "cluster"}
"""Labels that only the receiving store has."""
QUERIES = (
    '{job="t", __name__!~"scrape_.*"%s}',
    'histogram_quantile(0.9, native_seconds{job="t"%s})',
    'histogram_quantile(0.1, native_seconds{job="t"%s})',
    'histogram_fraction(0, 5, both_seconds{job="t"%s})',
    'histogram_avg(both_seconds{job="t"%s})',
    'histogram_quantile(0.9, sum by (le, via) (both_seconds_bucket{job="t"%s}))',
    'histogram_stddev(native_seconds{path="/signed", job="t"%s})',
)


def job(target: Histograms) -> dict[str, Any]:
    return {
        "job_name": "t",
        "scrape_interval": "1s",
        "scrape_native_histograms": True,
        "always_scrape_classic_histograms": True,
        "static_configs": [{"targets": [target.address]}],
    }


def sends(fleet: Fleet, target: Histograms, via: str, message: str | None) -> None:
    """Add an agent that writes straight to the store."""
    admin = free_port()
    write = {"url": fleet.write_url} | ({} if message is None else {"protobuf_message": message})
    config = {
        "global": {"external_labels": {"via": via}},
        "scrape_configs": [job(target)],
        "agent": via,
        "admin": f"127.0.0.1:{admin}",
        "remote_write": [write],
    }
    fleet.members[via] = Member(fleet.folder / via, "agent", config, admin)


def add_ways(fleet: Fleet, target: Histograms) -> None:
    sends(fleet, target, "1.0", None)
    sends(fleet, target, "2.0", V2)
    fleet.add_gateway("gateway")
    ingester = fleet.add_ingester("ingester")
    rule = {"target_label": "via", "action": "replace"}
    sinks = [
        {
            "name": f"sink{number}",
            "remote_write": {
                "url": fleet.write_url,
                "write_relabel_configs": [{**rule, "replacement": way}],
                **({"protobuf_message": V2} if way.endswith("2.0") else {}),
            },
        }
        for number, way in enumerate(WAYS[2:])
    ]
    del fleet.members["ingester"]
    config = {"log": fleet._log(), "admin": f"127.0.0.1:{ingester.admin}", "sinks": sinks}
    fleet.members["ingester"] = Member(fleet.folder / "ingester2", "ingester", config, ingester.admin)
    fleet.add_agent("agent", "c1", [job(target)], gateway=0)


async def answers(store: Prometheus, selector: str) -> list[dict[Any, Any]]:
    """Ask every question; labels that only the receiving store has are left out."""
    out = []
    for query in QUERIES:
        found = await store.values(query % selector)
        out.append({tuple(pair for pair in labels if pair[0] not in LOCAL): value for labels, value in found.items()})
    return out


async def test_both_stores_answer_the_same(kafka: Kafka, prometheus: Prometheus, tmp_path: Path) -> None:
    if prometheus.version < (3, 0, 0):
        pytest.skip("Debian's Prometheus has other defaults for native histograms")
    async with (
        Histograms(tmp_path / "target") as target,
        Prometheus(tmp_path / "scraping", config={"scrape_configs": [job(target)]}) as scraping,
        Fleet(tmp_path, [kafka.address], prometheus.write_url, prefix="histograms.") as fleet,
    ):
        add_ways(fleet, target)
        await fleet.start()
        native = 'histogram_count(native_seconds{path="/"%s})'

        async def counted(count: float) -> bool:
            stores = [(scraping, ""), *((prometheus, f', via="{via}"') for via in WAYS)]
            found = [await store.query(native % selector) for store, selector in stores]
            return all(list(one.values()) == [count] for one in found)

        await until(lambda: counted(300), f"the first scrape by every way\n{fleet.tails()}")
        await target.observe()
        await until(lambda: counted(302), "the observations by every way")
        want = await answers(scraping, "")
        assert len(want[0]) == 26 and all(want)
        for via in WAYS:
            assert await answers(prometheus, f', via="{via}"') == want, via
        assert await scraping.query('http_server_active{job="t"}')

        # The ledger counts a histogram as one: what was received was delivered, to the item.
        (cluster,) = (await fleet.status())["clusters"]
        for name, sink in cluster["signals"]["metrics"]["sinks"].items():
            assert sink["delivered"] > 0, name
            assert [sink[key] for key in ("rejected", "missing", "duplicated")] == [0, 0, 0], (name, sink)

        # A series of native histograms that goes ends at once, in the receiving store as in the scraping one.
        await target.reset()

        async def gone() -> bool:
            everywhere = 'count({__name__=~"native_seconds|both_seconds.*|requests_total"})'
            return not await scraping.query(everywhere) and not await prometheus.query(everywhere)

        await until(gone, "the end of what the target has no more", 20.0)
        # And begins again, which is a reset of its counters.
        await target.observe()
        await until(lambda: counted(2), "the new observations by every way")
        want = await answers(scraping, "")
        for via in WAYS:
            assert await answers(prometheus, f', via="{via}"') == want, via
