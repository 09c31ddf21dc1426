"""`pronoia targets`: what discovery finds, and what relabelling makes of it."""

import asyncio
import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import click
from prometheus_client import CollectorRegistry

from agent import custom_resources
from agent.config import AgentConfig
from agent.discovery import Tools
from agent.targets import JobTargets, Target, find_once
from pipeline.config import ConfigError
from pipeline.telemetry import DiscoveryMetrics
from pronoia.agent_file import EXPAND_ENV, load_agent, node_name
from pronoia.target_report import STATES, Report
from pronoia.version import VERSION

if TYPE_CHECKING:
    from agent.discovery.operator.follow import Refused
    from pronoia.log_targets import LogReport


@click.command("targets")
@click.option("--config", "file", required=True, type=click.Path(path_type=Path), help="The agent's configuration.")
@click.option("--job", "jobs", multiple=True, help="Only this job; may be given several times.")
@click.option(
    "--target",
    "words",
    multiple=True,
    help="Explain targets with this in their URL, labels or job; given again: and with this.",
)
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice(STATES),
    help="Only targets in this state; may be given several times.",
)
@click.option("--explain", is_flag=True, help="Of each target what every rule did to it, as with --target.")
@click.option("--json", "as_json", is_flag=True, help="As one JSON object, instead of text.")
@EXPAND_ENV
def targets(
    file: Path,
    jobs: tuple[str, ...],
    words: tuple[str, ...],
    states: tuple[str, ...],
    explain: bool,
    as_json: bool,
    expand_env: bool,
) -> None:
    """Discover once, and show what is found: by job, or with --target rule by rule why a target is what it is.

    Exits with 1 if a file or a URL of discovery could not be read.
    """
    try:
        config = load_agent(file, os.environ, expand_env=expand_env).config
    except ConfigError as error:
        click.echo(str(error), err=True)
        raise SystemExit(1) from error
    logging.disable()  # What fails is told below, once.
    try:
        found = asyncio.run(_find(config, frozenset(jobs)))
    finally:
        logging.disable(logging.NOTSET)
    known = {*found.jobs, *(found.logs.names if found.logs is not None else ())}
    if missing := set(jobs) - known:
        raise click.ClickException(f"{file} has no job named {', '.join(sorted(missing))}")
    report = Report(found.jobs, frozenset(states), tuple(word.lower() for word in words), explain or bool(words))
    if as_json:
        refused = [each.described() for each in found.refused]
        logs = {} if found.logs is None else {"logs": found.logs.as_json(explained=explain or bool(words))}
        click.echo(json.dumps({**report.as_json(), "refusedResources": refused, **logs}, ensure_ascii=False, indent=1))
    else:
        of_logs = list(found.logs.as_text()) if found.logs is not None else []
        lines = [report.as_text(), *(f"refused: {each}" for each in found.refused), *of_logs]
        click.echo("\n".join(line for line in lines if line).strip("\n"))
    for failure in found.failures:
        click.echo(f"error: {failure}", err=True)
    raise SystemExit(1 if found.failures else 0)


# asyncio.run has a repr made of its result, twice (by the signal module): of 100,000 targets that takes seconds.
@dataclass(frozen=True, slots=True, repr=False)
class _Found:
    jobs: dict[str, JobTargets[Target]]
    refused: "tuple[Refused, ...]"
    failures: list[str]
    logs: "LogReport | None"


async def _find(config: AgentConfig, jobs: frozenset[str]) -> _Found:
    """Try everything once, of these jobs (of all, if none is named) and of custom resources."""
    async with aiohttp.ClientSession(headers={"User-Agent": f"Pronoia/{VERSION}"}) as session:
        registry = CollectorRegistry()
        tools = Tools(session, DiscoveryMetrics(registry))
        of_resources, refused = await custom_resources.find_once(config, tools, registry)
        chosen = [job for job in (*config.scrape_configs, *of_resources) if not jobs or job.job_name in jobs]
        found, logs = await find_once(chosen, tools), None
        if config.logs is not None:
            from pronoia.log_targets import find_logs_once

            logs = await find_logs_once(config, tools, jobs, node_name(os.environ))
        return _Found(found, refused, list(tools.failures.values()), logs)
