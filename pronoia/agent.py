"""`pronoia agent`: one agent in a process of its own."""

import logging
import os
import socket
from pathlib import Path

import click
from prometheus_client import CollectorRegistry

from agent.config import Loaded, included, load, require_destination
from agent.service import Agent
from pipeline.service import Admin, Opened, serve
from pipeline.telemetry import TracingMetrics
from pipeline.tracing import open_tracing
from pronoia.component import component_options, run_component
from pronoia.reload import on_hangup, serve_reload
from pronoia.version import VERSION

logger = logging.getLogger(__name__)


@click.command()
@component_options
@click.option("--strict", is_flag=True, help="Make errors of what is otherwise warned of.")
def agent(file: Path, data: Path, log_level: str, strict: bool) -> None:
    """Discover and scrape what a prometheus.yml names; push to a gateway, or straight to remote write."""
    run_component(lambda: serve_agent(file, data, strict=strict), log_level)


async def serve_agent(file: Path, data: Path, *, strict: bool) -> None:
    """Run one agent until a signal asks to stop. Raises PipelineError where it cannot start."""

    def read() -> Loaded:
        loaded = load(file, os.environ, strict=strict)
        require_destination(loaded.config, str(file))
        return loaded

    loaded = read()
    for warning in loaded.warnings:
        logger.warning("%s", warning)
    registry = CollectorRegistry()
    node = os.environ.get("NODE_NAME") or socket.gethostname()
    tracing = open_tracing(loaded.config.tracing, "agent", VERSION, TracingMetrics(registry))
    part = Agent(loaded.config, data, registry, node, f"Pronoia/{VERSION}", tracing=tracing, load=read)
    part.files = lambda: [file, *included(file, part.config.scrape_config_files)]
    admin = Admin(loaded.config.admin, registry, [part])
    part.add_routes(admin.app)
    # The last is what Clymene's agent is asked.
    serve_reload(admin.app, part.reload, "/api/reload")
    with on_hangup(part.reload):
        await serve([admin, Opened("tracing", tracing), part])
