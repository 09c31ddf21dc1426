"""`pronoia gateway`: one gateway in a process of its own."""

from pathlib import Path

import click
from prometheus_client import CollectorRegistry

from gateway.config import GatewayConfig
from gateway.service import Gateway
from pipeline import config as configuration
from pipeline.log.open import open_log
from pipeline.service import Admin, Component, Opened, serve
from pipeline.telemetry import LogMetrics, TracingMetrics
from pipeline.tracing import open_tracing
from pronoia.component import component_options, log_within, run_component
from pronoia.reload import on_hangup, serve_reload
from pronoia.version import VERSION


@click.command()
@component_options
def gateway(file: Path, data: Path, log_level: str) -> None:
    """Take pushes from agents and others, prove who they are, append to the log, then acknowledge."""
    run_component(lambda: serve_gateway(file, data), log_level)


async def serve_gateway(file: Path, data: Path) -> None:
    """Run one gateway until a signal asks to stop. Raises PipelineError where it cannot start."""

    def load() -> GatewayConfig:
        config = configuration.load(file, GatewayConfig)
        return config.model_copy(update={"log": log_within(data, config.log)})

    config, registry = load(), CollectorRegistry()
    log = open_log(config.log, LogMetrics(registry))
    tracing = open_tracing(config.tracing, "gateway", VERSION, TracingMetrics(registry))
    part = Gateway(config, log, registry, tracing=tracing, load=load, watch=[file])
    parts: list[Component] = [Opened("tracing", tracing), Opened("log", log), part]
    admin = Admin(config.listen.admin, registry, parts)

    serve_reload(admin.app, part.reload)
    with on_hangup(part.reload):
        await serve([admin, *parts])
