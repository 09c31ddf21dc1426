"""What the admin port says of logs, also where an agent reads none: then nothing of them is imported."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from aiohttp import web

if TYPE_CHECKING:
    from agent.logs.service import LogService


def add_routes(
    app: web.Application, service: "Callable[[], LogService | None]", ready: Callable[[], str | None]
) -> None:
    """Serve `/api/v1/logs/targets` with `…/explain`, `…/reading`, and `/ready`, where promtail's probes ask."""

    async def tell_ready(_: web.Request) -> web.Response:
        reason = ready()
        return web.Response(text="Ready\n") if reason is None else web.Response(status=503, text=f"{reason}\n")

    async def targets(_: web.Request) -> web.Response:
        if (now := service()) is None:
            data: dict[str, Any] = {
                "activeTargets": [],
                "droppedTargets": [],
                "droppedTargetCounts": {},
                "troubles": {},
            }
            return web.json_response({"status": "success", "data": data})
        from agent.logs import api

        return await api.targets(now)

    async def reading(request: web.Request) -> web.Response:
        if (now := service()) is None:
            data = {"jobs": {}, "matching": 0, "rows": [], "trouble": None}
            return web.json_response({"status": "success", "data": data})
        from agent.logs import api

        return await api.page(now, request)

    async def explain(request: web.Request) -> web.Response:
        if (now := service()) is None:
            error = {"status": "error", "errorType": "bad_data", "error": "no logs are read here"}
            return web.json_response(error, status=400)
        from agent.logs import api

        return await api.explain(now, request)

    app.router.add_get("/ready", tell_ready)
    app.router.add_get("/api/v1/logs/targets", targets)
    app.router.add_get("/api/v1/logs/reading", reading)
    app.router.add_get("/api/v1/logs/targets/explain", explain)
    app.router.add_post("/api/v1/logs/targets/explain", explain)
