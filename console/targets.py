"""What the pages of targets and of log sources ask for, and `/api/v1/targets` in Prometheus' shape."""

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from aiohttp import web
from aiohttp.typedefs import Handler

from console.prometheus_api import BadRequestError, answer
from console.sources import Plain, Sources, TargetsWanted

MAX_ROWS: Final = 1_000


def add_routes(app: web.Application, sources: Sources) -> None:
    """Serve them."""

    async def targets(parameters: Mapping[str, str]) -> Plain:
        return await sources.targets(parameters.get("state", ""), parameters.get("scrapePool", ""))

    async def targets_handler(request: web.Request) -> web.Response:
        return await answer(request, targets)

    app.router.add_get("/api/v1/targets", targets_handler)
    for name, page, explain in (
        ("targets", sources.targets_page, sources.explain),
        ("log-sources", sources.logs_page, sources.explain_logs),
    ):
        app.router.add_get(f"/api/console/{name}", _paging(page))
        # Labels may be longer than a URL.
        app.router.add_post(f"/api/console/{name}/explain", _explaining(explain))


def _paging(ask: Callable[[TargetsWanted], Awaitable[Plain]]) -> Handler:
    async def page(parameters: Mapping[str, str]) -> Plain:
        return await ask(_wanted(parameters))

    async def handler(request: web.Request) -> web.StreamResponse:
        return await answer(request, page)

    return handler


def _explaining(ask: Callable[[str, Mapping[str, str]], Awaitable[Plain]]) -> Handler:
    async def handler(request: web.Request) -> web.StreamResponse:
        async def explain(_: Any) -> Plain:
            return await ask(*_asked_for(await request.text()))

        return await answer(request, explain)

    return handler


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
