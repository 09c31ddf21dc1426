"""`pronoia gateway`: one gateway in a process of its own."""

import asyncio
from pathlib import Path

import click
from prometheus_client import CollectorRegistry

from gateway.config import GatewayConfig
from gateway.service import Gateway
from pipeline import config as configuration
from pipeline.log.config import open_log
from pipeline.service import Admin, serve
from pipeline.telemetry import GatewayMetrics, LogMetrics
from pronoia.component import component_options, run_component


@click.command()
@component_options
def gateway(file: Path, data: Path, log_level: str) -> None:
    """Take pushes from agents and others, prove who they are, append to the log, then acknowledge."""
    run_component(lambda: serve_gateway(file), log_level)


async def serve_gateway(file: Path) -> None:
    """Run one gateway until a signal asks to stop. Raises PipelineError where it cannot start."""
    config = configuration.load(file, GatewayConfig)
    registry = CollectorRegistry()
    log = open_log(config.log, LogMetrics(registry))
    part = Gateway(config, log, GatewayMetrics(registry))
    admin = Admin(config.listen.admin, registry, [part])
    await log.start()
    try:
        await serve([part], started=admin.start)
    finally:
        await admin.close()
        async with asyncio.timeout(10.0):
            await log.close()
