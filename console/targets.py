"""What the page of targets asks for, and `/api/v1/targets` in Prometheus' shape."""

import json
from collections.abc import Mapping
from typing import Any, Final

from aiohttp import web

from console.prometheus_api import BadRequestError, answer
from console.sources import Plain, Sources, TargetsWanted

MAX_ROWS: Final = 1_000


def add_routes(app: web.Application, sources: Sources) -> None:
    """Serve them."""

    async def targets(parameters: Mapping[str, str]) -> Plain:
        return await sources.targets(parameters.get("state", ""), parameters.get("scrapePool", ""))

    async def page(parameters: Mapping[str, str]) -> Plain:
        return await sources.targets_page(_wanted(parameters))

    async def targets_handler(request: web.Request) -> web.Response:
        return await answer(request, targets)

    async def page_handler(request: web.Request) -> web.Response:
        return await answer(request, page)

    async def explain_handler(request: web.Request) -> web.Response:
        async def explain(_: Any) -> Plain:
            return await sources.explain(*_asked_for(await request.text()))

        return await answer(request, explain)

    app.router.add_get("/api/v1/targets", targets_handler)
    app.router.add_get("/api/console/targets", page_handler)
    # Labels may be longer than a URL.
    app.router.add_post("/api/console/explain", explain_handler)


def _wanted(parameters: Mapping[str, str]) -> TargetsWanted:
    try:
        limit = int(parameters.get("limit", "100"))
    except ValueError as error:
        raise BadRequestError(f"limit is not a number: {parameters['limit']!r}") from error
    return TargetsWanted(
        job=parameters.get("job", ""),
        states=frozenset(filter(None, parameters.get("state", "").split(","))),
        words=tuple(parameters.get("q", "").lower().split()),
        limit=max(0, min(limit, MAX_ROWS)),
    )


def _asked_for(body: str) -> tuple[str, Mapping[str, str]]:
    try:
        asked = json.loads(body)
        pool, labels = str(asked["scrapePool"]), {str(k): str(v) for k, v in asked["labels"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadRequestError(f"not a question for an explanation: {error!r}") from error
    return pool, labels
