import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from agent.config.logs import LogScrapeConfig
from agent.discovery.groups import TargetGroup
from agent.job import JobTargets
from agent.logs.job import LogJob, LogTarget
from agent.logs.page import BEHIND_BYTES, Found, describe, find
from agent.logs.parts import InputNow, Measured, Part, Sizes, whole
from agent.logs.tally import Tally, tallies
from agent.targets_page import Wanted
from pipeline.telemetry import LogInputMetrics

RULES = [{"source_labels": ["team"], "regex": "none", "action": "drop"}]
EVERYTHING = Wanted()


def targets(*found: dict[str, str]) -> JobTargets[LogTarget]:
    keys = {"job_name": "host", "static_configs": [{"labels": {}}], "relabel_configs": RULES}
    config = LogScrapeConfig.model_validate(keys)
    return LogJob(config, "node").targets([TargetGroup("one", found, {})])


def found(parts: Iterable[Part], *of: dict[str, str], wanted: Wanted = EVERYTHING) -> Found:
    now = InputNow("files", "host", None, lambda: parts)
    return find({"logs/host": targets(*of)}, {"logs/host": now}, wanted)


def shown(answer: Found, sizes: dict[str, tuple[int, int]] | None = None) -> list[dict[str, Any]]:
    return [describe(row, sizes or {}) for row in answer.first]


A, B = {"__path__": "/a/*.log", "team": "a"}, {"__path__": "/b/*.log", "team": "b"}


def test_what_fails_and_what_is_far_behind_comes_first() -> None:
    key = targets(A).active[0].key
    far = Part("/a/far.log", key, offset=0, size_bytes=BEHIND_BYTES + 1)
    farther = Part("/a/farther.log", key, offset=0, size_bytes=1, older_bytes=2 * BEHIND_BYTES)
    fine = Part("/a/fine.log", key, offset=10, size_bytes=10)
    failing = Part("/a/secret.log", trouble="Permission denied")
    answer = found([fine, far, farther, failing], A, B, {**A, "team": "none"})
    assert [(row["state"], row.get("name")) for row in shown(answer)] == [
        ("failing", "/a/secret.log"),
        ("behind", "/a/farther.log"),
        ("behind", "/a/far.log"),
        ("reading", "/a/fine.log"),
        ("nothing", None),
        ("dropped", None),
    ]
    assert shown(answer)[3]["labels"] == {"team": "a"}, "a file has what its target says"
    assert shown(answer)[4]["path"] == "/b/*.log"
    assert shown(answer)[5]["reason"].startswith("relabel_configs[0]")
    assert {state: count for state, count in answer.counts["logs/host"].items() if count} == {
        "failing": 1,
        "behind": 2,
        "reading": 1,
        "nothing": 1,
        "dropped": 1,
    }


def test_what_is_left_out_is_told_apart() -> None:
    answer = found([], {"team": "none"}, {"__path__": "/x", "__host__": "other"}, {"team": "a"})
    assert [row["state"] for row in shown(answer)] == ["unusable", "dropped", "elsewhere"]
    assert shown(answer)[0]["reason"] == "no __path__"


def test_words_states_and_a_limit_narrow_it_down() -> None:
    parts = [Part(f"/a/{n}.log", trouble="denied" if n == 3 else "") for n in range(5)]
    assert found(parts, wanted=Wanted(words=("3.log", "denied"))).matching == 1
    assert found(parts, wanted=Wanted(states=frozenset(("reading",)), limit=2)).matching == 4
    assert len(found(parts, wanted=Wanted(limit=2)).first) == 2
    assert found(parts, wanted=Wanted(job="logs/other")).matching == 0
    assert found([], A, wanted=Wanted(words=("team=a",))).matching == 1


def test_an_input_that_discovers_nothing_is_one_row() -> None:
    now = InputNow("journal", "j", "no journalctl", whole("journal", "no journalctl"))
    [row] = shown(find({}, {"logs/j": now}, Wanted()))
    assert (row["state"], row["name"], row["trouble"], row["discoveredLabels"]) == (
        "failing",
        "journal",
        "no journalctl",
        None,
    )


async def test_how_far_a_file_is_behind_is_as_of_now(tmp_path: Path) -> None:
    file = tmp_path / "a.log"
    file.write_bytes(b"x" * 1000)
    part = Part("a", offset=100, size_bytes=100, at=str(file), inode=file.stat().st_ino)
    sizes = await Sizes().of([str(file), str(tmp_path / "gone")])
    assert part.behind_bytes == 0
    assert part.measured(sizes).behind_bytes == 900
    assert Part("b", offset=1, size_bytes=1, at=str(file), inode=1).measured(sizes).behind_bytes == 0, "another file"
    assert Part("packed", offset=100).behind_bytes is None


async def test_a_server_of_files_that_is_gone_holds_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.logs.parts.WAIT_S", 0.01)
    gone: asyncio.Future[Measured] = asyncio.get_running_loop().create_future()
    sizes = Sizes()
    sizes._asking = gone
    assert await sizes.of(["/dev/null"]) == {}
    gone.set_result({})
    assert "/dev/null" in await sizes.of(["/dev/null"])


def test_lines_are_counted_by_job_and_reason() -> None:
    metrics = LogInputMetrics(CollectorRegistry())
    metrics.read_lines.labels("a").inc(5)
    metrics.read_bytes.labels("a").inc(50)
    metrics.dropped_lines.labels("a", "drop stage").inc(2)
    metrics.dropped_lines.labels("b", "line_too_long").inc()
    metrics.cut_lines.labels("b").inc(3)
    assert tallies(metrics) == {"a": Tally(5, 50, 0, {"drop stage": 2}), "b": Tally(0, 0, 3, {"line_too_long": 1})}
