"""`pronoia agent`: one agent in a process of its own."""

import logging
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import click
from prometheus_client import CollectorRegistry

from agent.config import AgentConfig, Loaded, included, load, require_destination
from agent.service import Agent
from pipeline.service import Admin, Component, Opened, serve
from pipeline.telemetry import TracingMetrics
from pipeline.tracing import open_tracing
from pronoia.agent_file import EXPAND_ENV, node_name
from pronoia.component import component_options, run_component
from pronoia.reload import on_hangup, serve_reload
from pronoia.version import VERSION

logger = logging.getLogger(__name__)


@click.command()
@component_options
@click.option("--strict", is_flag=True, help="Make errors of what is otherwise warned of.")
@click.option("--stdin", is_flag=True, help="Read logs from standard input, and end when all of it is delivered.")
@EXPAND_ENV
def agent(file: Path, data: Path, log_level: str, strict: bool, stdin: bool, expand_env: bool) -> None:
    """Scrape what a prometheus.yml names, read the logs that a promtail's file names, and push both on."""

    def read() -> Loaded:
        loaded = load(file, os.environ, strict=strict, expand_env=expand_env)
        require_destination(loaded.config, str(file))
        return replace(loaded, config=_with_stdin(loaded.config)) if stdin else loaded

    run_component(lambda: serve_agent(file, data, read), log_level)


def _with_stdin(config: AgentConfig) -> AgentConfig:
    # Only an agent that reads logs pays for what their stages take.
    from agent.config.promtail import LogsConfig

    logs = config.logs or LogsConfig()
    target = logs.target_config.model_copy(update={"stdin": True})
    return config.model_copy(update={"logs": logs.model_copy(update={"target_config": target})})


class Beside(Component, Protocol):
    """Something that runs beside an agent and needs to know it."""

    def attach(self, agent: Agent) -> None:
        """Take the agent; called once, before it starts."""


async def serve_agent(file: Path, data: Path, read: Callable[[], Loaded], *, beside: Beside | None = None) -> None:
    """Run one agent until a signal asks to stop; what `read` gives of the file later is what a reload goes on with.

    Raises PipelineError where it cannot start.
    """
    loaded = read()
    for warning in loaded.warnings:
        logger.warning("%s", warning)
    registry = CollectorRegistry()
    node = node_name(os.environ)
    tracing = open_tracing(loaded.config.tracing, "agent", VERSION, TracingMetrics(registry))
    part = Agent(loaded.config, data, registry, node, f"Pronoia/{VERSION}", tracing=tracing, load=read)
    part.files = lambda: [file, *included(file, part.config.scrape_config_files)]
    admin = Admin(loaded.config.admin, registry, [part])
    part.add_routes(admin.app)
    # The last is what Clymene's agent is asked.
    serve_reload(admin.app, part.reload, "/api/reload")
    parts: list[Component] = [admin, Opened("tracing", tracing), part]
    if beside is not None:
        beside.attach(part)
        parts.append(beside)
    with on_hangup(part.reload):
        await serve(parts, finished=part.finished)
