"""What the admin port says of an agent: what is found and scraped and why, in the shapes of Prometheus' API."""

from typing import TYPE_CHECKING

from aiohttp import web

from agent import explain_api, logs_routes, targets_api
from agent.reload import add_status_route

if TYPE_CHECKING:
    from agent.service import Agent


def add_routes(app: web.Application, agent: "Agent") -> None:
    """Serve it. What an agent has is looked up with each request: it may have not started yet, or have changed."""

    async def custom_resources(_: web.Request) -> web.Response:
        return web.json_response({"status": "success", "data": agent.resources.status()})

    async def sharing(_: web.Request) -> web.Response:
        return web.json_response({"status": "success", "data": agent.share.status()})

    add_status_route(app, lambda: agent.reload_status)
    targets_api.add_routes(app, lambda: agent.targets.by_job, lambda target: agent.pool.health(target), agent.node)
    explain_api.add_routes(
        app,
        lambda: agent.targets.jobs,
        lambda: agent.targets.by_job,
        lambda target: agent.share.is_ours(target),
    )
    logs_routes.add_routes(app, lambda: agent.logs, agent.ready)
    app.router.add_get("/api/v1/sharing", sharing)
    app.router.add_get("/api/v1/custom_resources", custom_resources)
