"""`pronoia ingester`: one ingester in a process of its own."""

from pathlib import Path

import click
from prometheus_client import CollectorRegistry

from ingester.config import IngesterConfig
from ingester.service import Ingester
from pipeline import config as configuration
from pipeline.log.open import open_log
from pipeline.service import Admin, Component, Opened, serve
from pipeline.telemetry import IngesterMetrics, LogMetrics, TracingMetrics
from pipeline.tracing import open_tracing
from pronoia.component import component_options, log_within, run_component
from pronoia.version import VERSION


@click.command()
@component_options
def ingester(file: Path, data: Path, log_level: str) -> None:
    """Deliver what the log holds to the configured sinks."""
    run_component(lambda: serve_ingester(file, data), log_level)


async def serve_ingester(file: Path, data: Path) -> None:
    """Run one ingester until a signal asks to stop. Raises PipelineError where it cannot start."""
    config, registry = configuration.load(file, IngesterConfig), CollectorRegistry()
    config = config.model_copy(update={"log": log_within(data, config.log)})
    log = open_log(config.log, LogMetrics(registry))
    tracing = open_tracing(config.tracing, "ingester", VERSION, TracingMetrics(registry))
    part = Ingester(config, log, IngesterMetrics(registry), tracing=tracing)
    parts: list[Component] = [Opened("tracing", tracing), Opened("log", log), part]
    admin = Admin(config.admin, registry, parts)
    part.add_routes(admin.app)
    await serve([admin, *parts])
