"""How long an entry may be: as promtail counts it, behind the stages, however its block goes through them."""

import json

import pytest

from agent.logs.entry import Entry
from agent.stages.lines import ACCELERATED
from agent.stages.longest import Longest, runs
from tests.agent.stages.running import NOW_NS, Running, decoded, lines

WAYS = [False] + ([True] if ACCELERATED else [])


def cut(running: Running) -> float:
    return running.registry.get_sample_value("pronoia_agent_log_cut_lines_total", {"job": "job"}) or 0.0


def cri(content: str, flag: str = "F") -> str:
    return f"2026-05-07T18:57:00Z stdout {flag} {content}\n"


def docker(content: str) -> str:
    return json.dumps({"log": content, "stream": "stderr", "time": "2026-05-07T18:57:00Z"}) + "\n"


def plain(content: str) -> str:
    return content + "\n"


CONTENTS = ["short", "x" * 100, "y" * 101, "last", "z" * 5_000, "é" * 100, "after"]


@pytest.mark.parametrize("accelerated", WAYS)
@pytest.mark.parametrize(
    ("stages", "write"),
    [
        ("[]", plain),
        ("- regex: {expression: '(?P<a>.)'}", plain),
        ("- cri: {}", cri),
        ("- cri: {}\n- regex: {expression: '(?P<a>.)'}", cri),
        ("- docker: {}", docker),
        ("- docker: {}\n- labeldrop: [stream]", docker),
    ],
)
def test_the_entry_is_limited_and_not_its_line_in_the_file(stages: str, write: object, accelerated: bool) -> None:
    assert callable(write)
    block = "".join(write(content) for content in CONTENTS).encode()
    drops = Running(stages, longest=Longest(100), accelerated=accelerated)
    assert lines(drops.source().block(block, NOW_NS)) == ["short", "x" * 100, "last", "after"]
    assert (drops.dropped("line_too_long"), cut(drops)) == (3, 0)
    cuts = Running(stages, longest=Longest(100, cuts=True), accelerated=accelerated)
    expected = ["short", "x" * 100, "y" * 100, "last", "z" * 100, "é" * 50, "after"]
    assert lines(cuts.source().block(block, NOW_NS)) == expected
    assert (cuts.dropped("line_too_long"), cut(cuts)) == (0, 3)


@pytest.mark.parametrize("accelerated", WAYS)
def test_parts_that_a_runtime_cut_count_joined(accelerated: bool) -> None:
    running = Running("- cri: {}", longest=Longest(100), accelerated=accelerated)
    block = (cri("a" * 60, "P") + cri("b" * 60) + cri("c" * 60, "P") + cri("d" * 40)).encode()
    assert lines(running.source().block(block, NOW_NS)) == ["c" * 60 + "d" * 40]
    assert running.dropped("line_too_long") == 1


def test_what_stages_shorten_or_drop_is_not_too_long() -> None:
    text = "- regex: {expression: '^(?P<a>.)'}\n- output: {source: a}\n- drop: {expression: b}"
    running = Running(text, longest=Longest(100))
    assert lines(running.source().block(b"a" * 200 + b"\n" + b"b" * 200 + b"\n", NOW_NS)) == ["a"]
    assert (running.dropped("line_too_long"), running.dropped("drop_stage")) == (0, 1)


def test_entries_that_come_with_labels_are_limited_alike() -> None:
    running = Running("[]", longest=Longest(3, cuts=True))
    assert lines(running.source().entries([Entry({"a": "b"}, 5, "long"), Entry({"a": "b"}, 6, "ok")])) == ["lon", "ok"]


@pytest.mark.parametrize("accelerated", WAYS)
def test_the_order_and_the_times_stay(accelerated: bool) -> None:
    block = b"".join(b"%d" % number + b"x" * (number % 3 * 60) + b"\n" for number in range(3_000))
    bound = Running("[]", longest=Longest(100, cuts=True), accelerated=accelerated).source()
    ((_, entries),) = decoded(bound.block(block, NOW_NS)).items()
    assert [entry.time_ns for entry in entries] == [NOW_NS + number for number in range(3_000)]
    assert [int(entry.line.rstrip(b"x")) for entry in entries] == list(range(3_000))


@pytest.mark.parametrize("max_bytes", [1, 2, 3, 7, 50])
def test_runs_are_the_block(max_bytes: int) -> None:
    block = b"".join(b"x" * (number * 7 % 11) + b"\n" for number in range(100))
    found = list(runs(block, max_bytes))
    assert b"".join(block[start:end] for start, end, _ in found) == block
    for start, end, is_long in found:
        of_run = block[start:end].removesuffix(b"\n").split(b"\n")
        assert all((len(line) > max_bytes) is is_long for line in of_run)
        assert not is_long or len(of_run) == 1
