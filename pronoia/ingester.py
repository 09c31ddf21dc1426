"""`pronoia ingester`: one ingester in a process of its own."""

import asyncio
from pathlib import Path

import click
from prometheus_client import CollectorRegistry

from ingester.config import IngesterConfig
from ingester.service import Ingester
from pipeline import config as configuration
from pipeline.config import ConfigError
from pipeline.errors import PipelineError
from pipeline.log.config import open_log
from pipeline.service import Admin, serve
from pipeline.telemetry import IngesterMetrics, LogMetrics
from pronoia.process import run, set_up_logging


@click.command()
@click.option("--config", "file", required=True, type=click.Path(path_type=Path), help="The ingester's configuration.")
@click.option("--log-level", default="info", show_default=True, help="debug, info, warning or error.")
def ingester(file: Path, log_level: str) -> None:
    """Deliver what the log holds to the configured sinks."""
    set_up_logging(log_level)
    try:
        run(serve_ingester(configuration.load(file, IngesterConfig)))
    except ConfigError as error:
        raise click.ClickException(str(error)) from error
    except PipelineError as error:
        raise click.ClickException(f"cannot start: {error}") from error


async def serve_ingester(config: IngesterConfig) -> None:
    """Run one ingester until a signal asks to stop. Raises PipelineError where it cannot start."""
    registry = CollectorRegistry()
    log = open_log(config.log, LogMetrics(registry))
    part = Ingester(config, log, IngesterMetrics(registry))
    admin = Admin(config.admin, registry, [part])
    part.add_routes(admin.app)
    await log.start()
    try:
        await serve([part], started=admin.start)
    finally:
        await admin.close()
        async with asyncio.timeout(10.0):
            await log.close()
