"""Pipelines of stages as a file has them, and what comes out of them, decoded."""

from collections.abc import Iterable
from typing import Any

import yaml
from prometheus_client import CollectorRegistry

from agent.config.stages import PipelineStages, StageConfig
from agent.logs.chunk import Chunk
from agent.logs.pipeline import MakePipeline, Pipeline
from agent.stages.make import StageTools, make_pipelines
from pipeline.telemetry import LogInputMetrics
from pipeline.wire.loki import Entry, decode

NOW_NS = 1_790_000_000_000_000_000
LABELS = {"job": "pods", "pod": "web-1", "filename": "/var/log/pods/web.log"}


def stages(text: str) -> PipelineStages:
    return tuple(StageConfig.model_validate(stage) for stage in yaml.safe_load(text) or ())


class Running:
    """One job's stages, and what they count."""

    def __init__(self, text: str, **tools: Any) -> None:
        self.registry = CollectorRegistry()
        self.metrics = LogInputMetrics(self.registry)
        tools = {"clock_ns": lambda: NOW_NS, **tools}
        self.make: MakePipeline = make_pipelines(stages(text), StageTools("job", self.metrics, **tools))

    def source(self, labels: dict[str, str] = LABELS) -> Pipeline:
        return self.make(labels)

    def dropped(self, reason: str) -> float:
        return (
            self.registry.get_sample_value("pronoia_agent_log_dropped_lines_total", {"job": "job", "reason": reason})
            or 0.0
        )


Out = dict[tuple[str, str], list[Entry]]


def decoded(chunks: Iterable[Chunk]) -> Out:
    """Return entries by tenant and labels' text; a chunk's own figures are checked on the way."""
    out: Out = {}
    for chunk in chunks:
        streams = list(decode(chunk.raw))
        entries = [entry for stream in streams for entry in stream.entries]
        assert len({stream.labels for stream in streams}) == len(streams)
        assert chunk.items == len(entries)
        assert chunk.earliest_ms == min(entry.time_ns for entry in entries) // 1_000_000
        assert chunk.latest_ms == max(entry.time_ns for entry in entries) // 1_000_000
        for stream in streams:
            out.setdefault((chunk.tenant, stream.labels), []).extend(stream.entries)
    return out


def lines(chunks: Iterable[Chunk]) -> list[str]:
    """Return the text of all entries."""
    return [entry.line.decode() for entries in decoded(chunks).values() for entry in entries]
