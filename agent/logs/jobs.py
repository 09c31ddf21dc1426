"""The jobs of logs at work: an input each, begun, changed and ended as the configuration and discovery say."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from agent.config.discoveries import Discoveries
from agent.config.logs import LogScrapeConfig
from agent.config.promtail import LogsConfig
from agent.logs.chunk import Keep
from agent.logs.input import Following, Input, InputTools
from agent.logs.job import LogTarget
from agent.logs.kinds import longest, make_input
from agent.logs.parts import InputNow, whole
from agent.logs.positions import imported_offsets
from agent.stages.make import StageTools, make_pipelines
from agent.stages.metrics import CustomMetrics
from pipeline.relabel import compile_rules, run
from pipeline.service import vital
from pipeline.telemetry import LogInputMetrics

logger = logging.getLogger(__name__)

FOUND: Final = ("files", "docker")
"""Kinds of inputs whose sources are discovered."""
_FOUND_BY = frozenset((*Discoveries.model_fields, "relabel_configs"))


@dataclass(frozen=True, slots=True)
class Labels:
    """What every stream carries: `last` whatever stages do (the cluster), `first` where it has no other value."""

    first: Mapping[str, str]
    last: Mapping[str, str]


@dataclass(slots=True)
class _Running:
    job: str
    kind: str
    made_of: object
    input: Input
    task: "asyncio.Task[None]"


@dataclass(slots=True)
class LogJobs:
    """All inputs. `configure` and `follow` are called by one task at a time."""

    keep: Keep
    metrics: LogInputMetrics
    custom: CustomMetrics
    stdin_ended: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when standard input, where that is read, is in the buffer to its end."""
    _running: dict[str, _Running] = field(default_factory=dict)

    async def configure(self, logs: LogsConfig, labels: Labels) -> None:
        """Read as this configuration says. An input whose section is as it was goes on undisturbed.

        One that is begun anew goes on where its predecessor was: at what it had put into the buffer last.
        """
        jobs = {job.pool: job for job in _jobs(logs)}
        made_of = {name: _made_of(job, logs, labels) for name, job in jobs.items()}
        ended = [name for name, running in self._running.items() if made_of.get(name) != running.made_of]
        await asyncio.gather(*(_end(self._running.pop(name).task) for name in ended))
        for name, job in jobs.items():
            if name not in self._running:
                self._begin(job, logs, labels, made_of[name])

    def _begin(self, job: LogScrapeConfig, logs: LogsConfig, labels: Labels, made_of: object) -> None:
        limit = longest(logs.limits_config)
        stages = StageTools(job.job_name, self.metrics, self.custom, labels.last, labels.first, longest=limit)
        make = make_pipelines(job.pipeline_stages, stages)
        tools = InputTools(job.job_name, make, relabelling(job), self.keep, self.metrics)
        made = make_input(job, logs, tools, imported_offsets(self.keep))
        run = self._to_its_end(made) if logs.target_config.stdin else made.run()
        kind = "stdin" if logs.target_config.stdin else job.input.removesuffix("_sd_configs") or "files"
        task = vital(asyncio.create_task(run, name=f"agent-{job.pool}"))
        self._running[job.pool] = _Running(job.job_name, kind, made_of, made, task)

    async def _to_its_end(self, stdin: Input) -> None:
        await stdin.run()
        self.stdin_ended.set()
        await asyncio.Event().wait()

    def follow(self, by_job: Mapping[str, Sequence[LogTarget]]) -> None:
        """Tell the inputs whose sources are discovered what there is now."""
        for name, targets in by_job.items():
            running = self._running.get(name)
            if running is not None:
                following: Following = running.input  # type: ignore[assignment]  # only such a job has targets
                following.follow([target.source for target in targets])

    async def stop(self) -> None:
        """End all inputs; what they have put is in the batcher."""
        running, self._running = self._running, {}
        await asyncio.gather(*(_end(one.task) for one in running.values()))

    def troubles(self) -> dict[str, str | None]:
        """Return of each job why it cannot read just now, or None."""
        return {name: running.input.trouble() for name, running in self._running.items()}

    def inputs(self) -> dict[str, InputNow]:
        """Return each job's input as it is now."""
        return {name: _now(running) for name, running in self._running.items()}

    def ended(self) -> str | None:
        """Return which job has ended, a fault of ours, or None."""
        return next((f"{name} has ended" for name, one in self._running.items() if one.task.done()), None)


def _now(running: _Running) -> InputNow:
    kind, trouble = running.kind, running.input.trouble()
    if kind not in FOUND:
        return InputNow(kind, running.job, trouble, whole(kind, trouble))
    following: Following = running.input  # type: ignore[assignment]  # as these kinds are
    return InputNow(kind, running.job, trouble, following.parts())


def _jobs(logs: LogsConfig) -> Sequence[LogScrapeConfig]:
    """Return the jobs that read; with standard input the first alone, for its labels and stages."""
    if not logs.target_config.stdin:
        return logs.scrape_configs
    return logs.scrape_configs[:1] or (LogScrapeConfig.model_construct(job_name="stdin"),)


def _made_of(job: LogScrapeConfig, logs: LogsConfig, labels: Labels) -> object:
    """Return what an input is made of, but for what tells it of its targets while it runs."""
    part = job if job.input else job.model_copy(update=dict.fromkeys(_FOUND_BY, ()))
    return part, logs.limits_config, logs.target_config, logs.global_config, labels


def relabelling(job: LogScrapeConfig) -> Callable[[Mapping[str, str]], dict[str, str] | None]:
    """Return a job's rules as inputs that discover nothing apply them, to each entry's labels."""
    rules = compile_rules(job.relabel_configs)

    def relabel(labels: Mapping[str, str]) -> dict[str, str] | None:
        changed = {name: value for name, value in labels.items() if value}
        if run(rules, changed) is not None:
            return None
        return {name: value for name, value in changed.items() if value and not name.startswith("__")}

    return relabel


async def _end(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.wait([task])
