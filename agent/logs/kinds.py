"""Which code reads each kind of source: one line a kind, imported when a job asks for it."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final

from agent.config.logs import LogScrapeConfig
from agent.config.promtail import LimitsConfig, LogsConfig
from agent.logs.input import Following, Input, InputTools, MakeInput
from agent.stages.longest import Longest
from agent.tail.options import MAX_LINE_BYTES, Decompression, LineLimit, TailOptions


def _later(module: str, name: str) -> MakeInput:
    def make(section: Any, tools: InputTools) -> Input:
        made: Input = getattr(import_module(module), name)(section, tools)
        return made

    return make


INPUTS: Final[dict[str, MakeInput]] = {
    "journal": _later("agent.inputs.journal", "journal_input"),
    "syslog": _later("agent.inputs.syslog", "syslog_input"),
    "loki_push_api": _later("agent.inputs.loki_push", "loki_push_input"),
    "kafka": _later("agent.inputs.kafka", "kafka_input"),
    "kubernetes_events": _later("agent.inputs.kubernetes_events", "kubernetes_events_input"),
    "stdin": _later("agent.inputs.stdin", "stdin_input"),
}
"""Inputs by the key of a job's section: called with the section and the job's tools."""


def make_input(job: LogScrapeConfig, logs: LogsConfig, tools: InputTools, imported: Mapping[str, int]) -> Input:
    """Return what reads a job's source; `imported` are promtail's offsets by file. Raises ValueError."""
    if logs.target_config.stdin:
        labels = {name: value for group in job.static_configs for name, value in group.labels.items()}
        return INPUTS["stdin"](labels, tools)
    if job.input == "docker_sd_configs":
        return containers(job.docker_sd_configs[0], tools)
    if job.input:
        return INPUTS[job.input](getattr(job, job.input), tools)
    made: Following = import_module("agent.tail").Files(tools, file_options(job, logs), imported)
    return made


def containers(section: Any, tools: InputTools) -> Following:
    """Return what reads the containers of a Docker daemon that a `docker_sd_configs` section names."""
    made: Following = import_module("agent.inputs.docker").docker_input(section, tools)
    return made


def file_options(job: LogScrapeConfig, logs: LogsConfig) -> TailOptions:
    """Return how a job's files are followed."""
    given, limits = job.decompression, logs.limits_config
    return TailOptions(
        encoding=job.encoding,
        decompression=Decompression(given.format or "", given.initial_delay) if given.enabled else None,
        limit=_line_limit(limits),
        sync_period_s=logs.target_config.sync_period,
        poll_s=logs.global_config.file_watch_config.min_poll_frequency,
    )


def _line_limit(limits: LimitsConfig) -> LineLimit:
    """Return how long a file's own line may be: promtail limits what stages leave of it (`agent.stages.longest`).

    A MiB more leaves room for what they take away: a runtime's prefix, JSON's escapes. Where no limit is given promtail
    has none; ours is cut at, not dropped.
    """
    if not limits.max_line_size:
        return LineLimit()
    return LineLimit(limits.max_line_size + MAX_LINE_BYTES, limits.max_line_size_truncate)


def longest(limits: LimitsConfig) -> Longest | None:
    """Return how long an entry may be as stages leave it; None for as long as it is."""
    return Longest(limits.max_line_size, limits.max_line_size_truncate) if limits.max_line_size else None
