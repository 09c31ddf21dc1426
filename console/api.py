"""What the console's own pages ask for. Their shapes belong to the pages beside them and may change with them."""

import math
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from aiohttp import web

from console.history import History
from console.machines import machines
from console.prometheus_api import BadRequestError, answer
from console.sources import Plain, Sources, TargetsWanted
from pipeline.errors import PipelineError
from pipeline.store import Store
from pipeline.store.logs import LogStore
from pipeline.store.requests import Metadata
from pipeline.store.selector import NAME, Matcher, Operator

_KINDS: Final = {1: "counter", 2: "gauge", 3: "histogram", 4: "gaugehistogram", 5: "summary", 6: "info", 7: "stateset"}
_MAX_FAMILIES: Final = 1_000
_MAX_FOUND: Final = 500
_MAX_CHARTED: Final = 40
_MAX_POINTS: Final = 2_000
_MAX_DEAD_LETTERS: Final = 500


class Api:
    """The endpoints below /api/console, and the one that others read too: /api/v1/status."""

    def __init__(self, store: Store | None, sources: Sources, history: History, logs: LogStore | None = None) -> None:
        self._store, self._sources, self._history, self._logs = store, sources, history, logs

    def add_routes(self, app: web.Application) -> None:
        """Serve them."""
        app.router.add_get("/api/v1/status", self._status)
        app.router.add_get("/api/console/overview", self._overview)
        app.router.add_get("/api/console/machines", self._machines)
        app.router.add_get("/api/console/dead-letters", self._dead_letters)
        app.router.add_get("/api/console/search", self._search)
        app.router.add_get("/api/console/series", self._series)
        app.router.add_post("/api/console/chart", self._chart)

    async def _status(self, _: web.Request) -> web.Response:
        try:
            return web.json_response(await self._sources.status())
        except PipelineError as error:
            return web.json_response({"error": str(error)}, status=503)

    async def _overview(self, request: web.Request) -> web.Response:
        return await answer(request, self.overview)

    async def overview(self, _: Any = None) -> Plain:
        """Everything of the first page; a source that fails leaves its reason in its place."""
        out: dict[str, Any] = {"now": time.time(), "errors": [], "parts": dict(self._sources.parts())}
        out["rates"] = self._history.lines()
        try:
            out["status"] = await self._sources.status()
        except PipelineError as error:
            out["errors"].append(f"status: {error}")
        try:
            jobs = (await self._sources.targets_page(TargetsWanted(limit=0)))["jobs"].values()
            out["targets"] = {state: sum(job[state] for job in jobs) for state in ("up", "down", "unknown")}
        except PipelineError as error:
            out["errors"].append(f"targets: {error}")
        try:
            logs = (await self._sources.logs_page(TargetsWanted(limit=0)))["jobs"].values()
            out["log_sources"] = {state: sum(job["counts"][state] for job in logs) for state in ("failing", "behind")}
        except PipelineError as error:
            out["errors"].append(f"log sources: {error}")
        try:
            out["dead_letters"] = (await self._sources.dead_letters(0)).total
        except PipelineError as error:
            out["errors"].append(f"dead letters: {error}")
        if self._store is not None:
            out["store"] = asdict(await self._store.summary())
        if self._logs is not None:
            summary = await self._logs.summary()
            out["logs"] = {"entries": summary.entries, "stored_bytes": summary.stored_bytes}
        return out

    async def _machines(self, request: web.Request) -> web.Response:
        async def found(_: Any) -> Plain:
            if self._store is None:
                return {"total": 0, "machines": []}
            return await machines(self._store, time.time())

        return await answer(request, found)

    async def _dead_letters(self, request: web.Request) -> web.Response:
        async def dead_letters(_: Any) -> Plain:
            page = await self._sources.dead_letters(_MAX_DEAD_LETTERS)
            return {"total": page.total, "rows": [asdict(row) for row in page.rows]}

        return await answer(request, dead_letters)

    async def _search(self, request: web.Request) -> web.Response:
        async def search(parameters: Mapping[str, str]) -> Plain:
            if self._store is None:
                return {"stored": False, "total": 0, "names": 0, "families": []}
            names = await self._store.names(parameters.get("q", ""))
            known = await self._store.metadata()
            shown = [{"name": name, "count": count, **_family(name, known)} for name, count in names.items()]
            return {
                "stored": True,
                "total": sum(names.values()),
                "names": len(names),
                "families": shown[:_MAX_FAMILIES],
            }

        return await answer(request, search)

    async def _series(self, request: web.Request) -> web.Response:
        async def series(parameters: Mapping[str, str]) -> Plain:
            if self._store is None:
                return {"total": 0, "series": []}
            name = parameters.get("name")
            of_name = () if name is None else (Matcher(NAME, Operator.EQUAL, name),)
            found, total = await self._store.search(parameters.get("q", ""), of_name, limit=_MAX_FOUND)
            return {"total": total, "series": [dict(each.labels) for each in found]}

        return await answer(request, series)

    async def _chart(self, request: web.Request) -> web.Response:
        async def chart(_: Any) -> Plain:
            if self._store is None:
                raise BadRequestError("there is no embedded store to read from")
            wanted, start_ms, end_ms, points, rate = _chart_request(await request.json())
            ids = [await self._store.find(labels) for labels in wanted]
            found = [number for number in ids if number is not None]
            drawn = await self._store.chart(found, start_ms, end_ms, max_points=points, rate=rate)
            values = {each.id: [_finite(value) for value in each.values] for each in drawn.series}
            return {
                "step": drawn.step_ms / 1000,
                "times": [at / 1000 for at in drawn.steps],
                "series": [values.get(number) if number is not None else None for number in ids],
            }

        return await answer(request, chart)


def _chart_request(body: Any) -> tuple[list[tuple[tuple[str, str], ...]], int, int, int, bool]:
    try:
        wanted = [tuple(sorted((str(k), str(v)) for k, v in labels.items())) for labels in body["series"]]
        start_ms, end_ms = round(body["start"] * 1000), round(body["end"] * 1000)
        points, rate = min(int(body["points"]), _MAX_POINTS), bool(body["rate"])
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise BadRequestError(f"not a chart's request: {error!r}") from error
    if len(wanted) > _MAX_CHARTED:
        raise BadRequestError(f"a chart takes {_MAX_CHARTED} series")
    return wanted, start_ms, end_ms, points, rate


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _family(name: str, known: Mapping[str, Metadata]) -> Plain:
    """Return what is known of a metric: its type (a histogram's or summary's parts are counters), and its help."""
    metadata = known.get(name)
    if metadata is not None:
        return {"type": _KINDS.get(metadata.kind, ""), "help": metadata.help}
    for suffix in ("_total", "_bucket", "_count", "_sum", "_info"):
        family = known.get(name.removesuffix(suffix)) if name.endswith(suffix) else None
        if family is not None:
            return {"type": "info" if suffix == "_info" else "counter", "help": family.help}
    guess = "counter" if name.endswith(("_total", "_bucket", "_count")) else ""
    return {"type": guess, "help": ""}
