from typing import Any

from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from agent.config import ScrapeConfig
from agent.targets import Job, JobTargets, Target
from agent.targets_api import Health, add_routes
from tests.agent.test_targets import group, job


def by_job() -> dict[str, JobTargets[Target]]:
    rules = [{"source_labels": ["__address__"], "regex": "drop:.*", "action": "drop"}]
    config: ScrapeConfig = job(relabel_configs=rules)
    other = config.model_copy(update={"job_name": "a"})
    return {
        "j": Job(config).targets([group("localhost:9100", "drop:1", "drop:2")]),
        "a": Job(other).targets([group("a.example:1")]),
    }


def health_of(target: Target) -> Health:
    if target.config.job_name == "a":
        return Health()
    return Health("down", "connection refused", 1_700_000_000.25, 0.125)


async def ask(query: str) -> dict[str, Any]:
    app = web.Application()
    add_routes(app, by_job, health_of, "agent.example")
    async with (
        TestServer(app, host="127.0.0.1") as server,
        ClientSession() as session,
        session.get(server.make_url("/api/v1/targets" + query)) as response,
    ):
        answer = await response.json()
    assert answer["status"] == "success"
    data: dict[str, Any] = answer["data"]
    return data


async def test_the_answer_has_prometheus_own_shape() -> None:
    data = await ask("")
    first, second = data["activeTargets"]
    assert second == {
        "discoveredLabels": {
            "__address__": "localhost:9100",
            "__metrics_path__": "/metrics",
            "__scheme__": "http",
            "__always_scrape_classic_histograms__": "false",
            "__convert_classic_histograms_to_nhcb__": "false",
            "__scrape_interval__": "1m",
            "__scrape_native_histograms__": "false",
            "__scrape_timeout__": "10s",
            "job": "j",
        },
        "labels": {"instance": "localhost:9100", "job": "j"},
        "scrapePool": "j",
        "scrapeUrl": "http://localhost:9100/metrics",
        "globalUrl": "http://agent.example:9100/metrics",
        "lastError": "connection refused",
        "lastScrape": "2023-11-14T22:13:20.25Z",
        "lastScrapeDuration": 0.125,
        "health": "down",
        "scrapeInterval": "1m",
        "scrapeTimeout": "10s",
    }
    assert (first["scrapePool"], first["health"], first["lastScrape"]) == ("a", "unknown", "0001-01-01T00:00:00Z")
    assert first["globalUrl"] == "http://a.example:1/metrics"
    assert [target["discoveredLabels"]["__address__"] for target in data["droppedTargets"]] == ["drop:1", "drop:2"]
    assert data["droppedTargetCounts"] == {"j": 2, "a": 0}


async def test_a_state_and_a_pool_can_be_asked_for() -> None:
    active = await ask("?state=Active&scrapePool=j")
    assert len(active["activeTargets"]) == 1
    assert (active["droppedTargets"], active["droppedTargetCounts"]) == ([], None)
    dropped = await ask("?state=dropped")
    assert (dropped["activeTargets"], len(dropped["droppedTargets"])) == ([], 2)
