"""Pages of every odd kind, scraped by Prometheus itself and by ours: both store the same, or refuse the same."""

import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from agent.config import GlobalConfig, ScrapeConfig
from agent.scrape.labelling import Labelling
from agent.scrape.metadata import MetadataBook
from agent.scrape.options import page_options
from agent.scrape.page import Page
from agent.targets import Target
from tests.agent.scrape.pages import drive
from tests.agent.scrape.test_fetch import serving
from tests.e2e.processes import until
from tests.pipeline.wire.client_model import (
    CONTENT_TYPE,
    COUNTER,
    GAUGE,
    GAUGE_HISTOGRAM,
    HISTOGRAM,
    SUMMARY,
    UNTYPED,
    delimited,
    encode,
    family,
    labels,
)
from tests.servers.prometheus import Prometheus

pytestmark = pytest.mark.prometheus

CLASSIC = {
    "sample_count": 7,
    "sample_sum": 4.25,
    "bucket": [{"cumulative_count": 2, "upper_bound": 0.5}, {"cumulative_count": 5, "upper_bound": 1}],
}
NATIVE = {
    "sample_count": 22,
    "sample_sum": 18.4,
    "schema": 2,
    "zero_threshold": 0.001,
    "zero_count": 2,
    "negative_span": [{"offset": 0, "length": 2}, {"offset": 1, "length": 2}],
    "negative_delta": [2, 1, -2, 3],
    "positive_span": [{"offset": -3, "length": 2}, {"offset": 3, "length": 2}],
    "positive_delta": [2, 1, -2, 3],
}
FLOATS = {
    "sample_count_float": 24.5,
    "sample_sum": 18.4,
    "schema": 1,
    "zero_threshold": 0.001,
    "zero_count_float": 2.5,
    "positive_span": [{"offset": 0, "length": 2}, {"offset": 1, "length": 2}],
    "positive_count": [2.25, 1, 0, 3],
}
# Empty buckets, spans without length, two that touch: Prometheus makes the most compact of it.
LOOSE = {
    "sample_count": 5,
    "sample_sum": 1,
    "schema": 0,
    "positive_span": [
        {"offset": 2, "length": 3},
        {"offset": 2, "length": 0},
        {"offset": 0, "length": 2},
        {"length": 1},
    ],
    "positive_delta": [0, 3, -3, 1, -1, 1],
}
FINE = {  # 40 buckets of one observation each
    "sample_count": 40,
    "sample_sum": 1,
    "schema": 8,
    "positive_span": [{"offset": -500, "length": 20}, {"offset": 100, "length": 20}],
    "positive_delta": [1] + [0] * 39,
}


def histogram(content: dict[str, Any], **pairs: str) -> dict[str, Any]:
    return {"label": labels(**pairs), "histogram": content}


