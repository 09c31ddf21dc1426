"""The part of Prometheus' HTTP API that a plain store can answer, so that Grafana and scripts can read it.

Source: Prometheus documentation, "HTTP API". Supported: labels, label values, series, metadata; query and query_range
for plain selectors (`name{a="b"}`), and sums of numbers (`1+1`, by which Grafana tests a data source). Functions,
operators, aggregations, ranges, offset and @ are refused with 422 and their name.
"""

import math
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from aiohttp import web
from multidict import MultiDict, MultiMapping

from pipeline.config import parse_duration_s
from pipeline.errors import PermanentError, TransientError
from pipeline.store import Store
from pipeline.store.selector import Matcher, SelectorError, UnsupportedError, parse
from pipeline.wire.remote_write import Labels

_KINDS: Final = ("unknown", "counter", "gauge", "histogram", "gaugehistogram", "summary", "info", "stateset")
_SUM: Final = re.compile(r"\s*\d+(\.\d+)?(\s*\+\s*\d+(\.\d+)?)*\s*")
_MAX_STEPS: Final = 11_000


class BadRequestError(PermanentError):
    """A parameter is missing or wrong (400, `bad_data`)."""


def add_routes(app: web.Application, store: Store, clock: Callable[[], float] = time.time) -> None:
    """Serve the subset below /api/v1."""

    async def labels(parameters: MultiMapping[str]) -> Any:
        return await store.label_names(_selectors(parameters, "match[]"))

    async def series(parameters: MultiMapping[str]) -> Any:
        selectors = _selectors(parameters, "match[]")
        if not selectors:
            raise BadRequestError("no match[] parameter provided")
        limit = _number(parameters.get("limit", "0"), "limit")
        return [dict(found.labels) for found in await store.series(selectors, limit=int(limit) or None)]

    async def query(parameters: MultiMapping[str]) -> Any:
        text, at_s = parameters.get("query", ""), _time(parameters.get("time"), "time", clock())
        if _SUM.fullmatch(text):
            return {"resultType": "scalar", "result": [at_s, show(sum(map(float, text.split("+"))))]}
        at_ms = round(at_s * 1000)
        _, found = await store.query_range(parse(text), at_ms, at_ms, 1)
        result = [{"metric": dict(p.labels), "value": [at_s, show(p.values[0])]} for p in found]
        return {"resultType": "vector", "result": result}

    async def query_range(parameters: MultiMapping[str]) -> Any:
        start_ms, end_ms = (round(_time(parameters.get(name), name) * 1000) for name in ("start", "end"))
        step_ms = round(_step_s(parameters.get("step", "")) * 1000)
        if step_ms <= 0 or end_ms < start_ms:
            raise BadRequestError("step must be above zero, and end must not be before start")
        if (end_ms - start_ms) // step_ms > _MAX_STEPS:
            raise BadRequestError(f"more than {_MAX_STEPS} points a series: choose a larger step")
        text = parameters.get("query", "")
        if _SUM.fullmatch(text):
            value = show(sum(map(float, text.split("+"))))
            steps = range(start_ms, end_ms + 1, step_ms)
            return {"resultType": "matrix", "result": [{"metric": {}, "values": [[at / 1000, value] for at in steps]}]}
        at_steps, found = await store.query_range(parse(text), start_ms, end_ms, step_ms)
        return {"resultType": "matrix", "result": [_matrix(p.labels, at_steps, p.values) for p in found]}

    async def metadata(parameters: MultiMapping[str]) -> Any:
        wanted = parameters.get("metric")
        return {
            family: [{"type": _KINDS[m.kind] if m.kind < len(_KINDS) else "unknown", "help": m.help, "unit": m.unit}]
            for family, m in sorted((await store.metadata()).items())
            if wanted in (None, family)
        }

    async def values(request: web.Request) -> web.Response:
        async def answer_values(parameters: MultiMapping[str]) -> Any:
            return await store.label_values(request.match_info["name"], _selectors(parameters, "match[]"))

        return await answer(request, answer_values)

    app.router.add_get("/api/v1/label/{name}/values", values)
    plain = {"labels": labels, "series": series, "query": query, "query_range": query_range, "metadata": metadata}
    for name, handler in plain.items():

        async def handle(request: web.Request, handler: Any = handler) -> web.Response:
            return await answer(request, handler)

        app.router.add_get(f"/api/v1/{name}", handle)
        app.router.add_post(f"/api/v1/{name}", handle)


async def answer(request: web.Request, handler: Callable[[MultiMapping[str]], Any]) -> web.Response:
    """Answer in the API's envelope; parameters come from the query, and from the form of a POST."""
    parameters: MultiDict[str] = MultiDict(request.query)
    if request.method == "POST":
        parameters.extend((k, v) for k, v in (await request.post()).items() if isinstance(v, str))
    try:
        return web.json_response({"status": "success", "data": await handler(parameters)})
    except BadRequestError as error:
        return failed(400, "bad_data", error)
    except UnsupportedError as error:
        return failed(422, "execution", error)
    except SelectorError as error:
        return failed(400, "bad_data", error)
    except PermanentError as error:
        return failed(422, "execution", error)
    except TransientError as error:
        return failed(503, "unavailable", error)


def failed(status: int, kind: str, error: Exception) -> web.Response:
    """Say what failed, as Prometheus does."""
    return web.json_response({"status": "error", "errorType": kind, "error": str(error)}, status=status)


def show(value: float | None) -> str:
    """Write a value as Prometheus does."""
    if value is None or math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) and abs(value) < 1e21 else repr(value)


def _matrix(labels: Labels, steps: Iterable[int], values: Iterable[float | None]) -> Mapping[str, Any]:
    points = [[at / 1000, show(value)] for at, value in zip(steps, values, strict=True) if value is not None]
    return {"metric": dict(labels), "values": points}


def _selectors(parameters: MultiMapping[str], name: str) -> Sequence[Sequence[Matcher]]:
    return [parse(text) for text in parameters.getall(name, [])]


def _number(text: str, name: str) -> float:
    try:
        number = float(text)
    except ValueError as error:
        raise BadRequestError(f"{name} is not a number: {text!r}") from error
    if not math.isfinite(number) or abs(number) > 1e11:
        raise BadRequestError(f"{name} is out of range: {text!r}")
    return number


def _time(text: str | None, name: str, default: float | None = None) -> float:
    """Read a time: Unix seconds, or RFC 3339."""
    if text is None or text == "":
        if default is None:
            raise BadRequestError(f"{name} is missing")
        return default
    if "T" in text:
        try:
            return datetime.fromisoformat(text).timestamp()
        except ValueError as error:
            raise BadRequestError(f"{name} is not a time: {text!r}") from error
    return _number(text, name)


def _step_s(text: str) -> float:
    """Read a step: seconds, or a duration."""
    try:
        return parse_duration_s(text)
    except ValueError:
        return _number(text, "step")
