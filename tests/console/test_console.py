import re
import time
from importlib.resources import files

import pytest

from console import DeadLetterRow
from console.guard import host_name
from console.history import History
from tests.console.conftest import Running, status, target
from tests.pipeline.store.requests import series


async def test_every_answer_carries_the_policy_that_keeps_strangers_text_from_running(console: Running) -> None:
    for path in ("/", "/js/app.js", "/style.css", "/api/console/overview", "/missing"):
        async with console.session.get(console.url + path) as response:
            policy = response.headers["Content-Security-Policy"]
            assert "default-src 'none'; script-src 'self'" in policy, path
            assert "unsafe" not in policy
            assert response.headers["X-Content-Type-Options"] == "nosniff"


async def test_a_request_for_another_host_is_refused(console: Running) -> None:
    for host, expected in {
        "evil.example": 421,
        "127.0.0.1.evil.example:15600": 421,
        "": 421,
        "localhost:15600": 200,
        "127.0.0.1": 200,
        "192.0.2.7:15600": 200,
        "[::1]:15600": 200,
        "Console.Example": 200,
    }.items():
        async with console.session.get(console.url + "/api/console/overview", headers={"Host": host}) as response:
            assert response.status == expected, host


def test_hosts_are_read_without_their_port() -> None:
    assert host_name("localhost:1") == "localhost"
    assert host_name("[::1]:1") == "[::1]"
    assert host_name("[::1].evil") == "[::1]"


def test_pages_ask_nobody_else_and_parse_no_text_as_html() -> None:
    for file in (files("console") / "static/js").iterdir():
        text = file.read_text()
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function", text), (
            file
        )
        assert re.findall(r"https?://[^\"' ]+", text) in ([], ["http://www.w3.org/2000/svg"]), file
    page = (files("console") / "static/index.html").read_text()
    assert not re.search(r"(src|href)=\"(https?:)?//", page)
    assert "<script>" not in page
    assert "style=" not in page


async def test_the_overview_shows_what_it_can_when_a_source_fails(console: Running) -> None:
    console.shown.parts = {"agent": None, "ingester": "not started"}
    console.shown.active = [target(), target(health="down"), target(health="unknown")]
    _, answer = await console.get("/api/console/overview")
    data = answer["data"]
    assert data["status"] == console.shown.status
    assert data["targets"] == {"up": 1, "down": 1, "unknown": 1}
    assert data["parts"] == {"agent": None, "ingester": "not started"}
    assert data["store"]["series"] == 0
    console.shown.failing = True
    _, answer = await console.get("/api/console/overview")
    assert answer["data"]["errors"] == ["status: the log does not answer"]
    assert answer["data"]["targets"]["up"] == 1
    assert await console.get("/api/v1/status") == (503, {"error": "the log does not answer"})


async def test_targets_and_status_have_the_shapes_others_rely_on(console: Running) -> None:
    _, answer = await console.get("/api/v1/targets")
    assert answer["status"] == "success"
    assert answer["data"]["activeTargets"] == console.shown.active
    assert await console.get("/api/v1/status") == (200, console.shown.status)


async def test_dead_letters_are_given_with_their_reason(console: Running) -> None:
    row = DeadLetterRow("7", 1_700_000_000_000, "c1", "store", "metrics", 400, "out of order <b>", 3)
    console.shown.letters = [row]
    _, answer = await console.get("/api/console/dead-letters")
    assert answer["data"]["total"] == 1
    assert answer["data"]["rows"][0]["reason"] == "out of order <b>"


async def test_a_search_groups_series_by_metric_and_a_chart_draws_them(console: Running) -> None:
    now_ms = int(time.time() * 1000)
    for n in range(5):
        at_ms = now_ms - 60_000 + n * 15_000
        await console.store.append(
            series("a_total", (at_ms, n * 30.0), job="x") + series("a_total", (at_ms, 1.0), job="y")
        )
    _, answer = await console.get("/api/console/search", q="A job=x")
    assert answer["data"]["families"] == [{"name": "a_total", "count": 1, "type": "counter", "help": ""}]
    _, answer = await console.get("/api/console/series", q="", name="a_total")
    assert answer["data"] == {"total": 2, "series": [{"__name__": "a_total", "job": j} for j in "xy"]}
    wanted = [{"__name__": "a_total", "job": "x"}, {"__name__": "a_total"}]
    body = {"series": wanted, "start": now_ms / 1000 - 60, "end": now_ms / 1000, "points": 100, "rate": True}
    async with console.session.post(console.url + "/api/console/chart", json=body) as response:
        drawn = (await response.json())["data"]
    assert drawn["step"] == 15
    assert drawn["series"][0][-1] == 2.0
    assert drawn["series"][1] is None, "a series is named by all of its labels"


@pytest.mark.parametrize("body", [{}, [], {"series": 1, "start": 0, "end": 1, "points": 1, "rate": False}, "x"])
async def test_a_chart_that_is_not_asked_for_properly_is_refused(console: Running, body: object) -> None:
    async with console.session.post(console.url + "/api/console/chart", json=body) as response:
        assert response.status == 400
        assert (await response.json())["errorType"] == "bad_data"


def test_rates_come_from_counts_and_a_new_ledger_is_no_negative_rate() -> None:
    history = History()
    for at_s, received in ((0.0, 100), (5.0, 200), (10.0, 50)):
        history.add(at_s, status(received, delivered=received))
    lines = {(line["cluster"], line["sink"]): line["rates"] for line in history.lines()}
    assert lines == {("c1", ""): [20.0, 0.0], ("c1", "store"): [20.0, 0.0]}
    history.add(15.0, {"clusters": []})
    assert history.lines() == []
