"""What the page of logs asks for, and what Grafana asks a Loki for."""

import asyncio
import json
import time
from typing import Any

import pytest
from aiohttp import WSServerHandshakeError

from tests.console.conftest import Running
from tests.pipeline.store.logs.requests import push

NOW_NS = time.time_ns() // 10**9 * 10**9
NOW_MS = NOW_NS // 10**6
A = {"app": "a", "pod": "a-1"}


@pytest.fixture
async def filled(console: Running) -> Running:
    await console.logs.append(
        push(A, (NOW_NS - 3, "first error"), (NOW_NS - 2, "second", {"trace_id": "t1"}), (NOW_NS - 1, "x" * 20_000))
        + push({"app": "b"}, (NOW_NS - 60 * 10**9, "level=warn of b"))
    )
    return console


async def data(console: Running, path: str, **parameters: Any) -> Any:
    status, body = await console.get(f"/api/console/logs/{path}", **parameters)
    assert status == 200, body
    return body["data"]


async def test_entries_come_newest_first_with_each_streams_labels_once(filled: Running) -> None:
    page = await data(filled, "entries", limit=3)
    assert page["streams"] == [A]
    assert [(entry["at"], entry["line"][:6], entry["stream"]) for entry in page["entries"]] == [
        (str(NOW_NS - 1), "xxxxxx", 0),
        (str(NOW_NS - 2), "second", 0),
        (str(NOW_NS - 3), "first ", 0),
    ]
    assert (page["entries"][0]["length"], len(page["entries"][0]["line"])) == (20_000, 10_000)
    assert page["entries"][1]["metadata"] == {"trace_id": "t1"}
    long = page["entries"][0]
    assert (await data(filled, "line", at=f"{long['at']},{long['id']}"))["line"] == "x" * 20_000
    older = await data(filled, "entries", limit=3, after=page["next"])
    assert [(entry["line"], entry["level"]) for entry in older["entries"]] == [("level=warn of b", "warn")]
    assert older["next"] is None
    assert page["last"] == older["last"]


async def test_text_labels_levels_and_time_narrow_what_is_found(filled: Running) -> None:
    async def found(**parameters: Any) -> list[str]:
        return [entry["line"][:11] for entry in (await data(filled, "entries", **parameters))["entries"]]

    assert await found(q="ERROR") == ["first error"]
    assert await found(q="t1") == ["second"], "what is in the metadata is found, too"
    assert await found(match=json.dumps([["app", "!=", "a"]])) == ["level=warn "]
    assert await found(levels="warn,error") == ["level=warn "]
    assert len(await found(levels="none")) == 3
    assert await found(start=NOW_MS - 70_000, end=NOW_MS - 10_000) == ["level=warn "]


async def test_what_came_since_a_number_is_the_tail(filled: Running) -> None:
    last = (await data(filled, "entries"))["last"]
    assert (await data(filled, "tail", since=last))["entries"] == []
    await filled.logs.append(push(A, (NOW_NS, "new"), (NOW_NS - 5, "late")))
    tail = await data(filled, "tail", since=last, q="e")
    assert [entry["line"] for entry in tail["entries"]] == ["new", "late"]
    assert tail["last"] == last + 2


async def test_counts_labels_and_values_are_given_for_what_is_chosen(filled: Running) -> None:
    counts = await data(filled, "counts", start=NOW_MS - 120_000, end=NOW_MS, step=60_000)
    at = counts["levels"].index("warn")
    assert sum(sum(step[1:]) for step in counts["steps"]) == 4
    assert [step[1 + at] for step in counts["steps"] if step[1 + at]] == [1]
    assert (await data(filled, "labels"))["names"] == {"app": 2, "pod": 1}
    assert (await data(filled, "labels", match=json.dumps([["app", "=", "b"]])))["names"] == {"app": 1}
    assert await data(filled, "values", name="app", find="B") == {"stored": True, "values": ["b"], "total": 1}


