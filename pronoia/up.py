"""`pronoia up`: agent, gateway, log, ingester, store and console in one process, the same code that runs apart."""

import logging
import socket
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import aiohttp
import click
from prometheus_client import CollectorRegistry

from agent.config import Loaded, included
from agent.host import HostPage, node_exporter_answers
from agent.host.server import NODE_EXPORTER
from agent.service import Agent
from console.service import Console
from console.sources import DeadLetterPage, DeadLetterRow, Sources
from gateway.service import Gateway
from ingester.config import SinkConfig
from ingester.service import Ingester
from ingester.sinks import Sink
from ingester.sinks.store import StoreSink
from ingester.sinks.store.logs import LogStoreSink
from pipeline.config import Address, ConfigError, parse_address
from pipeline.log.open import open_log
from pipeline.service import Admin, Component, Opened, serve
from pipeline.store import Store
from pipeline.store.logs import LogStore
from pipeline.telemetry import IngesterMetrics, LogMetrics, TracingMetrics
from pipeline.tracing import Tracing, open_tracing
from pronoia.component import run_component
from pronoia.own_log import keep_own_log
from pronoia.plan import SECTIONS, Plan, make_plan, own_log
from pronoia.reload import on_hangup, serve_reload
from pronoia.shown_logs import ShownLogs
from pronoia.shown_targets import ShownTargets
from pronoia.version import VERSION

logger = logging.getLogger(__name__)


@click.command()
@click.option(
    "--config", "file", type=click.Path(path_type=Path), help=f"Sections {', '.join(SECTIONS)}; each optional."
)
@click.option("--data", type=click.Path(path_type=Path, file_okay=False), default=Path("data"), show_default=True)
@click.option("--listen", help="Where the console listens; 127.0.0.1:15600 where the file says nothing else.")
@click.option("--log-level", default="warning", show_default=True, help="debug, info, warning or error.")
def up(file: Path | None, data: Path, listen: str | None, log_level: str) -> None:
    """Run everything in one process; without a file: look at this machine."""
    try:
        address = parse_address(listen) if listen else None
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--listen") from error
    run_component(lambda: serve_all(file, data, address), log_level)


async def serve_all(file: Path | None, data: Path, listen: Address | None) -> None:
    """Run everything until a signal asks to stop; raises PipelineError where it cannot start."""
    keep_own_log(own_log(data))
    page = HostPage()
    # Its port is known only once it listens, and only a file says whether it is needed.
    looks = file is None or make_plan(file, data, page.address).looks_at_this_machine
    if not looks:
        await serve_plan(lambda: make_plan(file, data, page.address), file, data, listen)
        return
    async with aiohttp.ClientSession() as session:
        node_exporter = await node_exporter_answers(session)
    if node_exporter:
        await serve_plan(lambda: make_plan(file, data, NODE_EXPORTER), file, data, listen)
        return
    await page.start()
    try:
        await serve_plan(lambda: make_plan(file, data, page.address), file, data, listen)
    finally:
        await page.drain()


async def serve_plan(read: Callable[[], Plan], file: Path | None, data: Path, listen: Address | None) -> None:
    """Wire the parts of a plan together and run them; what `read` gives later is what a reload goes on with."""
    chosen = read()
    for warning in chosen.loaded.warnings:
        logger.warning("%s", warning)
    registry = CollectorRegistry()
    store, log_store = Store(chosen.store, registry), LogStore(chosen.log_store, registry)
    log_metrics = LogMetrics(registry)
    log = open_log(chosen.gateway.log, log_metrics)
    buffer_metrics = LogMetrics(registry, "buffer", beside=log_metrics)
    tracing = _tracing(chosen, registry)
    agent = Agent(
        chosen.agent,
        data,
        registry,
        socket.gethostname(),
        f"Pronoia/{VERSION}",
        buffer_metrics,
        tracing["agent"],
    )
    if file is not None:
        agent.load = lambda: _agent_again(chosen, read())
        agent.files = lambda: [file, *included(file, agent.config.scrape_config_files)]
    gateway = Gateway(chosen.gateway, log, registry, tracing=tracing["gateway"])
    ingester = Ingester(
        chosen.ingester,
        log,
        IngesterMetrics(registry),
        builders={"store": lambda config, _: _store_sink(config, store, log_store)},
        tracing=tracing["ingester"],
    )
    working: list[Component] = [agent, gateway, ingester]
    admin = Admin(chosen.gateway.listen.admin, registry, working)
    agent.add_routes(admin.app)
    serve_reload(admin.app, agent.reload, "/api/reload")
    ingester.add_routes(admin.app)
    console_config = chosen.console.model_copy(update={"listen": listen} if listen else {})
    console = Console(console_config, store, _sources(agent, ingester, working), registry, logs=log_store)

    parts: list[Component] = [Opened(f"tracing of the {name}", one) for name, one in tracing.items()]
    parts += [
        Opened("store", store),
        Opened("log store", log_store),
        Opened("log", log),
        ingester,
        gateway,
        admin,
        agent,
        console,
    ]
    with on_hangup(agent.reload) if file is not None else nullcontext():
        await serve(parts, started=lambda: click.echo(summary(chosen, data, console.port), err=True))


