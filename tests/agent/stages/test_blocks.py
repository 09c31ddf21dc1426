"""Lines in one pass: compiled, in Python, and through the stages one by one, on good and on hostile blocks."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.stages.lines import ACCELERATED, PLAIN, Walks
from tests.agent.stages.running import LABELS, NOW_NS, Out, Running, decoded

needs_accelerator = pytest.mark.skipif(ACCELERATED is None, reason="the accelerator was not built")
IMPLEMENTATIONS = [PLAIN] + ([ACCELERATED] if ACCELERATED else [])

TIMES = st.sampled_from(
    [
        b"2026-05-07T18:57:50.904275087Z",
        b"2026-05-07T18:57:50.904275087+00:00",
        b"2026-05-07T18:57:51.9+02:00",
        b"2026-05-07T18:57:51-23:59",
        b"2026-05-07T18:57:51.000000001Z",
        b"2024-02-29T00:00:00Z",
        b"2023-02-29T00:00:00Z",
        b"1970-01-01T00:00:00Z",
        b"1970-01-01T00:00:00.5Z",
        b"1970-01-01T00:00:01+01:00",
        b"1969-12-31T23:59:59Z",
        b"2100-12-31T23:59:59.123456789Z",
        b"2299-01-01T00:00:00Z",
        b"9999-12-31T23:59:59Z",
        b"0001-01-01T00:00:00Z",
        b"2026-13-01T00:00:00Z",
        b"2026-05-07T24:00:00Z",
        b"2026-05-07T23:60:00Z",
        b"2026-05-07T23:59:60Z",
        b"2026-05-07T18:57:51.1234567890Z",
        b"2026-05-07T18:57:51.Z",
        b"2026-05-07T18:57:51,5Z",
        b"2026-05-07T8:57:51Z",
        b"2026-05-07T18:57:51+24:00",
        b"2026-05-07T18:57:51+0100",
        b"2026-05-07 18:57:51Z",
        b"no-time",
        b"",
    ]
)
CONTENT = st.one_of(
    st.sampled_from(
        [b"", b"a", b"a line of text", b" F ", b"x" * 120, b"y" * 300, b"z" * 17_000, b"caf\xc3\xa9", b"\r"]
    ),
    st.binary(max_size=40).map(lambda some: some.replace(b"\n", b"")),
)
CRI = st.builds(
    lambda time, stream, flag, content: b" ".join((time, stream, flag, content)),
    TIMES,
    st.sampled_from([b"stdout", b"stderr", b"stdlog", b"std", b""]),
    st.sampled_from([b"F", b"F", b"F", b"P", b"F:x", b"", b"PF"]),
    CONTENT,
)
DOCKER = st.builds(
    lambda time, stream, log, ascii_only: json.dumps(
        {"log": log, "stream": stream, "time": time.decode()}, separators=(",", ":"), ensure_ascii=ascii_only
    ).encode("utf-8", "replace"),
    TIMES,
    st.sampled_from(["stdout", "stderr", "other"]),
    st.text(max_size=30),
    st.booleans(),
)
ODD_DOCKER = st.sampled_from(
    [
        b'{"log":"a","stream":"stdout"}',
        b'{"log":5,"stream":"stdout","time":"2026-05-07T18:57:51Z"}',
        b'{"log":"\\ud83d\\ude00","stream":"stdout","time":"2026-05-07T18:57:51Z"}',
        b'{"log":"\\ud83d","stream":"stdout","time":"2026-05-07T18:57:51Z"}',
        b'{"log":"\\x","stream":"stdout","time":"2026-05-07T18:57:51Z"}',
        b'{"log":"a\tb","stream":"stdout","time":"2026-05-07T18:57:51Z"}',
        b'{"log":"a","stream":"stdout","attrs":{"a":"b"},"time":"2026-05-07T18:57:51Z"}',
        b'{"log":"a","stream":"stdout","time":"2026-05-07T18:57:51Z"} ',
        b'{"log":"a","stream":"stdout","time":"2026-05-07T18:57:51Z","log":"b"}',
        b'{"log":"\\u0000\\u0041\\u00e9\\u20AC\\"\\\\\\/\\b\\f\\n\\r\\t","stream":"stderr","time":"2026-05-07T18:57:51Z"}',
        b'{"log":"a',
        b'{"log":"a\\',
        b'{"log":"a\\u12',
        b"null",
        b"[1]",
        b"not json",
        b"[" * 5_000,
        b'{"log":' + b"9" * 400 + b"}",
    ]
)
LINES = st.one_of(CRI, DOCKER, ODD_DOCKER, CONTENT).map(lambda line: line + b"\n")
BLOCKS = st.lists(LINES, max_size=12)
LABELS_KEPT = "- static_labels: {team: a}\n- labeldrop: [filename]\n- structured_metadata: {pod: }\n"
LABELS_JOINED = LABELS_KEPT + "- structured_metadata: {stream_was: stream}\n"
# Drops nothing, and looks at each line: behind `cri` lines are taken apart at once, in front of it one by one.
SLOWLY = "- drop: {longer_than: 1GB}\n"


def run(text: str, blocks: list[bytes], *, accelerated: bool | None, restarts: bool = False) -> tuple[Out, bytes]:
    running = Running(text, accelerated=accelerated, last={"cluster": "c1"})
    source = running.source()
    out: Out = {}
    for number, block in enumerate(blocks):
        for key, entries in decoded(source.block(block, NOW_NS + number * 10**9)).items():
            out.setdefault(key, []).extend(entries)
        if restarts:
            snapshot = source.snapshot()
            source = running.source()
            source.restore(snapshot)
    for key, entries in decoded(source.flush(NOW_NS + 10**12, everything=True)).items():
        out.setdefault(key, []).extend(entries)
    return out, source.snapshot()


@pytest.mark.parametrize("labels", [LABELS_KEPT, LABELS_JOINED])
@pytest.mark.parametrize("container", ["", "- cri: {}\n", "- docker: {}\n"])
@given(blocks=st.lists(BLOCKS, max_size=3))
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
def test_all_ways_give_the_same_entries(container: str, labels: str, blocks: list[list[bytes]]) -> None:
    whole = [b"".join(block) for block in blocks]
    slowly = run(SLOWLY + container + labels, whole, accelerated=False)
    for text in (container + labels, container + SLOWLY + labels):
        assert run(text, whole, accelerated=False) == slowly
        if ACCELERATED:
            assert run(text, whole, accelerated=True) == slowly


@given(block=BLOCKS, cuts=st.lists(st.integers(min_value=0, max_value=12), max_size=4))
@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
def test_where_blocks_end_makes_no_difference_but_for_the_time_of_reading(block: list[bytes], cuts: list[int]) -> None:
    bounds = [0, *sorted(min(cut, len(block)) for cut in cuts), len(block)]
    parts = [b"".join(block[start:end]) for start, end in pairwise(bounds)]
    whole, _ = run("- cri: {}", [b"".join(block)], accelerated=None)
    cut, _ = run("- cri: {}", parts, accelerated=None)
    assert {key: [one.line for one in entries] for key, entries in cut.items()} == {
        key: [one.line for one in entries] for key, entries in whole.items()
    }


@given(blocks=st.lists(BLOCKS, max_size=4))
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
def test_a_restart_between_blocks_changes_nothing_but_guessed_times(blocks: list[list[bytes]]) -> None:
    whole = [b"".join(block) for block in blocks]
    text = '- cri: {}\n- multiline: {firstline: "^a", max_lines: 3}'
    once, restarted = run(text, whole, accelerated=None), run(text, whole, accelerated=None, restarts=True)
    assert _untimed(once[0]) == _untimed(restarted[0])


def _untimed(out: Out) -> Any:
    return {key: [(one.line, one.metadata) for one in entries] for key, entries in out.items()}


@pytest.mark.parametrize("walks", IMPLEMENTATIONS)
def test_plain_lines_are_a_nanosecond_apart_over_the_second(walks: Walks) -> None:
    part = walks.plain(b"a\nb\n\nc", 1_999_999_998, b"")
    assert part is not None
    assert part[1:] == (4, 1_999_999_998, 2_000_000_001)
    one_by_one = [walks.encode(1_999_999_998 + n, line, b"") for n, line in enumerate([b"a", b"b", b"", b"c"])]
    assert part[0] == b"".join(one_by_one)


@pytest.mark.parametrize("walks", IMPLEMENTATIONS)
def test_nothing_is_read_of_a_stream_that_is_held(walks: Walks) -> None:
    block = b"2026-05-07T18:57:51Z stdout F a\n2026-05-07T18:57:51Z stderr F b\n"
    at, out, err, *_ = walks.cri(block, 0, 2, b"", b"", False)
    assert (at, out is not None and out[1], err) == (32, 1, None)
    assert walks.cri(block, at, 2, b"", b"", False) == (32, None, None, -1, -1)


@needs_accelerator
@given(
    time_ns=st.integers(min_value=-(2**63), max_value=2**63 - 1),
    line=st.one_of(st.binary(max_size=300), st.integers(0, 70_000).map(bytes)),
    metadata=st.sampled_from([b"", b"\x1a\x00", b"m" * 200]),
)
def test_entries_are_encoded_alike(time_ns: int, line: bytes, metadata: bytes) -> None:
    assert ACCELERATED is not None
    assert ACCELERATED.encode(time_ns, line, metadata) == PLAIN.encode(time_ns, line, metadata)


def test_nothing_is_done_line_by_line_where_stages_look_at_labels_alone() -> None:
    running = Running(
        '- match: {selector: "{pod=\\"other\\"}", stages: [{regex: {expression: "(?P<a>.)"}}]}\n- cri: {}'.replace(
            "\n- cri: {}", ""
        )
    )
    source = running.source()
    assert type(source._lines).__name__ == "_PlainLines"  # type: ignore[attr-defined]


def test_lines_of_a_stream_that_labels_drop_are_counted_together() -> None:
    running = Running('- cri: {}\n- match: {selector: "{stream=\\"stderr\\"}", action: drop}')
    block = b"2026-05-07T18:57:51Z stdout F a\n2026-05-07T18:57:51Z stderr F b\n2026-05-07T18:57:51Z stderr F c\n"
    assert [entry.line for entries in decoded(running.source().block(block, NOW_NS)).values() for entry in entries] == [
        b"a"
    ]
    assert running.dropped("match_stage") == 2


def test_labels_are_one_text_however_they_came() -> None:
    running = Running("- cri: {}", last={"cluster": "c1"})
    block = b"2026-05-07T18:57:51Z stdout F a\n2026-05-07T18:57:51Z stdout P b\n2026-05-07T18:57:51Z stdout F c\n"
    ((key, entries),) = decoded(running.source().block(block, NOW_NS)).items()
    assert key == ("", '{cluster="c1", filename="/var/log/pods/web.log", job="pods", pod="web-1", stream="stdout"}')
    assert [entry.line for entry in entries] == [b"a", b"bc"]
    assert LABELS["pod"] == "web-1"