@pytest.mark.parametrize(
    ("path", "parameters", "said"),
    [
        ("entries", {"match": "[1]"}, "match is not a list"),
        ("entries", {"match": '[["app", "=~", "("]]'}, "not a regular expression"),
        ("entries", {"q": '~"("'}, "not a regular expression"),
        ("entries", {"limit": "x"}, "limit is not a whole number"),
        ("entries", {"start": str(1 << 70)}, "start is out of range"),
        ("entries", {"after": "1"}, "not an entry's place"),
        ("counts", {"start": "0", "end": "1000000", "step": "1"}, "more than 300 steps"),
        ("line", {"at": "1,1"}, "not there any more"),
    ],
)
async def test_what_cannot_be_asked_is_told_so(
    console: Running, path: str, parameters: dict[str, str], said: str
) -> None:
    status, body = await console.get(f"/api/console/logs/{path}", **parameters)
    assert status == 400
    assert said in body["error"]


async def loki(console: Running, path: str, **parameters: Any) -> tuple[int, Any]:
    async with console.session.get(f"{console.url}/loki/api/v1/{path}", params=parameters) as response:
        text = await response.text()
        return response.status, json.loads(text)["data"] if response.status == 200 else text


async def test_grafana_reads_it_as_a_loki(filled: Running) -> None:
    assert await loki(filled, "labels") == (200, ["app", "pod"])
    assert await loki(filled, "label/app/values", query='{pod="a-1"}') == (200, ["a"])
    assert await loki(filled, "series", **{"match[]": '{app="a"}'}) == (200, [A])
    _, health = await loki(filled, "query", query="vector(1)+vector(1)")
    assert health["result"][0]["value"][1] == "2"
    end = {"start": NOW_NS - 10**11, "end": NOW_NS + 1}
    _, found = await loki(filled, "query_range", query='{app=~".+"} |~ "error|second|warn"', **end)
    assert (found["resultType"], found["result"]) == (
        "streams",
        [
            {"stream": A | {"trace_id": "t1"}, "values": [[str(NOW_NS - 2), "second"]]},
            {"stream": A, "values": [[str(NOW_NS - 3), "first error"]]},
            {
                "stream": {"app": "b", "detected_level": "warn"},
                "values": [[str(NOW_NS - 60 * 10**9), "level=warn of b"]],
            },
        ],
    )
    _, found = await loki(filled, "query_range", query='{app="a"}', limit=1, direction="forward", **end)
    assert found["result"][0]["values"] == [[str(NOW_NS - 3), "first error"]]
    _, found = await loki(filled, "query_range", query='{app="a"} |= "First"', **end)
    assert found["result"] == [], "line filters look at letters' case, as Loki's do"


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"query": 'rate({app="a"}[1m])'}, "rate: metric queries are not supported"),
        ({"query": '{app="a"} | json'}, "json: only line filters"),
        ({"query": "{}"}, "at least one matcher"),
        ({"query": '{app="a"}', "limit": "0"}, "limit must be"),
        ({"query": '{app="a"}', "start": "x"}, "start is not a time"),
        ({"query": '{app="a"}', "since": "x"}, "since is not a duration"),
        ({"query": '{app="a"}', "direction": "up"}, "direction must be"),
    ],
)
async def test_what_is_more_than_a_log_query_is_refused_by_name(
    console: Running, parameters: dict[str, str], said: str
) -> None:
    status, text = await loki(console, "query_range", **parameters)
    assert status == 400
    assert said in text


async def test_lines_are_streamed_as_they_come_but_not_to_pages_of_others(filled: Running) -> None:
    url = f"{filled.url}/loki/api/v1/tail?query=%7Bapp%3D%22a%22%7D&limit=1"
    async with filled.session.ws_connect(url) as socket, asyncio.timeout(20):
        assert [stream["values"][0][1][:1] for stream in (await socket.receive_json())["streams"]] == ["x"]
        await filled.logs.append(push(A, (NOW_NS, "new")) + push({"app": "b"}, (NOW_NS, "of others")))
        said = await socket.receive_json()
        assert said == {"streams": [{"stream": A, "values": [[str(NOW_NS), "new"]]}], "dropped_entries": None}
    elsewhere = {"Origin": "http://elsewhere.example"}
    with pytest.raises(WSServerHandshakeError) as caught:
        await filled.session.ws_connect(url, headers=elsewhere)
    assert caught.value.status == 403
    status, text = await loki(filled, "tail", query="rate({}[1m])")
    assert (status, "rate: metric queries" in text) == (400, True)
