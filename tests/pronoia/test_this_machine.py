from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from agent.config.logs import LogScrapeConfig
from agent.stages.make import StageTools, make_pipelines
from pipeline.config import Address, parse
from pipeline.config import validate as validated
from pipeline.store.logs.requests import parse as parse_request
from pipeline.telemetry import LogInputMetrics
from pronoia.plan import make_plan
from pronoia.this_machine import log_jobs

NOW = datetime(2030, 12, 15, tzinfo=UTC)
NOW_NS = int(NOW.timestamp()) * 10**9


def times(*lines: str) -> list[str | None]:
    """Return the times that lines of one file get; None for that of their reading."""
    job = next(iter(log_jobs(Path("own.log"), journal=False)))
    config = validated(parse("{}", "up"), LogScrapeConfig, dict(job))
    tools = StageTools("files", LogInputMetrics(CollectorRegistry()))
    pipeline = make_pipelines(config.pipeline_stages, tools)({"job": "files"})
    chunks = pipeline.block("".join(f"{line}\n" for line in lines).encode(), NOW_NS)
    entries = [entry for chunk in chunks for of_stream in parse_request(chunk.raw).values() for entry in of_stream]
    assert len(entries) == len(lines)
    return [
        None
        if entry.time_ns >= NOW_NS
        else datetime.fromtimestamp(entry.time_ns / 1e9, UTC).isoformat().removesuffix("+00:00")
        for entry in entries
    ]


@pytest.mark.parametrize(
    ("line", "at"),
    [
        ("2026-11-21 14:48:01 status installed x:all", "2026-11-21T13:48:01"),
        ("update-alternatives 2026-11-21 14:48:01: run with", "2026-11-21T13:48:01"),
        ("2026-07-01T14:48:01.250000+00:00 host app[1]: x", "2026-07-01T14:48:01.250000"),
        ("2026-07-01 14:48:01,250 INFO x", "2026-07-01T12:48:01.250000"),
        ('time="2026-07-01T14:48:01Z" level=info', "2026-07-01T14:48:01"),
        ("2026/07/01 14:48:01 [error] 7#7: x", "2026-07-01T12:48:01"),
        ('10.0.0.1 - - [01/Jul/2030:14:48:01 +0100] "GET / HTTP/1.1"', "2030-07-01T13:48:01"),
        ("Jun  1 14:48:01 host app[1]: x", "2030-06-01T12:48:01"),
    ],
)
def test_a_line_has_the_time_that_it_says(line: str, at: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    assert times(line) == [at]


def test_a_line_without_a_time_has_that_of_the_one_before_or_of_its_reading() -> None:
    before = "2026-07-01T14:48:01"
    assert times("no time", "2026-07-01T14:48:01Z failed:", "Traceback", "  File") == [None, before, before, before]
    assert times("2026-99-99 14:48:01 is none", "so says nobody") == [None, None]


def test_where_the_journal_is_read_files_with_the_same_lines_are_not() -> None:
    (files, _), (with_journal, _, journal) = (tuple(log_jobs(Path("x"), journal=journal)) for journal in (False, True))
    [[excluded], [excluded_beside]] = (
        [group["__path_exclude__"] for group in (one["labels"] for one in job["static_configs"])]
        for job in (files, with_journal)
    )
    assert "syslog" not in excluded
    assert "syslog" in excluded_beside
    assert validated(parse("{}", "up"), LogScrapeConfig, dict(journal)).input == "journal"


def test_without_a_file_this_machines_logs_are_read_and_kept(tmp_path: Path) -> None:
    plan = make_plan(None, tmp_path, Address(host="127.0.0.1", port=9100))
    assert plan.agent.logs is not None
    assert {"files", "pronoia"} <= {job.job_name for job in plan.agent.logs.scrape_configs}
    assert [(sink.name, sink.store and sink.store.signal) for sink in plan.ingester.sinks] == [
        ("store", "metrics"),
        ("store-logs", "logs"),
    ]
    assert timedelta(seconds=plan.log_store.max_age) == timedelta(days=7)