def _store_sink(config: SinkConfig, store: Store, log_store: LogStore) -> Sink:
    assert config.store is not None
    logs = config.store.signal == "logs"
    return LogStoreSink(config.name, log_store) if logs else StoreSink(config.name, store)


def _agent_again(running: Plan, now: Plan) -> Loaded:
    """Return what the agent's section says now; raises ConfigError for a change of another section."""
    changed = [name for name in SECTIONS if name != "agent" and getattr(running, name) != getattr(now, name)]
    if changed:
        raise ConfigError([now.document.mistake((name,), "a change needs a restart") for name in changed])
    return now.loaded


def _tracing(chosen: Plan, registry: CollectorRegistry) -> dict[str, Tracing]:
    """Return each component's tracing, as its own section says."""
    metrics = TracingMetrics(registry)
    configs = {
        "agent": chosen.agent.tracing,
        "gateway": chosen.gateway.tracing,
        "ingester": chosen.ingester.tracing,
    }
    return {name: open_tracing(config, name, VERSION, metrics) for name, config in configs.items()}


def _sources(agent: Agent, ingester: Ingester, parts: list[Component]) -> Sources:
    shown, logs = ShownTargets(agent, socket.gethostname()), ShownLogs(agent)

    async def dead_letters(most: int) -> DeadLetterPage:
        found = await ingester.desk.letters.listing(limit=most)
        return DeadLetterPage(found["total"], [_row(letter) for letter in found["dead_letters"]])

    return Sources(
        status=ingester.status,
        targets=shown.targets,
        targets_page=shown.page,
        explain=shown.explain,
        dead_letters=dead_letters,
        logs_page=logs.page,
        explain_logs=logs.explain,
        parts=lambda: {part.name: part.ready() for part in parts} | _trouble(agent),
    )


def _trouble(agent: Agent) -> dict[str, str]:
    """Return why a configuration could not be read again, if one could not: the agent works, on the old one."""
    mistakes = agent.reload_status.mistakes
    return {"agent's configuration": "the old one runs on: " + "; ".join(mistakes)} if mistakes else {}


def _row(letter: dict[str, Any]) -> DeadLetterRow:
    same = ("at_ms", "cluster", "sink", "signal", "status", "reason", "items")
    return DeadLetterRow(id=str(letter["id"]), **{name: letter[name] for name in same})


def summary(chosen: Plan, data: Path, port: int) -> str:
    """Say in three lines what runs and where to look."""
    does = [f"scrapes {jobs}"] if (jobs := ", ".join(job.job_name for job in chosen.agent.scrape_configs)) else []
    logs = chosen.agent.logs.scrape_configs if chosen.agent.logs is not None else ()
    does += [f"reads logs ({', '.join(job.job_name for job in logs)})"] if logs else []
    sinks = ", ".join(config.name for config in chosen.ingester.sinks)
    http = chosen.gateway.listen.http
    return "\n".join(
        (
            f"Pronoia {', '.join([*does, f'delivers to {sinks}'])}; what it keeps is in {data}/.",
            f"Look at it:   http://127.0.0.1:{port}",
            f"Send it more: remote write to http://{http.host}:{http.port}/api/v1/write, logs to /loki/api/v1/push. "
            "Ctrl-C stops; nothing is lost."
            if http
            else "Ctrl-C stops; the next start goes on where this one was.",
        )
    )
