"""What is asked for, and how names arrive, beside Prometheus itself: the same requests, the same series of answers."""

import time
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from agent.config import GlobalConfig, ScrapeConfig
from agent.scrape.body import Buffers
from agent.scrape.fetch import HttpFetch, new_session, request_headers
from agent.scrape.labelling import Labelling
from agent.scrape.metadata import MetadataBook
from agent.scrape.options import page_options
from agent.scrape.page import Page
from agent.targets import Target
from pipeline.http_client import HttpAccess
from pipeline.wire import snappy
from pipeline.wire.remote_write import decode
from tests.agent.scrape.pages import drive
from tests.agent.scrape.test_fetch import serving
from tests.e2e.processes import until
from tests.servers.histograms import Histograms
from tests.servers.prometheus import Prometheus

pytestmark = pytest.mark.prometheus

ESCAPINGS = ("allow-utf-8", "underscores", "dots", "values")
JOBS: dict[str, dict[str, Any]] = {
    "default": {},
    "native": {"scrape_native_histograms": True},
    "reversed": {"scrape_protocols": ["PrometheusText0.0.4", "OpenMetricsText1.0.0", "PrometheusProto"]},
    "legacy": {"metric_name_validation_scheme": "legacy"},
    "identity": {"enable_compression": False, "scrape_timeout": "900ms"},
    "canonical": {"metric_name_escaping_scheme": "values", "scrape_native_histograms": True},
}
JOBS |= {
    f"{protocol} {escaping}": {"scrape_protocols": [protocol], "metric_name_escaping_scheme": escaping}
    for protocol in ("PrometheusProto", "OpenMetricsText1.0.0", "PrometheusText1.0.0", "PrometheusText0.0.4")
    for escaping in ESCAPINGS
}
SENT = ("Accept", "Accept-Encoding", "X-Prometheus-Scrape-Timeout-Seconds")


def job_of(name: str, address: str) -> dict[str, Any]:
    return {
        "job_name": name,
        "scrape_interval": "1s",
        "scrape_timeout": "1s",
        "static_configs": [{"targets": [address]}],
        **JOBS[name],
    }


def config_of(name: str, address: str) -> ScrapeConfig:
    return ScrapeConfig.model_validate(job_of(name, address)).inherit(GlobalConfig())


async def test_a_scrape_asks_as_prometheus_asks(tmp_path: Path) -> None:
    asked: dict[str, dict[str, str]] = {}

    async def handler(request: web.Request) -> web.Response:
        asked[request.path] = {name: request.headers[name] for name in SENT}
        return web.Response(text="")

    async with serving(handler) as url:
        address = url.removeprefix("http://").split("/")[0]
        jobs = [job_of(name, address) | {"metrics_path": f"/{number}"} for number, name in enumerate(JOBS)]
        async with Prometheus(tmp_path / "prometheus", config={"scrape_configs": jobs}) as prometheus:
            if prometheus.version < (3, 15, 0):
                pytest.skip("older versions of Prometheus count one protocol less")

            async def all_asked() -> bool:
                return len(asked) == len(jobs)

            await until(all_asked, "a scrape of every job")
    for number, name in enumerate(JOBS):
        config = config_of(name, address)
        ours = request_headers(config, config.scrape_timeout, "test/1")
        assert {header: ours[header] for header in SENT} == asked[f"/{number}"], name


async def test_names_arrive_as_prometheus_stores_them(tmp_path: Path) -> None:
    async with Histograms(tmp_path / "target") as target:
        jobs = [job_of(name, target.address) for name in JOBS]
        async with Prometheus(tmp_path / "prometheus", config={"scrape_configs": jobs}) as prometheus:
            if prometheus.version < (3, 15, 0):
                pytest.skip("older versions of Prometheus escape other formats")

            async def all_scraped() -> bool:
                return len(await prometheus.query("up")) == len(jobs)

            await until(all_scraped, "a scrape of every job")
            found = {}
            for name in JOBS:
                stored = await prometheus.values(f'{{job="{name}", __name__!~"scrape_.*"}}')
                theirs = {tuple(pair for pair in labels if pair[0] != "instance") for labels in stored}
                found[name] = theirs
                assert await scraped(target, name) == theirs, name
    dotted = {name: [dict(labels)["__name__"] for labels in found[name] if len(labels) == 3] for name in JOBS}
    assert "http.server.active" in dotted["default"]
    assert "U__http_2e_server_2e_active" in dotted["OpenMetricsText1.0.0 values"]
    assert "http_dot_server_dot_active" in dotted["PrometheusText1.0.0 dots"]


async def scraped(target: Histograms, name: str) -> set[tuple[tuple[str, str], ...]]:
    """Return the series of one scrape as the job makes it, over HTTP."""
    config = config_of(name, target.address)
    url = f"http://{target.address}/metrics"
    async with new_session("test/1") as session:
        fetch = HttpFetch(session, HttpAccess(config, time.time), config, url, 1.0, "test/1")
        answer = await fetch(Buffers())
    options = page_options(Target(config, (), url, 1.0, 1.0), canonical_bounds=True)
    page = Page(Labelling(target=(("job", name),)), options, MetadataBook())
    taken = drive(page.take(answer.body, answer.content_type, int(time.time() * 1000)))
    assert not taken.error
    series = (one for part in drive(page.parts(taken)) for one in decode(snappy.decompress(part.payload)))
    return {
        one.labels
        for one in series
        if (one.samples or one.histograms) and not dict(one.labels)["__name__"].startswith("scrape_")
    }
