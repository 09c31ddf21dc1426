import time

import pytest

from tests.console.conftest import Running
from tests.pipeline.store.requests import STALE, series

NOW_S = int(time.time()) // 60 * 60


@pytest.fixture
async def filled(console: Running) -> Running:
    at_ms = NOW_S * 1000
    await console.store.append(
        series("up", (at_ms - 60_000, 1.0), (at_ms, 0.5), job="a", instance="1")
        + series("up", (at_ms - 60_000, 1.0), (at_ms, STALE), job="b", instance="2")
        + series("down", (at_ms, float("nan")), job="a")
    )
    return console


async def test_labels_values_and_series_are_those_of_the_selectors(filled: Running) -> None:
    for path, parameters, expected in (
        ("labels", {}, ["__name__", "instance", "job"]),
        ("labels", {"match[]": "down"}, ["__name__", "job"]),
        ("label/job/values", {}, ["a", "b"]),
        ("label/job/values", {"match[]": 'up{instance!="1"}'}, ["b"]),
        ("label/nothing/values", {}, []),
        ("series", {"match[]": '{job=~"a|c",instance=""}'}, [{"__name__": "down", "job": "a"}]),
    ):
        assert await filled.get(f"/api/v1/{path}", **parameters) == (200, {"status": "success", "data": expected})


async def test_a_query_gives_the_newest_value_and_nothing_of_a_series_that_ended(filled: Running) -> None:
    _, answer = await filled.get("/api/v1/query", query="up", time=NOW_S)
    metric = {"__name__": "up", "job": "a", "instance": "1"}
    assert answer["data"] == {"resultType": "vector", "result": [{"metric": metric, "value": [NOW_S, "0.5"]}]}
    _, answer = await filled.get("/api/v1/query", query="down", time=NOW_S)
    assert answer["data"]["result"][0]["value"] == [NOW_S, "NaN"]


async def test_a_range_gives_a_value_a_step(filled: Running) -> None:
    async with filled.session.post(
        filled.url + "/api/v1/query_range",
        data={"query": 'up{job=~".+"}', "start": NOW_S - 60, "end": NOW_S, "step": "30s"},
    ) as response:
        result = (await response.json())["data"]["result"]
    found = {each["metric"]["job"]: each["values"] for each in result}
    assert found == {
        "a": [[NOW_S - 60, "1"], [NOW_S - 30, "1"], [NOW_S, "0.5"]],
        "b": [[NOW_S - 60, "1"], [NOW_S - 30, "1"]],
    }


@pytest.mark.parametrize(
    ("query", "status", "reason"),
    [
        ("rate(up[5m])", 422, "rate: PromQL functions and aggregations are not supported here"),
        ("sum by (job) (up)", 422, "more of PromQL"),
        ("up[5m]", 422, "a range ([5m]) needs a PromQL function"),
        ("up offset 5m", 422, "offset and @ are not supported here"),
        ("up > 1", 422, "only a plain selector is supported here: '> 1'"),
        ('up{job="a"', 400, "is missing at character"),
        ("{}", 400, "a selector needs a name"),
        ('up{job=~"("}', 400, "not a regular expression of RE2"),
        ("", 400, "a selector needs a name"),
    ],
)
async def test_what_is_not_a_plain_selector_is_refused_by_name(
    filled: Running, query: str, status: int, reason: str
) -> None:
    got, answer = await filled.get("/api/v1/query", query=query)
    assert (got, answer["status"]) == (status, "error")
    assert reason in answer["error"]


@pytest.mark.parametrize(
    "parameters",
    [
        {"start": 0, "end": 1},
        {"start": 0, "end": 1, "step": 0},
        {"start": 2, "end": 1, "step": 1},
        {"start": 0, "end": 20_000, "step": 1},
        {"start": "x", "end": 1, "step": 1},
        {"start": "inf", "end": 1, "step": 1},
    ],
)
async def test_a_range_with_a_wrong_parameter_is_bad_data(console: Running, parameters: dict[str, str]) -> None:
    status, answer = await console.get("/api/v1/query_range", query="up", **parameters)
    assert (status, answer["errorType"]) == (400, "bad_data")


async def test_grafana_may_test_the_data_source(console: Running) -> None:
    _, answer = await console.get("/api/v1/query", query="1+1", time=4)
    assert answer["data"] == {"resultType": "scalar", "result": [4.0, "2"]}
