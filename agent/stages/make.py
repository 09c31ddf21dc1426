"""A job's stages, ready to run: compiled once, bound to each source."""

import random as random_numbers
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from prometheus_client import Counter

from agent.config.stages import MatchStage, StageConfig
from agent.logs.pipeline import MakePipeline, Pipeline
from agent.stages import containers, extract, label_stages, line_stages, metrics, multiline, selection, timestamp
from agent.stages.blocks import at_once, one_by_one
from agent.stages.lang.selector import parse_selector
from agent.stages.limit import limit_step
from agent.stages.lines import walks
from agent.stages.longest import Longest, apart
from agent.stages.metrics import CustomMetrics, Vector
from agent.stages.pipeline import SourcePipeline
from agent.stages.step import Run, Step, chain
from agent.stages.streams import Streams
from pipeline.telemetry import LogInputMetrics


@dataclass(frozen=True, slots=True)
class StageTools:
    """What the stages of one job work with.

    `last` are the labels that every entry carries whatever stages do, the cluster's; `first` are external labels, for
    entries that have none of their name. `custom` exposes what `metrics` stages make. `tenant` is whose entries are
    that no stage gives to another. `clock_ns` gives Unix nanoseconds, `random` numbers from 0 to below 1. `accelerated`
    says whether lines are walked by the compiled code; left out, where there is one. `longest` bounds entries.
    """

    job: str
    metrics: LogInputMetrics
    custom: CustomMetrics | None = None
    last: Mapping[str, str] = field(default_factory=dict)
    first: Mapping[str, str] = field(default_factory=dict)
    tenant: str = ""
    clock_ns: Callable[[], int] = time.time_ns
    random: Callable[[], float] = random_numbers.random
    accelerated: bool | None = None
    longest: Longest | None = None


def make_pipelines(stages: Sequence[StageConfig], tools: StageTools) -> MakePipeline:
    """Compile a job's stages; what comes makes the pipeline of a source with these labels."""
    steps = tuple(compile_stage(stage, tools) for stage in stages)
    walk, longest = walks(tools.accelerated), tools.longest
    limit = (longest.max_bytes, longest.shorten(tools.job, tools.metrics)) if longest is not None else ()
    drop = _Drops(tools.metrics.dropped_lines, tools.job)

    def make(labels: Mapping[str, str]) -> Pipeline:
        run = Run(drop)
        dropped = tools.metrics.dropped_metadata.labels(tools.job).inc
        streams = Streams(tools.first, tools.last, dropped, tools.tenant, walk.encode, *limit)
        first = chain(steps, streams.add, run)
        each = one_by_one(labels, first)
        lines = at_once(steps, labels, first, run, streams, walk)
        if lines is not None and longest is not None:
            lines = apart(lines, each, longest.max_bytes)
        return SourcePipeline(run, streams, first, lines or each, tools.clock_ns)

    return make


class _Drops:
    """Counts what stages drop, by reason."""

    def __init__(self, counter: Counter, job: str) -> None:
        self._counter, self._job = counter, job
        self._by_reason: dict[str, Callable[[float], None]] = {}

    def __call__(self, reason: str, lines: int = 1) -> None:
        count = self._by_reason.get(reason)
        if count is None:
            count = self._by_reason[reason] = self._counter.labels(self._job, reason).inc
        count(lines)


def compile_stage(stage: StageConfig, tools: StageTools) -> Step:
    """Compile one stage."""
    section = stage.section
    if stage.name == "match":
        return _match(section, tools)
    if stage.name == "sampling":
        return selection.sampling_step(section, tools.random)
    if stage.name == "metrics":
        return metrics.metrics_step(section, tools.custom.add if tools.custom else _unseen, tools.clock_ns)
    if stage.name in ("docker", "decolorize"):
        return containers.docker_step() if stage.name == "docker" else line_stages.decolorize_step()
    return _STEPS[stage.name](section)


def _unseen(vector: Vector) -> Vector:
    return vector


def _match(config: MatchStage, tools: StageTools) -> Step:
    steps = tuple(compile_stage(stage, tools) for stage in config.stages)
    reason = config.drop_counter_reason or "match_stage"
    return selection.match_step(parse_selector(config.selector), steps, drops=config.action == "drop", reason=reason)


_STEPS: Mapping[str, Callable[..., Step]] = {
    "cri": containers.cri_step,
    "regex": extract.regex_step,
    "json": extract.json_step,
    "logfmt": extract.logfmt_step,
    "template": line_stages.template_step,
    "replace": line_stages.replace_step,
    "output": line_stages.output_step,
    "pack": line_stages.pack_step,
    "timestamp": timestamp.timestamp_step,
    "labels": label_stages.labels_step,
    "static_labels": label_stages.static_labels_step,
    "labeldrop": label_stages.labeldrop_step,
    "labelallow": label_stages.labelallow_step,
    "structured_metadata": label_stages.structured_metadata_step,
    "tenant": label_stages.tenant_step,
    "drop": selection.drop_step,
    "limit": limit_step,
    "multiline": multiline.multiline_step,
}
