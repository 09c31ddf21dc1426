"""Explanations over HTTP, compared with what a real Prometheus answers."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from agent.config import GlobalConfig, ScrapeConfig
from agent.discovery.groups import group_of
from agent.explain_api import add_routes
from agent.job import Job
from agent.targets_api import Health, response
from tests.agent.test_targets import group, job
from tests.e2e.processes import until
from tests.servers.prometheus import Prometheus, prometheus_program

RULES: list[dict[str, Any]] = [
    {"source_labels": ["__address__"], "regex": "([^:]+):(.*)", "target_label": "host", "replacement": "${1}"},
    {"source_labels": ["host", "env"], "separator": "/", "target_label": "where"},
    {"source_labels": ["__address__"], "modulus": 4, "target_label": "__tmp_shard", "action": "hashmod"},
    {"regex": "__meta_label_(.+)", "replacement": "of_$1", "action": "labelmap"},
    {"source_labels": ["env"], "target_label": "env", "action": "UPPERCASE"},
    {"regex": "of_spare|unknown", "action": "labeldrop"},
    {"source_labels": ["nothing"], "regex": "x+", "target_label": "y"},
    {"source_labels": ["where"], "regex": "b/.*", "action": "drop"},
    {"source_labels": ["host"], "target_label": "of_app", "action": "dropequal"},
    {"target_label": "last", "replacement": "1"},
]
DISCOVERED: list[dict[str, str]] = [
    {"__address__": "a:1", "env": "p", "__meta_label_app": "x", "__meta_label_spare": "s", "job": "j"},
    {"__address__": "b:1", "env": "p"},
    {"__address__": "c:1", "__meta_label_app": "c"},
    {"env": "p"},
    {},
]


@asynccontextmanager
async def serving(config: ScrapeConfig, *groups: Any) -> AsyncIterator[str]:
    app, job, name = web.Application(), Job(config), config.job_name
    targets = job.targets(groups)
    add_routes(app, lambda: {name: job}, lambda: {name: targets})
    async with TestServer(app, host="127.0.0.1") as server:
        yield str(server.make_url("")).rstrip("/")


async def ask(url: str, path: str, **query: str) -> tuple[int, Any]:
    async with ClientSession() as session, session.get(f"{url}/api/v1/{path}", params=query) as response:
        return response.status, await response.json()


async def test_the_steps_are_those_that_prometheus_gives(tmp_path: Path) -> None:
    if prometheus_program().version < (3, 8, 0):
        pytest.skip("Prometheus shows the steps of relabelling from 3.8 on; install Go to build one")
    config = {"scrape_configs": [{"job_name": "j", "relabel_configs": RULES, "static_configs": [{"targets": ["a:1"]}]}]}
    async with Prometheus(tmp_path / "prometheus", config=config) as real, serving(job(relabel_configs=RULES)) as ours:

        async def has_found() -> bool:
            return await ask(real.url, "scrape_pools") == await ask(ours, "scrape_pools")

        await until(has_found, "Prometheus has looked for targets", 30)
        for labels in DISCOVERED:
            query = {"scrapePool": "j", "labels": json.dumps(labels)}
            expected = await ask(real.url, "targets/relabel_steps", **query)
            status, answer = await ask(ours, "targets/relabel_steps", **query)
            for step in answer["data"]["steps"]:
                del step["value"], step["changes"]
            assert (status, answer) == expected
        for wrong in ({}, {"scrapePool": "j"}, {"scrapePool": "j", "labels": ""}):
            expected = await ask(real.url, "targets/relabel_steps", **wrong)
            assert await ask(ours, "targets/relabel_steps", **wrong) == expected


async def test_targets_are_those_that_prometheus_makes(tmp_path: Path) -> None:
    if prometheus_program().version < (3, 15, 0):
        pytest.skip("the labels that decide over histograms are those of Prometheus 3.15; install Go to build one")
    native = {"source_labels": ["native"], "regex": "(.+)", "target_label": "__scrape_native_histograms__"}
    interval = {"source_labels": ["every"], "regex": "(.+)", "target_label": "__scrape_interval__"}
    groups = [
        {"targets": ["a:1", "a:1", "b:1"], "labels": {"env": "p", "job": "other", "empty": ""}},
        {"targets": ["a:1"], "labels": {"env": "p", "job": "other"}},
        {"targets": ["c:1"], "labels": {"native": "T"}},
        {"targets": ["d:1"], "labels": {"native": "maybe"}},
        {"targets": ["e:1"], "labels": {"every": "1s"}},
        {"targets": ["f:1"], "labels": {"every": "20s", "__param_module": "z"}},
        {"targets": ["https://g/?h=i"], "labels": {}},
    ]
    rest = {"params": {"module": ["x y", "z"]}, "metrics_path": "/m n", "always_scrape_classic_histograms": True}
    one = {"job_name": "j", "static_configs": groups, "relabel_configs": [*RULES, native, interval], **rest}
    given = ScrapeConfig.model_validate(one).inherit(GlobalConfig())
    made = Job(given).targets([group_of(section, "test", {}) for section in given.static_configs])

    def shown(data: dict[str, Any]) -> list[tuple[Any, ...]]:
        keys = ("discoveredLabels", "labels", "scrapePool", "scrapeUrl", "scrapeInterval", "scrapeTimeout")
        active = [tuple(target[key] for key in keys) for target in data["activeTargets"]]
        return sorted(active + [(one["discoveredLabels"],) for one in data["droppedTargets"]], key=str)

    async with Prometheus(tmp_path / "prometheus", config={"scrape_configs": [one]}) as real:

        async def has_found() -> bool:
            return len((await ask(real.url, "targets"))[1]["data"]["activeTargets"]) == len(made.active)

        await until(has_found, "Prometheus has found as many", 30)
        (_, answer) = await ask(real.url, "targets")
    # Prometheus does not show what cannot be scraped.
    usable = replace(made, dropped=tuple(dropped for dropped in made.dropped if dropped.rule is not None))
    assert shown(response({"j": usable}, lambda _: Health(), "h")) == shown(answer["data"])
    assert [dropped.found["__address__"] for dropped in made.dropped if dropped.rule is None] == [
        *("d:1", "e:1", "https://g/?h=i"),
    ]


async def test_an_explanation_tells_the_whole_way() -> None:
    rules = [{"source_labels": ["__meta_x"], "target_label": "x"}]
    async with serving(job(relabel_configs=rules), group("a:1", "a:1", __meta_x="1")) as url:
        labels = json.dumps({"__address__": "a:1", "__meta_x": "1"})
        status, answer = await ask(url, "targets/explain", scrapePool="j", labels=labels)
        async with ClientSession() as session:
            form = {"scrapePool": "j", "labels": labels}
            async with session.post(f"{url}/api/v1/targets/explain", data=form) as response:
                assert await response.json() == answer, "a form may be longer than a URL"
    begun = {
        "__address__": "a:1",
        "__meta_x": "1",
        "__metrics_path__": "/metrics",
        "__scheme__": "http",
        "__always_scrape_classic_histograms__": "false",
        "__convert_classic_histograms_to_nhcb__": "false",
        "__scrape_interval__": "1m",
        "__scrape_native_histograms__": "false",
        "__scrape_timeout__": "10s",
        "job": "j",
    }
    rule = {"source_labels": ["__meta_x"], "separator": ";", "regex": "(.*)", "target_label": "x", "replacement": "$1"}
    assert (status, answer["data"]) == (
        200,
        {
            "scrapePool": "j",
            "discoveredLabels": begun,
            "steps": [
                {
                    "rule": {**rule, "action": "replace"},
                    "output": {**begun, "x": "1"},
                    "keep": True,
                    "value": "1",
                    "changes": [{"label": "x", "from": None, "to": "1"}],
                }
            ],
            "state": "active",
            "reason": "",
            "rule": None,
            "labels": {"instance": "a:1", "job": "j", "x": "1"},
            "scrapeUrl": "http://a:1/metrics",
            "scrapeInterval": "1m",
            "scrapeTimeout": "10s",
            "sameLabels": [{"scrapePool": "j", "scrapeUrl": "http://a:1/metrics", "discoveredLabels": begun}],
            "sameLabelsCount": 1,
        },
    )


async def test_a_dropped_target_says_which_rule_and_has_no_labels() -> None:
    async with serving(job(relabel_configs=[{"regex": ".*", "action": "drop"}])) as url:
        _, answer = await ask(url, "targets/explain", scrapePool="j", labels='{"__address__": "a:1"}')
    data = answer["data"]
    assert (data["state"], data["rule"], data["labels"], data["scrapeUrl"]) == ("dropped", 0, None, None)
    assert data["reason"] == "relabel_configs[0]: action=drop regex=.*"


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ({"scrapePool": "k", "labels": "{}"}, 'scrape pool "k" not found'),
        ({"scrapePool": "j", "labels": "{"}, "error parsing labels: "),
        ({"scrapePool": "j", "labels": "[]"}, "error parsing labels: "),
        ({"scrapePool": "j", "labels": '{"a": 1}'}, "error parsing labels: "),
        ({"scrapePool": "j", "labels": "[" * 2000}, "error parsing labels: "),
    ],
    ids=["pool", "half", "list", "number", "deep"],
)
async def test_what_cannot_be_explained_is_refused_with_the_reason(query: dict[str, str], error: str) -> None:
    async with serving(job()) as url:
        status, answer = await ask(url, "targets/explain", **query)
    assert (status, answer["errorType"]) == (400, "bad_data")
    assert answer["error"].startswith(error)
