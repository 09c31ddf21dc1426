"""What a source's pipeline promises its input: order, labels, tenants, what is held back, and its state."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from agent.logs.entry import Entry
from agent.stages.lang.layout import compile_layout
from agent.stages.streams import MAX_METADATA
from tests.agent.stages.running import LABELS, NOW_NS, Running, decoded, lines

SECOND_NS = 10**9
MULTILINE = '- multiline: {firstline: "^\\\\S", max_wait_time: 3s, max_lines: 3}'


def cri(content: str, flag: str = "F", stream: str = "stdout", second: int = 0) -> bytes:
    return f"2026-05-07T18:57:{second:02}Z {stream} {flag} {content}\n".encode()


def test_the_clusters_label_stays_whatever_stages_do() -> None:
    text = "- static_labels: {cluster: other, region: here}\n- labeldrop: [zone]\n- labelallow: [region]"
    source = Running(text, last={"cluster": "c1"}, first={"region": "there", "zone": "z"}).source()
    ((key, _),) = decoded(source.block(b"a\n", NOW_NS)).items()
    assert key == ("", '{cluster="c1", region="here", zone="z"}')


def test_labels_that_loki_cannot_read_go() -> None:
    source = Running("[]").source({"ok": "1", "empty": "", "a b": "c", "__x": "kept"})
    ((key, _),) = decoded(source.block(b"a\n", NOW_NS)).items()
    assert key == ("", '{__x="kept", ok="1"}')


def test_lines_go_to_their_tenants() -> None:
    source = Running('- regex: {expression: "^(?P<who>\\\\w+)"}\n- tenant: {source: who}', tenant="nobody").source(
        {"a": "b"}
    )
    chunks = source.block(b"red 1\nblue 1\nred 2\n!\n", NOW_NS)
    found = {tenant: [entry.line for entry in entries] for (tenant, _), entries in decoded(chunks).items()}
    assert found == {"red": [b"red 1", b"red 2"], "blue": [b"blue 1"], "nobody": [b"!"]}
    assert all("__tenant_id__" not in labels for _, labels in decoded(chunks))


def test_equal_lines_have_times_of_their_own() -> None:
    source = Running("[]").source()
    first = decoded(source.block(b"same\n" * 3, NOW_NS))
    second = decoded(source.block(b"same\n" * 2, NOW_NS + 1))
    times = [entry.time_ns for out in (first, second) for entries in out.values() for entry in entries]
    assert times == [NOW_NS, NOW_NS + 1, NOW_NS + 2, NOW_NS + 3, NOW_NS + 4]


def test_times_follow_a_clock_that_is_set_back() -> None:
    source = Running("[]").source()
    source.block(b"a\n", NOW_NS)
    ((_, entries),) = decoded(source.block(b"b\n", NOW_NS - 3600 * SECOND_NS)).items()
    assert entries[0].time_ns == NOW_NS - 3600 * SECOND_NS


def test_what_is_not_utf8_is_replaced() -> None:
    source = Running("[]").source()
    assert lines(source.block(b"a\xff\xfeb\x00\n\xe2\x82\n", NOW_NS)) == ["a\ufffd\ufffdb\x00", "\ufffd"]


def test_a_partial_line_outlives_a_restart() -> None:
    running = Running("- cri: {}")
    before, after = running.source(), running.source()
    assert before.block(cri("one ", "P"), NOW_NS) == []
    after.restore(before.snapshot())
    assert lines(after.block(cri("two"), NOW_NS)) == ["one two"]
    assert after.snapshot() == b""


def test_a_partial_line_of_one_stream_does_not_hold_the_other_back() -> None:
    source = Running("- cri: {}").source()
    block = cri("o1 ", "P") + cri("e1", stream="stderr") + cri("o2")
    assert sorted(lines(source.block(block, NOW_NS))) == ["e1", "o1 o2"]
    assert source.due_ns() is None


def test_partial_lines_go_on_where_nothing_comes_any_more() -> None:
    source = Running("- cri: {}").source()
    source.block(cri("never ended", "P"), NOW_NS)
    assert source.flush(NOW_NS + 10**12) == []
    assert lines(source.flush(NOW_NS, everything=True)) == ["never ended"]


def test_a_line_that_never_ends_goes_on_in_parts() -> None:
    source = Running("- cri: {}").source()
    out = []
    for _ in range(300):
        out += lines(source.block(cri("x" * 16_000, "P"), NOW_NS))
        assert len(source.snapshot()) < 1_100_000
    out += lines(source.block(cri("end"), NOW_NS))
    assert len(out) > 1
    assert "".join(out) == "x" * 16_000 * 300 + "end"


def test_a_time_that_cannot_be_read_follows_the_line_before() -> None:
    source = Running("- cri: {}").source()
    ((_, entries),) = decoded(source.block(cri("a") + b"then stdout F b\n" + b"then stdout F c\n", NOW_NS)).items()
    first_ns = entries[0].time_ns
    assert [entry.time_ns - first_ns for entry in entries] == [0, 1, 2]


def test_lines_are_joined_until_the_next_first_line() -> None:
    source = Running(MULTILINE).source()
    assert lines(source.block(b"at start\n", NOW_NS)) == []
    assert lines(source.block(b" more\nnext\n", NOW_NS + SECOND_NS)) == ["at start\n more"]
    assert source.due_ns() == NOW_NS + 4 * SECOND_NS
    assert source.flush(NOW_NS + 3 * SECOND_NS) == []
    assert lines(source.flush(NOW_NS + 4 * SECOND_NS)) == ["next"]
    assert source.due_ns() is None


def test_a_joined_entry_is_complete_with_max_lines() -> None:
    source = Running(MULTILINE).source()
    assert lines(source.block(b"1\n 2\n 3\n 4\n", NOW_NS)) == ["1\n 2\n 3"]
    assert lines(source.flush(NOW_NS, everything=True)) == [" 4"]


def test_joined_lines_outlive_a_restart() -> None:
    running = Running(MULTILINE)
    before, after = running.source(), running.source()
    before.block(b"1\n 2\n", NOW_NS)
    after.restore(before.snapshot())
    assert after.due_ns() == before.due_ns()
    assert lines(after.block(b" 3\n", NOW_NS)) == ["1\n 2\n 3"]


def test_what_is_gathered_has_a_bound_over_all_streams() -> None:
    source = Running('- multiline: {firstline: "^a"}').source()
    out = []
    for number in range(100):
        entry = Entry({"n": str(number)}, NOW_NS, "a" * 100_000)
        out += lines(source.entries([entry]))
        assert len(source.snapshot()) < 4_400_000
    out += lines(source.flush(NOW_NS, everything=True))
    assert out == ["a" * 100_000] * 100


def test_what_was_held_back_is_not_lost_where_the_stages_are_others_now() -> None:
    before = Running(MULTILINE).source()
    before.block(b"1\n 2\n", NOW_NS)
    running = Running("[]")
    after, again = running.source(), running.source()
    after.restore(before.snapshot())
    assert after.due_ns() == 0, "it need not wait for lines to come"
    again.restore(after.snapshot())
    assert lines(again.flush(NOW_NS)) == lines(after.flush(NOW_NS)) == ["1\n 2"]
    assert (after.due_ns(), after.snapshot()) == (None, b"")


def test_entries_keep_their_labels_times_and_metadata() -> None:
    source = Running("- labels: {level: }\n- structured_metadata: {job: }").source()
    entry = Entry({"job": "pushed", "level": "info"}, 1_000_000_007, "line", {"trace": "1"})
    ((key, (found,)),) = decoded(source.entries([entry])).items()
    assert key == ("", '{level="info"}')
    assert (found.time_ns, found.line, found.metadata) == (1_000_000_007, b"line", (("trace", "1"), ("job", "pushed")))


@pytest.mark.parametrize("time_ns", [-62_135_596_800 * SECOND_NS, -1, 0, 2**63 - 1, 253_402_300_799 * SECOND_NS])
def test_times_of_any_year_are_carried(time_ns: int) -> None:
    source = Running("[]").source()
    ((_, (found,)),) = decoded(source.entries([Entry({"a": "b"}, time_ns, "line")])).items()
    assert found.time_ns == time_ns


def test_metadata_beyond_lokis_limits_goes_and_is_counted() -> None:
    running = Running("[]")
    metadata = {f"k{number}": "v" for number in range(MAX_METADATA + 3)}
    ((_, (found,)),) = decoded(running.source().entries([Entry({"a": "b"}, 1, "line", metadata)])).items()
    assert len(found.metadata) == MAX_METADATA
    dropped = "pronoia_agent_log_dropped_metadata_total"
    assert running.registry.get_sample_value(dropped, {"job": "job"}) == 3


def test_a_limit_that_waits_says_how_long_not_to_read() -> None:
    running = Running("- limit: {rate: 10, burst: 2}")
    chunks = running.source().block(b"a\n" * 7, NOW_NS)
    assert (chunks[0].items, chunks[0].pause_s) == (7, 0.5)
    (later,) = running.source().block(b"a\n", NOW_NS + SECOND_NS)
    assert later.pause_s == 0.0


def test_a_limit_that_drops_counts_what_it_drops() -> None:
    running = Running("- limit: {rate: 10, burst: 2, drop: true}")
    assert len(lines(running.source().block(b"a\n" * 7, NOW_NS))) == 2
    assert running.dropped("ratelimit_drop_stage") == 5


def test_a_label_that_is_new_on_every_line_does_not_fill_the_memory() -> None:
    source: Any = Running('- regex: {expression: "^(?P<id>.*)$"}\n- labels: {id: }').source({"a": "b"})
    block = b"".join(b"%d\n" % number for number in range(10_050))
    assert len(decoded(source.block(block, NOW_NS))) == 10_050
    assert len(source._streams._known) < 100


def test_a_snapshot_is_json() -> None:
    source = Running(MULTILINE).source(LABELS)
    source.block("é\x00\n".encode(), NOW_NS)
    assert json.loads(source.snapshot())[0][0] == "multiline"


@pytest.mark.parametrize(
    ("zone", "hours"),
    [("Asia/Tokyo", 9), (":Asia/Tokyo", 9), ("/usr/share/zoneinfo/Asia/Tokyo", 9), ("", 0), ("No/Such", 0)],
)
def test_times_of_the_machines_own_zone(monkeypatch: pytest.MonkeyPatch, zone: str, hours: int) -> None:
    monkeypatch.setenv("TZ", zone)
    compile_layout.cache_clear()
    text = (
        "- regex: {expression: '^(?P<t>.*)$'}\n- timestamp: {source: t, format: '2006-01-02 15:04:05', location: Local}"
    )
    (entries,) = decoded(Running(text).source().block(b"2026-01-01 09:00:00\n", NOW_NS)).values()
    assert entries[0].time_ns == int(datetime(2026, 1, 1, 9 - hours, tzinfo=UTC).timestamp()) * 10**9
    compile_layout.cache_clear()