GOOD = {
    "plain": [
        family("c", COUNTER, {"label": labels(a="b"), "counter": {"value": 3}}, help="A counter.", unit="x"),
        family("g", GAUGE, {"gauge": {"value": "-Infinity"}}, {"label": labels(z="1", a=""), "gauge": {}}),
        family("u", UNTYPED, {"untyped": {"value": 1e-300}}, {"label": labels(x='ü\n"'), "untyped": {"value": 2}}),
        family("nothing", COUNTER),
        family("dotted.name/ü", GAUGE, {"label": labels(**{"http.route": "/"}), "gauge": {"value": 1}}),
    ],
    "summary": [
        family("s", SUMMARY, {"summary": {"sample_count": 3, "sample_sum": 0.5}}),
        family(
            "q",
            SUMMARY,
            {"summary": {"sample_count": 3, "quantile": [{"quantile": 0.5, "value": 2}, {"quantile": 1, "value": 1}]}},
        ),
    ],
    "classic": [
        family("h", HISTOGRAM, histogram(CLASSIC, a="1"), histogram({}, a="2")),
        family("gh", GAUGE_HISTOGRAM, histogram(CLASSIC)),
        family(
            "inf",
            HISTOGRAM,
            histogram({"sample_count": 1, "bucket": [{"upper_bound": "Infinity"}, {"upper_bound": 9}]}),
        ),
        family(
            "fl",
            HISTOGRAM,
            histogram({"sample_count_float": 1.5, "bucket": [{"cumulative_count_float": 0.5, "upper_bound": 2}]}),
        ),
    ],
    "native": [
        family("n", HISTOGRAM, histogram(NATIVE, a="1"), histogram(NATIVE | {"schema": -4}, a="2")),
        family("old", HISTOGRAM, histogram(NATIVE), syntax="proto2"),
        family("gn", GAUGE_HISTOGRAM, histogram(NATIVE)),
        family("loose", HISTOGRAM, histogram(LOOSE)),
        family("nothing_yet", HISTOGRAM, histogram({"positive_span": [{}]})),
        family("zeros", HISTOGRAM, histogram({"sample_count": 2, "zero_count": 2})),
        family("nan", HISTOGRAM, histogram(NATIVE | {"sample_count": 30, "sample_sum": "NaN"})),
    ],
    "floats": [
        family("f", HISTOGRAM, histogram(FLOATS)),
        family("gf", GAUGE_HISTOGRAM, histogram(FLOATS)),
        family("odd", HISTOGRAM, histogram(FLOATS | {"positive_count": [0, 0, 0, 0]})),
    ],
    "mixed": [
        family("m", HISTOGRAM, histogram(NATIVE | CLASSIC | {"sample_count": 22}, a="1"), histogram(CLASSIC, a="2")),
        family("m2", HISTOGRAM, histogram(CLASSIC, a="1"), histogram(NATIVE, a="2")),
    ],
    "fine": [family("fine", HISTOGRAM, histogram(FINE))],
    "beyond": [family("fine", HISTOGRAM, histogram(FINE | {"schema": 20}))],
    "empty": [],
}
BAD = {
    "count": [family("n", HISTOGRAM, histogram(NATIVE | {"sample_count": 21}))],
    "spans": [family("n", HISTOGRAM, histogram(NATIVE | {"positive_delta": [1]}))],
    "schema": [family("n", HISTOGRAM, histogram(NATIVE | {"schema": -5}))],
    "negative": [family("n", HISTOGRAM, histogram(NATIVE | {"positive_delta": [-2, 1, 2, 7]}))],
    "negative float": [family("n", HISTOGRAM, histogram(FLOATS | {"positive_count": [1, -1, 1, 1]}))],
    "gap": [
        family("n", HISTOGRAM, histogram(NATIVE | {"positive_span": [{"length": 2}, {"offset": -1, "length": 2}]}))
    ],
    "type": [family("n", 6, {"gauge": {"value": 1}})],
    "name": [family("", GAUGE, {"gauge": {"value": 1}})],
    "label": [family("n", GAUGE, {"label": labels(**{"": "x"}), "gauge": {"value": 1}})],
    "twice": [family("n", GAUGE, {"label": labels(a="x") + labels(a="y"), "gauge": {"value": 1}})],
}
RAW = {
    "no end": encode(*GOOD["plain"])[:-3],
    "length": b"\xff\xff\xff\xff\xff\xff\x01",
    "not utf-8": delimited(b"\x0a\x01n\x18\x01\x22\x10\x0a\x06\x0a\x01a\x12\x01\xff\x12\x06\x09\x00\x00\x00\x00\x00"),
    "group": delimited(b"\x0a\x01n\x18\x01\x22\x02\x0b\x0c"),
}
PAGES = {f"good {name}": encode(*page) for name, page in GOOD.items()}
PAGES |= {f"bad {name}": encode(*page) for name, page in BAD.items()} | {
    f"bad {name}": raw for name, raw in RAW.items()
}
JOBS: dict[str, dict[str, Any]] = {
    "native": {"scrape_native_histograms": True},
    "both": {"scrape_native_histograms": True, "always_scrape_classic_histograms": True},
    "classic": {"scrape_protocols": ["PrometheusProto"]},
    "limit": {"scrape_native_histograms": True, "native_histogram_bucket_limit": 3},
    "factor": {"scrape_native_histograms": True, "native_histogram_min_bucket_factor": 1.5},
    "samples": {"scrape_native_histograms": True, "sample_limit": 4},
}
REPORTS = ("up", "scrape_samples_scraped", "scrape_samples_post_metric_relabeling", "scrape_series_added")


