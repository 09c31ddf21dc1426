"""What a reload does to jobs of logs: those that are as they were go on, the others go on where they were."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.processes import Member, until
from tests.e2e.test_logs import entries, lines
from tests.servers.loki import Loki
from tests.servers.processes import free_port

pytestmark = pytest.mark.loki


def job(name: str, path: Path, stages: list[Any] | None = None) -> dict[str, Any]:
    labels = {"job": "x", "name": name, "__path__": str(path)}
    return {"job_name": name, "static_configs": [{"labels": labels}], "pipeline_stages": stages or []}


def config(loki: Loki, admin: int, *jobs: dict[str, Any]) -> dict[str, Any]:
    client = {"url": loki.push_url, "backoff_config": {"min_period": "100ms", "max_period": "1s"}}
    logs = {"clients": [client], "scrape_configs": list(jobs)}
    return {"cluster": "c1", "admin": f"127.0.0.1:{admin}", "logs": logs}


def append(file: Path, *texts: str) -> None:
    with file.open("a") as log:
        log.write("".join(f"{text}\n" for text in texts))


async def test_jobs_come_go_and_change_and_no_line_is_lost_or_read_twice(tmp_path: Path, loki: Loki) -> None:
    one, two, three = (tmp_path / f"{name}.log" for name in ("one", "two", "three"))
    for file in (one, two, three):
        append(file, f"{file.stem} 1")
    admin = free_port()
    first = config(loki, admin, job("one", one), job("two", two, [{"multiline": {"firstline": "^two"}}]))
    agent = Member(tmp_path / "agent", "agent", first, admin)
    await agent.start()
    try:
        await until(lambda: has(loki, {"one 1", "two 1"}), "both jobs' lines")
        # `two` gets another stage while it holds a line back, `three` is new.
        append(two, "two 2")
        changed = job("two", two, [{"multiline": {"firstline": "^two"}}, {"static_labels": {"changed": "yes"}}])
        now = config(loki, admin, job("one", one), changed, job("three", three))
        (tmp_path / "agent" / "config.yml").write_text(yaml.safe_dump(now))
        for file in (one, two, three):
            append(file, f"{file.stem} 3")
        await until(lambda: has(loki, {"one 3", "two 3", "three 1", "three 3"}), "all jobs' lines after the reload")
        found = await lines(loki)
        assert sorted(found) == sorted({*found}), "nothing is read twice"
        changed_lines = [entry.line for entry in await entries(loki) if ("changed", "yes") in entry.labels]
        assert "two 3" in changed_lines
        # `one` goes; what it has not read yet is not read.
        (tmp_path / "agent" / "config.yml").write_text(yaml.safe_dump(config(loki, admin, changed)))
        await until(lambda: reads(agent, {"logs/two"}), "the others are gone")
        append(one, "one 4")
        append(two, "two 4")
        await until(lambda: has(loki, {"two 4"}), "what goes on goes on")
        # `one` comes back, at where it was.
        (tmp_path / "agent" / "config.yml").write_text(yaml.safe_dump(config(loki, admin, job("one", one), changed)))
        await until(lambda: has(loki, {"one 4"}), "it is read on")
        found = await lines(loki)
        assert sorted(found) == sorted({*found})
    finally:
        await agent.process.stop()


async def has(loki: Loki, wanted: set[str]) -> bool:
    return wanted <= {*await lines(loki)}


async def reads(agent: Member, pools: set[str]) -> bool:
    _, text = await agent.get("/api/v1/logs/targets")
    found = json.loads(text)["data"] if text else {"activeTargets": []}
    return {target["scrapePool"] for target in found["activeTargets"]} == pools
