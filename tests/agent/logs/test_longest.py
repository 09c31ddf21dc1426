"""`limits_config.max_line_size` from the configuration to entries: by promtail's measure, behind the stages."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from agent.config.logs import LogScrapeConfig
from agent.config.promtail import LogsConfig
from agent.logs.job import LogTarget
from agent.logs.jobs import Labels, LogJobs
from agent.stages.metrics import CustomMetrics
from pipeline.telemetry import LogInputMetrics
from pipeline.wire.loki import decode
from tests.agent.tail.following import Buffer


def config(path: Path, **limits: Any) -> LogsConfig:
    static = {"labels": {"__path__": str(path)}}
    job = {"job_name": "pods", "static_configs": [static], "pipeline_stages": [{"cri": {}}]}
    return LogsConfig.model_validate(yaml.safe_load(yaml.safe_dump({"scrape_configs": [job], "limits_config": limits})))


def entries(buffer: Buffer) -> list[str]:
    chunks = [chunk for take in buffer.takes for chunk in take.chunks]
    streams = [stream for chunk in chunks for stream in decode(chunk.raw)]
    return [entry.line.decode() for stream in streams for entry in stream.entries]


@pytest.mark.parametrize("cuts", [False, True])
async def test_a_runtimes_prefix_is_no_part_of_the_line(tmp_path: Path, cuts: bool) -> None:
    contents = ["x" * 100, "y" * 101, "z" * 3_000_000, "end"]
    log, buffer, registry = tmp_path / "0.log", Buffer(), CollectorRegistry()
    log.write_text("".join(f"2026-05-07T18:57:00Z stdout F {content}\n" for content in contents))
    logs = config(log, max_line_size=100, max_line_size_truncate=cuts)
    jobs = LogJobs(buffer, LogInputMetrics(registry), CustomMetrics(registry))
    await jobs.configure(logs, Labels({}, {}))
    job: LogScrapeConfig = logs.scrape_configs[0]
    jobs.follow({job.pool: [LogTarget(job, (), str(log), "", {}, {}, {})]})
    try:
        await buffer.until(lambda: "end" in entries(buffer))
    finally:
        await jobs.stop()
    short = ["y" * 100, "z" * 100] if cuts else []
    assert entries(buffer) == ["x" * 100, *short, "end"]
    reasons = {"job": "pods", "reason": "line_too_long"}
    dropped = registry.get_sample_value("pronoia_agent_log_dropped_lines_total", reasons) or 0
    cut = registry.get_sample_value("pronoia_agent_log_cut_lines_total", {"job": "pods"}) or 0
    # Beyond the limit and a MiB, the tail cuts a line for the sake of memory, and the limit cuts what is left of it.
    assert (dropped, cut) == ((0, 3) if cuts else (2, 0))
