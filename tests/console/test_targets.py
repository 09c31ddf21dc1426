"""What the page of targets asks the console's server for."""

from typing import Any

import pytest

from console.sources import TargetsWanted
from tests.console.conftest import Running, target


async def test_a_state_and_a_pool_go_to_the_agent(console: Running) -> None:
    await console.get("/api/v1/targets", state="active", scrapePool="apps")
    assert console.shown.asked == [("active", "apps")]


async def test_the_page_asks_for_a_job_for_states_and_for_words(console: Running) -> None:
    console.shown.active = [target(health="down"), target(), target()]
    _, answer = await console.get("/api/console/targets", job="apps", state="up,down", q="Eu-1  x", limit="2")
    assert console.shown.asked == [TargetsWanted("apps", frozenset(("up", "down")), ("eu-1", "x"), 2)]
    assert (answer["data"]["matching"], len(answer["data"]["rows"])) == (3, 2)
    await console.get("/api/console/targets", limit="1000000")
    assert console.shown.asked[-1] == TargetsWanted(limit=1000)
    status, answer = await console.get("/api/console/targets", limit="x")
    assert (status, answer["error"]) == (400, "limit is not a number: 'x'")


async def test_an_explanation_is_asked_for_with_labels_of_any_length(console: Running) -> None:
    console.shown.explained = {"apps": {"state": "active"}}
    labels = {"__meta_annotation": "x" * 100_000}
    status, answer = await ask(console, {"scrapePool": "apps", "labels": labels})
    assert (status, answer["data"]) == (200, {"state": "active"})
    assert console.shown.asked == [("apps", labels)]


@pytest.mark.parametrize("body", [[], {}, {"scrapePool": "apps"}, {"scrapePool": "apps", "labels": []}])
async def test_a_question_that_is_none_is_refused(console: Running, body: object) -> None:
    status, answer = await ask(console, body)
    assert (status, answer["errorType"]) == (400, "bad_data")


async def test_a_job_that_there_is_not_cannot_be_explained(console: Running) -> None:
    status, answer = await ask(console, {"scrapePool": "none", "labels": {}})
    assert (status, answer["error"]) == (422, 'scrape pool "none" not found')


async def ask(console: Running, body: object) -> tuple[int, Any]:
    async with console.session.post(console.url + "/api/console/targets/explain", json=body) as response:
        return response.status, await response.json()
