"""`pronoia up`: agent, gateway, log, ingester, store and console in one process, the same code that runs apart."""

import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import click
from prometheus_client import CollectorRegistry

from agent.config import AgentConfig, build
from agent.host import HostPage, node_exporter_answers
from agent.service import Agent
from agent.targets_api import response as targets_response
from console.config import ConsoleConfig
from console.service import Console
from console.sources import DeadLetterPage, DeadLetterRow, Sources
from gateway.config import GatewayConfig
from gateway.service import Gateway
from ingester.config import IngesterConfig
from ingester.service import Ingester
from ingester.sinks.store import StoreSink
from pipeline.config import Address, ConfigError, Document, parse, parse_address, read, validate
from pipeline.log.config import open_log
from pipeline.service import Admin, Component, Opened, serve
from pipeline.store import Store, StoreConfig
from pipeline.telemetry import IngesterMetrics, LogMetrics
from pronoia.component import run_component
from pronoia.version import VERSION

INTERVAL_S: Final = 5
CLUSTER: Final = "local"


@click.command()
@click.option(
    "--config", "file", type=click.Path(path_type=Path), help="Sections agent, gateway, ingester; each optional."
)
@click.option("--data", type=click.Path(path_type=Path, file_okay=False), default=Path("data"), show_default=True)
@click.option("--listen", default="127.0.0.1:15600", show_default=True, help="Where the console listens.")
@click.option("--log-level", default="warning", show_default=True, help="debug, info, warning or error.")
def up(file: Path | None, data: Path, listen: str, log_level: str) -> None:
    """Run everything in one process; without a file: look at this machine."""
    try:
        address = parse_address(listen)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--listen") from error
    run_component(lambda: serve_all(file, data, address), log_level)


@dataclass(slots=True)
class Plan:
    """What is going to run: the three configurations, from the file or ours."""

    agent: AgentConfig
    gateway: GatewayConfig
    ingester: IngesterConfig
    warnings: tuple[str, ...] = ()


def plan(file: Path | None, data: Path, host: dict[str, Any]) -> Plan:
    """Read the file's sections and fill in those that it leaves out; raises ConfigError.

    `host` is the scrape job for this machine. An agent without a `gateway` pushes to the one of this process.
    """
    document = read(file) if file else parse("{}", "up")
    if not isinstance(document.value, dict):
        raise ConfigError([document.mistake((), "must hold sections: agent, gateway, ingester")])
    if unknown := set(document.value) - {"agent", "gateway", "ingester"}:
        raise ConfigError([document.mistake((name,), "unknown section") for name in sorted(unknown)])
    log = {"sqlite": {"path": str(data / "log")}}
    gateway = _section(document, "gateway", GatewayConfig, {"log": log})
    ingester = _section(
        document,
        "ingester",
        IngesterConfig,
        {"log": document.value.get("gateway", {}).get("log", log), "sinks": [{"name": "store", "store": {}}]},
    )
    if ingester.log != gateway.log:
        raise ConfigError(
            [document.mistake(("ingester", "log"), "is not gateway.log: in one process there is one log")]
        )
    agent, warnings = _agent(document, file, gateway, host)
    return Plan(agent, gateway, ingester, warnings)


def _section(document: Document, name: str, model: Any, defaults: dict[str, Any]) -> Any:
    value = document.value.get(name) or {}
    filled = {**defaults, **value} if isinstance(value, dict) else value
    return validate(document, model, filled, (name,))


def _agent(
    document: Document, file: Path | None, gateway: GatewayConfig, host: dict[str, Any]
) -> tuple[AgentConfig, tuple[str, ...]]:
    if file is not None and document.value.get("agent"):
        text = read(file, text_scalars=True)
        value, source = dict(text.value["agent"]), text
    else:
        value, source = dict(host), parse("{}", "up")
    if "gateway" not in value:
        if gateway.clusters is not None:
            raise ConfigError(
                [document.mistake(("agent",), "needs `gateway` with a token, since gateway.clusters asks for one")]
            )
        if gateway.listen.http is None:
            raise ConfigError(
                [document.mistake(("gateway", "listen", "http"), "is needed by the agent of this process")]
            )
        value["gateway"] = {"url": f"http://{gateway.listen.http.host}:{gateway.listen.http.port}"}
    loaded = build(source, os.environ, value, ("agent",))
    return loaded.config, loaded.warnings


