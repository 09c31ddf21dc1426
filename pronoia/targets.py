"""`pronoia targets`: what discovery finds, and what relabelling makes of it."""

import asyncio
import json
import logging
import os
from pathlib import Path

import aiohttp
import click
from prometheus_client import CollectorRegistry

from agent.config import ScrapeConfig
from agent.discovery import Tools
from agent.targets import JobTargets, find_once
from pipeline.config import ConfigError
from pipeline.telemetry import DiscoveryMetrics
from pronoia.agent_file import load_agent
from pronoia.target_report import STATES, Report
from pronoia.version import VERSION


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
def targets(
    file: Path, jobs: tuple[str, ...], words: tuple[str, ...], states: tuple[str, ...], explain: bool, as_json: bool
) -> None:
    """Discover once, and show what is found: by job, or with --target rule by rule why a target is what it is.

    Exits with 1 if a file or a URL of discovery could not be read.
    """
    try:
        configs = load_agent(file, os.environ).config.scrape_configs
    except ConfigError as error:
        click.echo(str(error), err=True)
        raise SystemExit(1) from error
    if missing := set(jobs) - {config.job_name for config in configs}:
        raise click.ClickException(f"{file} has no job named {', '.join(sorted(missing))}")
    chosen = [config for config in configs if not jobs or config.job_name in jobs]
    logging.disable()  # What fails is told below, once.
    try:
        found, failures = asyncio.run(_find(chosen))
    finally:
        logging.disable(logging.NOTSET)
    report = Report(found, frozenset(states), tuple(word.lower() for word in words), explain or bool(words))
    click.echo(json.dumps(report.as_json(), ensure_ascii=False, indent=1) if as_json else report.as_text())
    for failure in failures:
        click.echo(f"error: {failure}", err=True)
    raise SystemExit(1 if failures else 0)


async def _find(configs: list[ScrapeConfig]) -> tuple[dict[str, JobTargets], list[str]]:
    async with aiohttp.ClientSession(headers={"User-Agent": f"Pronoia/{VERSION}"}) as session:
        tools = Tools(session, DiscoveryMetrics(CollectorRegistry()))
        found = await find_once(configs, tools)
    return found, list(tools.failures.values())