def path_of(name: str) -> str:
    return "/" + name.replace(" ", "_")


async def test_what_is_stored_of_a_page_is_what_prometheus_stores(tmp_path: Path) -> None:
    async def handler(request: web.Request) -> web.Response:
        name = request.path.removeprefix("/").replace("_", " ")
        return web.Response(body=PAGES[name], headers={"Content-Type": CONTENT_TYPE})

    async with serving(handler) as url:
        address = url.removeprefix("http://").split("/")[0]
        jobs = [
            {
                "job_name": f"{job}: {name}",
                "scrape_interval": "1s",
                "metrics_path": path_of(name),
                "static_configs": [{"targets": [address], "labels": {"via": "prometheus"}}],
                **config,
            }
            for job, config in JOBS.items()
            for name in PAGES
        ]
        async with Prometheus(tmp_path / "prometheus", config={"scrape_configs": jobs}) as prometheus:
            if prometheus.version < (3, 15, 0):
                pytest.skip("older versions of Prometheus read some of these pages otherwise")
            for job in jobs:
                await write(prometheus, job)

            async def all_scraped() -> bool:
                return len(await prometheus.query('up{via="prometheus"}')) == len(jobs)

            await until(all_scraped, "a scrape of every page")
            different = [job["job_name"] for job in jobs if not await same(prometheus, job["job_name"])]
            assert different == []


async def write(prometheus: Prometheus, job: dict[str, Any]) -> None:
    """Scrape a page as the job does, and write what that gives to the store."""
    config = ScrapeConfig.model_validate(job).inherit(GlobalConfig())
    target = Target(config, (), "", 1.0, 1.0)
    pairs = tuple(sorted({"job": job["job_name"], "via": "ours"}.items()))
    page = Page(Labelling(target=pairs), page_options(target), MetadataBook())
    body = PAGES[job["metrics_path"].removeprefix("/").replace("_", " ")]
    taken = drive(page.take(body, CONTENT_TYPE, int(time.time() * 1000)))
    headers = {
        "Content-Encoding": "snappy",
        "Content-Type": "application/x-protobuf",
        "X-Prometheus-Remote-Write-Version": "0.1.0",
    }
    async with aiohttp.ClientSession() as session:
        for part in drive(page.parts(taken)):
            async with session.post(prometheus.write_url, data=part.payload, headers=headers) as answer:
                assert answer.status < 300, (job["job_name"], await answer.text())


async def same(prometheus: Prometheus, job: str) -> bool:
    selector = f'{{job="{job}", via="%s", __name__!="scrape_duration_seconds"}}'
    # What it scrapes later adds no series.
    first = f'max_over_time(scrape_series_added{{job="{job}", via="%s"}}[5m])'
    found = []
    for via in ("prometheus", "ours"):
        values = await prometheus.values(selector % via)
        values |= await prometheus.values(first % via)
        ignored = {"via", "instance"}
        found.append(
            {tuple(pair for pair in pairs if pair[0] not in ignored): value for pairs, value in values.items()}
        )
    for one in found:
        one.pop((("__name__", "scrape_series_added"), ("job", job)))
    if found[0] != found[1]:
        print(job, "\n  prometheus", found[0], "\n  ours      ", found[1])
    return found[0] == found[1]