def host_jobs(node_exporter: bool, page: Address, admin: Address) -> dict[str, Any]:
    """Return the agent's configuration for this machine: itself and the pipeline, every five seconds."""
    node = "127.0.0.1:9100" if node_exporter else f"{page.host}:{page.port}"
    labels = {"instance": socket.gethostname()}

    def job(name: str, target: str) -> dict[str, Any]:
        return {"job_name": name, "static_configs": [{"targets": [target], "labels": labels}]}

    return {
        "global": {"scrape_interval": f"{INTERVAL_S}s", "scrape_timeout": f"{INTERVAL_S}s"},
        "cluster": CLUSTER,
        "scrape_configs": [job("node", node), job("pronoia", f"{admin.host}:{admin.port}")],
    }


async def serve_all(file: Path | None, data: Path, listen: Address) -> None:
    """Run everything until a signal asks to stop; raises PipelineError where it cannot start."""
    page = HostPage()
    async with aiohttp.ClientSession() as session:
        node_exporter = file is None and await node_exporter_answers(session)
    needs_page = file is None and not node_exporter
    if needs_page:
        await page.start()
    admin_address = Address(host="127.0.0.1", port=15690)
    chosen = plan(file, data, host_jobs(node_exporter, page.address, admin_address))
    try:
        await serve_plan(chosen, data, listen)
    finally:
        if needs_page:
            await page.drain()


async def serve_plan(chosen: Plan, data: Path, listen: Address) -> None:
    """Wire the parts together and run them."""
    registry = CollectorRegistry()
    store = Store(StoreConfig(path=data / "store"), registry)
    log_metrics = LogMetrics(registry)
    log = open_log(chosen.gateway.log, log_metrics)
    buffer_metrics = LogMetrics(registry, "buffer", beside=log_metrics)
    agent = Agent(chosen.agent, data, registry, socket.gethostname(), f"Pronoia/{VERSION}", buffer_metrics)
    gateway = Gateway(chosen.gateway, log, registry)
    ingester = Ingester(
        chosen.ingester,
        log,
        IngesterMetrics(registry),
        builders={"store": lambda config: StoreSink(config.name, store)},
    )
    working: list[Component] = [agent, gateway, ingester]
    admin = Admin(chosen.gateway.listen.admin, registry, working)
    agent.add_routes(admin.app)
    ingester.add_routes(admin.app)
    console = Console(ConsoleConfig(listen=listen), store, _sources(agent, ingester, working), registry)

    parts: list[Component] = [Opened("store", store), Opened("log", log), ingester, gateway, admin, agent, console]
    await serve(parts, started=lambda: click.echo(summary(chosen, data, console.port), err=True))


def _sources(agent: Agent, ingester: Ingester, parts: list[Component]) -> Sources:
    async def targets() -> dict[str, Any]:
        return targets_response(agent.targets.by_job, agent.pool.health, socket.gethostname())

    async def dead_letters(most: int) -> DeadLetterPage:
        found = await ingester.desk.letters.listing(limit=most)
        return DeadLetterPage(found["total"], [_row(letter) for letter in found["dead_letters"]])

    return Sources(
        status=ingester.status,
        targets=targets,
        dead_letters=dead_letters,
        parts=lambda: {part.name: part.ready() for part in parts},
    )


def _row(letter: dict[str, Any]) -> DeadLetterRow:
    same = ("at_ms", "cluster", "sink", "signal", "status", "reason", "items")
    return DeadLetterRow(id=str(letter["id"]), **{name: letter[name] for name in same})


def summary(chosen: Plan, data: Path, port: int) -> str:
    """Say in three lines what runs and where to look."""
    jobs = ", ".join(config.job_name for config in chosen.agent.scrape_configs) or "no jobs"
    sinks = ", ".join(config.name for config in chosen.ingester.sinks)
    http = chosen.gateway.listen.http
    return "\n".join(
        (
            f"Pronoia scrapes {jobs} and delivers to {sinks}; what it keeps is in {data}/.",
            f"Look at it:   http://127.0.0.1:{port}",
            f"Send it more: remote write to http://{http.host}:{http.port}/api/v1/write. Ctrl-C stops; nothing is lost."
            if http
            else "Ctrl-C stops; the next start goes on where this one was.",
        )
    )
