"""`pronoia scrape`: what one scrape of a page would send."""

import asyncio
import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import click
from prometheus_client import CollectorRegistry

from agent.config import AgentConfig, GlobalConfig, ScrapeConfig
from agent.discovery import TargetGroup, Tools
from agent.part import Part
from agent.scrape.body import Body, Buffers
from agent.scrape.fetch import HttpFetch, new_session
from agent.scrape.labelling import ScrapeError
from agent.scrape.loop import in_slices
from agent.scrape.metadata import MetadataBook
from agent.scrape.options import labelling_of, page_options
from agent.scrape.page import Page, Report
from agent.targets import Dropped, Target, find_once, make_target
from pipeline.config import ConfigError
from pipeline.http_client import HttpAccess
from pipeline.relabel import compile_rules
from pipeline.telemetry import DiscoveryMetrics
from pipeline.wire.remote_write import Labels, decode_series
from pronoia.agent_file import load_agent
from pronoia.samples import as_text, samples
from pronoia.version import VERSION

USER_AGENT = f"Pronoia/{VERSION}"
CONTENT_TYPES = {
    "text": "text/plain; version=0.0.4",
    "openmetrics": "application/openmetrics-text; version=1.0.0",
    "protobuf": "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited",
}
_NO_JOB = ScrapeConfig(job_name="none").inherit(GlobalConfig())
_NO_JOB_NATIVE = ScrapeConfig(job_name="none", scrape_native_histograms=True).inherit(GlobalConfig())


@click.command("scrape")
@click.argument("page", metavar="URL|-")
@click.option("--config", "file", type=click.Path(path_type=Path), help="The agent's configuration, for --job.")
@click.option("--job", help="Scrape as this job does: its labels, relabelling, limits, and how it connects.")
@click.option("--format", "form", type=click.Choice(["auto", *CONTENT_TYPES]), default="auto", show_default=True)
@click.option("--reports", is_flag=True, help="Also what the scrape tells of itself: up, scrape_duration_seconds, …")
@click.option(
    "--canonical-bounds", is_flag=True, help="Write le and quantile as Prometheus 3 does, whatever --config says."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, instead of text.")
def scrape(
    page: str, file: Path | None, job: str | None, form: str, reports: bool, canonical_bounds: bool, as_json: bool
) -> None:
    """Scrape a page once (- is standard input) and show each sample that would be sent.

    A page that cannot be used exits with 1, and says which line is wrong and why.
    """
    try:
        config = load_agent(file, os.environ).config if file is not None else AgentConfig()
        if canonical_bounds:
            config = config.model_copy(update={"canonical_bounds": True})
        scraped = asyncio.run(scrape_once(page, _choose_job(config, job, file), config, form))
    except ConfigError as error:
        raise click.ClickException(f"the configuration cannot be used:\n{error}") from error
    except ScrapeError as error:
        raise click.ClickException(str(error)) from error
    for sample in samples(scraped.parts):
        if reports or tuple(sorted(sample["labels"].items())) not in scraped.reports:
            click.echo(json.dumps(sample, ensure_ascii=False) if as_json else as_text(sample))


@dataclass(frozen=True, slots=True)
class Scraped:
    """What a scrape would send, and the label sets of the series that it tells of itself."""

    parts: list[Part]
    reports: frozenset[Labels]


async def scrape_once(page: str, job: ScrapeConfig | None, config: AgentConfig, form: str) -> Scraped:
    """Scrape a URL, or standard input for `-`; raises ScrapeError where an agent's scrape would fail."""
    async with new_session(USER_AGENT) as session:
        none = _NO_JOB_NATIVE if form == "protobuf" else _NO_JOB
        target = Target(none, (), page, 60.0, 10.0) if job is None else await _target(page, job, session)
        body, said = _read_input(target.config) if page == "-" else await _fetch(target, page, session)
    external = tuple(sorted(config.global_config.external_labels.items()))
    labelling = labelling_of(target, external, config.cluster_label)
    kept = Page(labelling, page_options(target, canonical_bounds=config.canonical_bounds), MetadataBook())
    taken = await in_slices(kept.take(body, CONTENT_TYPES.get(form, said), int(time.time() * 1000)))
    if taken.error:
        raise ScrapeError(taken.error)
    parts = await in_slices(kept.parts(taken))
    heads = (labelling.encode_report(name) for name in Report)
    reports = frozenset(decode_series(head, 0, len(head)).labels for head in heads if not kept.table.knows(head))
    return Scraped(parts, reports)


def _choose_job(config: AgentConfig, name: str | None, file: Path | None) -> ScrapeConfig | None:
    jobs = {job.job_name: job for job in config.scrape_configs}
    if file is None:
        if name is not None:
            raise click.UsageError("--job needs --config")
        return None
    if name is None and len(jobs) == 1:
        return next(iter(jobs.values()))
    if name not in jobs:
        raise click.UsageError(f"{file} has these jobs: {', '.join(jobs) or 'none'}; choose one with --job")
    return jobs[name]


async def _target(page: str, job: ScrapeConfig, session: aiohttp.ClientSession) -> Target:
    """Return the job's target with this URL (its only one for `-`), or what the job would make of one."""
    found = (await find_once([job], Tools(session, DiscoveryMetrics(CollectorRegistry()))))[job.job_name].active
    if page == "-" and len(found) == 1:
        return found[0]
    for target in found:
        if target.url == page:
            return target
    parts = urlsplit(page)
    labels = {"__address__": parts.netloc, "__scheme__": parts.scheme, "__metrics_path__": parts.path}
    if page == "-":
        labels = {"__address__": "-"}
    rules = compile_rules(job.relabel_configs, job.legacy_names)
    made = make_target(job, rules, TargetGroup("command line", (labels,), {}), labels)
    if isinstance(made, Dropped):
        raise ScrapeError(f"job {job.job_name} does not scrape this target: {made.reason}")
    return made


async def _fetch(target: Target, url: str, session: aiohttp.ClientSession) -> tuple[Body, str]:
    access = HttpAccess(target.config, time.monotonic)
    fetch = HttpFetch(session, access, target.config, url, target.timeout_s, USER_AGENT)
    answer = await fetch(Buffers())
    return answer.body, answer.content_type


def _read_input(config: ScrapeConfig) -> tuple[bytes | Body, str]:
    body = sys.stdin.buffer.read()
    if config.body_size_limit and len(body) >= config.body_size_limit:
        raise ScrapeError("body size limit exceeded")
    # Only OpenMetrics has a last line, and it must have one.
    form = "openmetrics" if body.rstrip(b"\n").endswith(b"# EOF") else "text"
    return body, CONTENT_TYPES[form]
