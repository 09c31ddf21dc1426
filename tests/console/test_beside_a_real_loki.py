"""What the embedded store answers of Loki's API is what a real Loki answers."""

import json
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from pipeline.wire import snappy
from tests.console.conftest import Running
from tests.pipeline.store.logs.requests import push
from tests.servers.loki import Loki

S = 10**9
NOW_NS = time.time_ns() // S * S
GETS = [(NOW_NS - n * S, f"GET /api/{n} took {n}ms {'x' * (n % 5)}") for n in range(60)]
SAID = (NOW_NS - 90 * S, 'said "hi"\n\tand left', {"trace_id": "t1", "user": "u 1"})
MAILS = [(NOW_NS - 5 * S + 1, "ERROR äöü 日本"), (NOW_NS - 5 * S + 2, "error of mail"), (NOW_NS - 4 * S, "")]
REQUEST = b"".join(
    (
        push({"app": "shop", "pod": "shop-1"}, *GETS),
        push({"app": "shop", "pod": "shop-2"}, SAID),
        push({"app": "mail"}, *MAILS),
    )
)
QUERIES = (
    {"query": '{app="shop"}'},
    {"query": '{app="shop"}', "limit": "7"},
    {"query": '{app="shop", pod="shop-1"}', "limit": "7", "direction": "forward"},
    {"query": '{app=~"shop|mail", pod!="shop-1"}'},
    {"query": '{app=~"sho"}'},
    {"query": '{app!~"shop", app=~".+"}'},
    {"query": '{app=~".+"} |= "took 1"'},
    {"query": '{app=~".+"} |= "error"'},
    {"query": '{app=~".+"} |~ "(?i)error"'},
    {"query": '{app=~".+"} |~ "^GET .*[13]ms "'},
    {"query": '{app=~".+"} !~ "GET" != "mail"'},
    {"query": '{app=~".+"} |= "said \\"hi\\"\\n"'},
    {"query": "{app=~`.+`} |= `äö` |= `日`"},
    {"query": '{app="mail"} |= ""'},
    {"query": '{app="none"}'},
    {"query": '{app="shop"}', "start": str(NOW_NS - 10 * S), "end": str(NOW_NS - 3 * S)},
    {"query": '{app="shop"}', "start": str((NOW_NS - 10 * S) / S), "end": str(NOW_NS // S)},
)
REFUSED = (
    {"query": ""},
    {"query": "{}"},
    {"query": '{app=~".*"}'},
    {"query": '{app="shop"'},
    {"query": '{app="shop"} |~ "("'},
    {"query": '{app="shop"} |= x'},
    {"query": '{app="shop"}', "limit": "-1"},
    {"query": '{app="shop"}', "start": "yesterday"},
)


@pytest.fixture
async def loki(tmp_path: Path) -> AsyncIterator[Loki]:
    async with Loki(tmp_path / "loki", limits={"discover_log_levels": False, "discover_service_name": []}) as server:
        headers = {"Content-Type": "application/x-protobuf"}
        data = snappy.compress(REQUEST)
        async with (
            aiohttp.ClientSession() as session,
            session.post(server.push_url, data=data, headers=headers) as response,
        ):
            assert response.status == 204, await response.text()
        yield server


async def asked(url: str, path: str, parameters: Mapping[str, str]) -> tuple[int, Any]:
    """Return the status, and what is comparable of the data."""
    asking = f"{url}/loki/api/v1/{path}"
    async with aiohttp.ClientSession() as session, session.get(asking, params=dict(parameters)) as response:
        if response.status != 200:
            return response.status, None
        data = (await response.json())["data"]
    if path != "query_range":
        return 200, sorted(json.dumps(one, sort_keys=True) for one in data)
    streams: dict[tuple[tuple[str, str], ...], list[tuple[str, ...]]] = {}
    for stream in data["result"]:
        labels = {name: value for name, value in stream["stream"].items() if name != "detected_level"}
        streams.setdefault(tuple(sorted(labels.items())), []).extend(map(tuple, stream["values"]))
    return 200, streams


async def test_both_give_the_same(console: Running, loki: Loki) -> None:
    await console.logs.append(REQUEST)
    for seal in (False, True):
        for parameters in QUERIES:
            theirs = await asked(loki.url, "query_range", parameters)
            assert await asked(console.url, "query_range", parameters) == theirs, parameters
            assert theirs[0] == 200
        for path, parameters in (
            ("labels", {}),
            ("label/app/values", {}),
            ("label/pod/values", {"query": '{app="shop"}'}),
            ("series", {"match[]": '{app="shop"}'}),
        ):
            assert await asked(console.url, path, parameters) == await asked(loki.url, path, parameters), path
        if not seal:
            await console.logs.maintain(seal=True)


async def test_both_refuse_the_same(console: Running, loki: Loki) -> None:
    for parameters in REFUSED:
        assert await asked(loki.url, "query_range", parameters) == (400, None), parameters
        assert await asked(console.url, "query_range", parameters) == (400, None), parameters
