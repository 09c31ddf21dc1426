"""The part of Loki's HTTP API that the embedded store can answer, so that Grafana, logcli and scripts can read it.

Source: Loki documentation, "Loki HTTP API". Supported: labels, label values, series; query and query_range for stream
selectors with line filters, and the sum of vectors by which Grafana tests a data source. More of LogQL is refused with
400 and its name. As Loki does where nothing else is asked for, structured metadata goes among an entry's labels.
"""

import re
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from aiohttp import web
from multidict import MultiDict, MultiMapping

from console.prometheus_api import BadRequestError
from pipeline.config import parse_duration_s
from pipeline.errors import PermanentError, TransientError
from pipeline.store.logs import Found, LogStore, Query
from pipeline.store.logs.entry import clamped
from pipeline.store.logs.logql import parse_logql
from pipeline.store.logs.query import Place
from pipeline.store.selector import Matcher, parse_braces
from pipeline.wire.loki import encode_labels

MAX_ENTRIES: Final = 5_000
DEFAULT_ENTRIES: Final = 100
HOUR_NS: Final = 3_600 * 10**9
SEARCH_S: Final = 20.0
_VECTORS: Final = re.compile(r"\s*vector\((\d+)\)\s*\+\s*vector\((\d+)\)\s*")

Ask = Callable[[MultiMapping[str]], Awaitable[Any]]


def add_routes(app: web.Application, store: LogStore, clock: Callable[[], float] = time.time) -> None:
    """Serve the subset below /loki/api/v1."""

    async def query_range(parameters: MultiMapping[str]) -> Any:
        query, limit = read_query(parameters, clock())
        newest_first = _direction(parameters) == "backward"
        found = await _search(store, query, limit, newest_first=newest_first)
        return {"resultType": "streams", "result": show_streams(found), "stats": {}}

    async def query(parameters: MultiMapping[str]) -> Any:
        if vectors := _VECTORS.fullmatch(parameters.get("query", "")):
            value = [clock(), str(int(vectors[1]) + int(vectors[2]))]
            return {"resultType": "vector", "result": [{"metric": {}, "value": value}], "stats": {}}
        parse_logql(parameters.get("query", ""))
        raise BadRequestError(
            "log queries are not supported as an instant query type, please change your query to a range query type"
        )

    async def labels(parameters: MultiMapping[str]) -> Any:
        return await store.label_names(_selector(parameters))

    async def series(parameters: MultiMapping[str]) -> Any:
        selectors = [parse_braces(text)[0] for text in parameters.getall("match[]", parameters.getall("match", []))]
        found = [labels for selector in selectors or [()] for labels in await store.streams(selector)]
        return [dict(labels) for labels in dict.fromkeys(found)]

    async def values(request: web.Request) -> web.Response:
        async def ask(parameters: MultiMapping[str]) -> Any:
            return await store.label_values(request.match_info["name"], _selector(parameters))

        return await _answer(request, ask)

    def serve(path: str, ask: Ask) -> None:
        async def route(request: web.Request) -> web.Response:
            return await _answer(request, ask)

        app.router.add_get(f"/loki/api/v1/{path}", route)
        app.router.add_post(f"/loki/api/v1/{path}", route)

    for path, ask in {"query_range": query_range, "query": query, "labels": labels, "series": series}.items():
        serve(path, ask)
    app.router.add_get("/loki/api/v1/label/{name}/values", values)


async def _answer(request: web.Request, ask: Ask) -> web.Response:
    """Answer in Loki's envelope; what fails is said in plain text, as Loki does."""
    parameters: MultiDict[str] = MultiDict(request.query)
    if request.method == "POST":
        parameters.extend((k, v) for k, v in (await request.post()).items() if isinstance(v, str))
    try:
        return web.json_response({"status": "success", "data": await ask(parameters)})
    except PermanentError as error:
        return web.Response(status=400, text=str(error))
    except TransientError as error:
        return web.Response(status=503, text=str(error))


async def _search(store: LogStore, query: Query, limit: int, *, newest_first: bool) -> list[Found]:
    found: list[Found] = []
    after: Place | None = None
    ends_s = time.monotonic() + SEARCH_S
    while len(found) < limit:
        page = await store.entries(query, limit - len(found), newest_first=newest_first, after=after)
        found += page.entries
        after = page.next
        if after is None:
            break
        if time.monotonic() > ends_s:
            raise TransientError(f"the search took longer than {SEARCH_S:.0f} s: ask for less time, or more labels")
    return found


def read_query(parameters: MultiMapping[str], now_s: float) -> tuple[Query, int]:
    """Return what is asked for, and how many entries at most; raises SelectorError and BadRequestError."""
    now_ns = int(now_s * 1e9)
    end_ns = _time_ns(parameters, "end", now_ns)
    try:
        since_ns = int(parse_duration_s(parameters["since"]) * 1e9) if "since" in parameters else HOUR_NS
    except ValueError as error:
        raise BadRequestError(f"since is not a duration: {parameters['since']!r}") from error
    start_ns = _time_ns(parameters, "start", min(end_ns, now_ns) - since_ns)
    query = replace(parse_logql(parameters.get("query", "")), start_ns=clamped(start_ns), end_ns=clamped(end_ns))
    return query, _limit(parameters)


def show_streams(found: Iterable[Found]) -> Sequence[Mapping[str, Any]]:
    """Write entries by stream, their structured metadata and level among its labels."""
    streams: dict[bytes, tuple[Mapping[str, str], list[list[str]]]] = {}
    for entry in found:
        labels = dict(entry.labels) | dict(entry.metadata) | ({"detected_level": entry.level} if entry.level else {})
        _, values = streams.setdefault(encode_labels(labels.items()), (labels, []))
        values.append([str(entry.time_ns), entry.line])
    return [{"stream": labels, "values": values} for labels, values in streams.values()]


def _selector(parameters: MultiMapping[str]) -> tuple[Matcher, ...]:
    text = parameters.get("query", "")
    return parse_braces(text)[0] if text.strip() not in ("", "{}") else ()


def _limit(parameters: MultiMapping[str]) -> int:
    text = parameters.get("limit", str(DEFAULT_ENTRIES))
    if not text.isdecimal() or not 0 < int(text) <= MAX_ENTRIES:
        raise BadRequestError(f"limit must be from 1 to {MAX_ENTRIES}, not {text!r}")
    return int(text)


def _direction(parameters: MultiMapping[str]) -> str:
    direction = parameters.get("direction", "backward").lower()
    if direction not in ("forward", "backward"):
        raise BadRequestError(f"direction must be forward or backward, not {direction!r}")
    return direction


def _time_ns(parameters: MultiMapping[str], name: str, default: int) -> int:
    """Read a time: Unix nanoseconds (seconds with a fraction, or of up to ten digits), or RFC 3339."""
    text = parameters.get(name, "")
    try:
        if not text:
            return default
        if "T" in text:
            return int(datetime.fromisoformat(text).timestamp() * 1e9)
        if "." in text or len(text) <= 10:
            return int(float(text) * 1e9)
        return int(text)
    except (ValueError, OverflowError) as error:
        raise BadRequestError(f"{name} is not a time: {text!r}") from error
