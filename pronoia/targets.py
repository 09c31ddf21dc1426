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
from agent.targets_api import summary
from pipeline.config import ConfigError
from pipeline.telemetry import DiscoveryMetrics
from pronoia.agent_file import load_agent
from pronoia.version import VERSION


@click.command("targets")
@click.option("--config", "file", required=True, type=click.Path(path_type=Path), help="The agent's configuration.")
@click.option("--job", "jobs", multiple=True, help="Only this job; may be given several times.")
@click.option("--json", "as_json", is_flag=True, help="As one JSON object, instead of text.")
def targets(file: Path, jobs: tuple[str, ...], as_json: bool) -> None:
    """Discover once, and show each target: its labels as discovered and after relabelling, or why it is dropped.

    Exits with 1 if a file or a URL of discovery could not be read.
    """
    try:
        configs = load_agent(file, os.environ).config.scrape_configs
    except ConfigError as error:
        click.echo(str(error), err=True)
        raise SystemExit(1) from error
    if missing := set(jobs) - {config.job_name for config in configs}:
        raise click.ClickException(f"{file} has no job named {', '.join(sorted(missing))}")
    logging.disable()  # What fails is told below, once.
    try:
        found, failures = asyncio.run(_find([config for config in configs if not jobs or config.job_name in jobs]))
    finally:
        logging.disable(logging.NOTSET)
    click.echo(json.dumps(summary(found), ensure_ascii=False, indent=1) if as_json else as_text(found))
    for failure in failures:
        click.echo(f"error: {failure}", err=True)
    raise SystemExit(1 if failures else 0)


async def _find(configs: list[ScrapeConfig]) -> tuple[dict[str, JobTargets], list[str]]:
    async with aiohttp.ClientSession(headers={"User-Agent": f"Pronoia/{VERSION}"}) as session:
        tools = Tools(session, DiscoveryMetrics(CollectorRegistry()))
        found = await find_once(configs, tools)
    return found, list(tools.failures.values())


def as_text(found: dict[str, JobTargets]) -> str:
    """Return one line a target, and one for each of its label sets."""
    lines = []
    for name, job in found.items():
        lines.append(f"{name}: {len(job.active)} scraped, {job.dropped_count} dropped")
        for target in job.active:
            lines += [f"  {target.url}", f"    labels      {_show(target.labels)}"]
            lines.append(f"    discovered  {_show(target.discovered_labels)}")
        for dropped in job.dropped:
            lines += [f"  dropped by {dropped.reason}" if dropped.rule is not None else f"  unusable: {dropped.reason}"]
            lines.append(f"    discovered  {_show(dropped.discovered_labels)}")
    return "\n".join(lines)


def _show(labels: tuple[tuple[str, str], ...]) -> str:
    return "{" + ", ".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in labels) + "}"
