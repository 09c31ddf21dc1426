import random
import resource
import sqlite3
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from pipeline.errors import PermanentError, TransientError
from pipeline.store.logs import Found, LogStore, Query, Taken, parse_text
from pipeline.store.selector import SelectorError, parse
from tests.pipeline.store.conftest import NOW_S, Clock
from tests.pipeline.store.logs.conftest import Open
from tests.pipeline.store.logs.requests import push

NOW_NS = int(NOW_S * 1e9)
APP = {"app": "a"}


async def lines(store: LogStore, text: str = "", **query: object) -> list[str]:
    """Return the lines that are found, newest first."""
    page = await store.entries(Query(text=parse_text(text), **query), 1_000_000)  # type: ignore[arg-type]
    return [found.line for found in page.entries]


async def test_what_was_appended_is_found_before_and_after_it_is_packed(open_store: Open) -> None:
    store = await open_store()
    odd = "\x00 \u2028 İstanbul \U0001f600"
    request = push(APP, (NOW_NS, "one"), (NOW_NS + 1, odd, {"trace": "t1"}), (NOW_NS + 2, b"\xff broken")) + push(
        {"app": "b", "level": "error"}, (NOW_NS + 1, "two\nlines")
    )
    assert await store.append(request) == Taken(entries=4, duplicates=0)
    for _ in range(3):
        page = await store.entries(Query(), 10)
        assert [(e.time_ns - NOW_NS, e.line, dict(e.labels), dict(e.metadata), e.level) for e in page.entries] == [
            (2, "\ufffd broken", APP, {}, ""),
            (1, "two\nlines", {"app": "b", "level": "error"}, {}, "error"),
            (1, odd, APP, {"trace": "t1"}, ""),
            (0, "one", APP, {}, ""),
        ]
        assert page.next is None
        await store.maintain(seal=True)
    await store.close()
    store = await open_store()
    assert len(await lines(store)) == 4


async def test_what_is_not_packed_is_there_after_a_start_with_the_same_numbers(open_store: Open) -> None:
    store = await open_store()
    await store.append(push(APP, (NOW_NS, "one"), (NOW_NS, "one")) + push({"app": "b"}, (NOW_NS, "two")))
    await store.append(push(APP, (NOW_NS + 1, "three"), (NOW_NS, "one")))
    before = await store.entries(Query(), 10)
    await store.close()
    store = await open_store()
    assert (await store.entries(Query(), 10)).entries == before.entries
    await store.append(push(APP, (NOW_NS + 2, "four")))
    assert (await store.tail(Query(), before.last_seq, 10)).entries[0].line == "four"


async def test_a_request_in_doubt_adds_nothing_that_is_stored_wherever_it_lies(open_store: Open) -> None:
    registry = CollectorRegistry()
    store = await open_store(registry)
    request = push(APP, (NOW_NS, "same"), (NOW_NS, "same"), (NOW_NS, "other"), (NOW_NS + 5, "x", {"id": "1"}))
    assert await store.append(request) == Taken(4, 0)
    assert await store.append(request, in_doubt=True) == Taken(0, 4)
    await store.maintain(seal=True)
    assert await store.append(request, in_doubt=True) == Taken(0, 4)
    await store.append(push(APP, (NOW_NS + 9, "later")))
    await store.maintain(seal=True)
    more = push(APP, *[(NOW_NS, "same")] * 3, (NOW_NS - 5, "late"), (NOW_NS + 5, "x", {"id": "2"}))
    assert await store.append(more, in_doubt=True) == Taken(3, 2)
    await store.close()
    store = await open_store()
    assert await store.append(request, in_doubt=True) == Taken(0, 4)
    assert await store.append(more, in_doubt=True) == Taken(0, 5)
    assert await lines(store) == ["later", "x", "x", "same", "other", "same", "same", "late"]
    assert registry.get_sample_value("pronoia_log_store_duplicates_total") == 10


async def test_what_is_said_twice_is_stored_twice_where_nothing_is_in_doubt(open_store: Open) -> None:
    store = await open_store()
    request = push(APP, (NOW_NS, "same"), (NOW_NS, "same"))
    for entries in (2, 4):
        assert await store.append(request) == Taken(2, 0)
        assert await lines(store) == ["same"] * entries
        await store.maintain(seal=True)


async def test_any_part_of_an_identifier_an_address_or_a_path_is_found(open_store: Open) -> None:
    store = await open_store()
    told = [
        "GET /api/v1/users?id=7 from 10.1.2.3 took 12ms",
        "request 550e8400-e29b-41d4-a716-446655440000 failed: OOMKilled",
        'level=warn msg="disk \\"full\\"" path=/var/lib/x.db',
        "café ÜBER ελλάς ΤΕΛΟΣ",
        "日本語のログ",
    ]
    await store.append(push(APP, *((NOW_NS + n, line) for n, line in enumerate(told))))
    await store.append(push(APP, (NOW_NS + 100, "in its metadata", {"trace_id": "4bf92f3577b34da6"})))
    for _ in range(2):
        for text, found in {
            "1.2.3": 0,
            "0-e29b-41d4-a716-4466": 1,
            "oomkill": 1,
            "/lib/x.": 2,
            r'"disk \"full\""': None,
            r"\"full": 2,
            "über": 3,
            "τέλος": None,
            "τελοσ": 3,
            "本語の": 4,
            "id=7 GET": 0,
            '"from 10.1"': 0,
            '~"took \\d+ms"': 0,
            "-GET -request -level -café -日本語 trace": None,
        }.items():
            assert await lines(store, text) == ([] if found is None else [told[found]]), text
        assert await lines(store, "3577B34") == ["in its metadata"]
        assert len(await lines(store, "e")) == 5, "a word of one letter is no trigram, and is found nevertheless"
        assert len(await lines(store, "-e")) == 1
        await store.maintain(seal=True)


async def test_pages_go_on_where_the_last_one_ended_in_both_directions(open_store: Open) -> None:
    store = await open_store()
    for part in range(4):
        await store.append(
            b"".join(
                push({"app": f"{n}"}, *((NOW_NS + k // 3 * 1000 + part, f"{part} {n} {k}") for k in range(80)))
                for n in range(3)
            )
        )
        if part != 2:
            await store.maintain(seal=True)
    everything = (await store.entries(Query(), 10_000)).entries
    assert len(everything) == 4 * 3 * 80
    assert [(e.time_ns, e.seq) for e in everything] == sorted(((e.time_ns, e.seq) for e in everything), reverse=True)
    for newest_first in (True, False):
        found: list[Found] = []
        after = None
        while True:
            page = await store.entries(Query(), 37, after=after, newest_first=newest_first)
            found += page.entries
            if (after := page.next) is None:
                break
        assert found == list(everything if newest_first else reversed(everything))


async def test_a_search_whose_time_is_up_says_how_far_it_came_and_goes_on_from_there(open_store: Open) -> None:
    store = await open_store()
    for part in range(5):
        await store.append(push(APP, *((NOW_NS + part * 1000 + k, f"{part} {k}") for k in range(100))))
        await store.maintain(seal=True)
    page = await store.entries(Query(), 1000, budget_s=-1)
    assert (page.entries, page.reached_ns) == ([], NOW_NS + 4099)
    found: list[Found] = []
    after = page.next
    while after is not None:
        page = await store.entries(Query(), 70, after=after)
        found += page.entries
        after = page.next
    assert len(found) == 500
    counts = await store.counts(Query(start_ns=NOW_NS, end_ns=NOW_NS + 10_000), 1000, budget_s=-1)
    assert (counts.steps, counts.reached_ns) == ({}, NOW_NS + 4099)


async def test_counts_are_by_step_and_level(open_store: Open) -> None:
    store = await open_store()
    await store.append(
        push(APP, (NOW_NS, "level=info a"), (NOW_NS + 1, "E1121 10:00:00.1 a"), (NOW_NS + 1000, '{"severity":"WARN"}'))
        + push({"app": "b", "level": "Error"}, (NOW_NS + 1001, "b"), (NOW_NS + 5000, "INFO beyond"))
        + push({"app": "c"}, (NOW_NS, "plain, nothing of info", {"severity_text": "fatal"}), (NOW_NS, "plain"))
    )
    query = Query(start_ns=NOW_NS, end_ns=NOW_NS + 5000)
    for _ in range(2):
        counts = await store.counts(query, 1000)
        assert counts.steps == {NOW_NS: [1, 0, 0, 1, 0, 1, 1], NOW_NS + 1000: [0, 0, 0, 0, 1, 1, 0]}
        counts = await store.counts(Query(text=parse_text("a"), start_ns=NOW_NS, end_ns=NOW_NS + 5000), 5000)
        assert counts.steps == {NOW_NS - NOW_NS % 5000: [1, 0, 0, 1, 1, 1, 1]}
        assert await lines(store, levels=frozenset({"error"})) == ["INFO beyond", "b", "E1121 10:00:00.1 a"]
        assert await lines(store, levels=frozenset({""})) == ["plain"]
        await store.maintain(seal=True)
    with pytest.raises(PermanentError, match="at most 2000"):
        await store.counts(query, 1)


async def test_the_tail_is_what_came_since_whatever_its_time(open_store: Open) -> None:
    store = await open_store()
    await store.append(push(APP, (NOW_NS, "first")))
    since = (await store.entries(Query(), 1)).last_seq
    assert (await store.tail(Query(), since, 10)).entries == []
    await store.append(push(APP, (NOW_NS - 1000, "late"), (NOW_NS + 1, "next")) + push({"app": "b"}, (NOW_NS, "b")))
    for _ in range(2):
        tail = await store.tail(Query(), since, 10)
        assert [found.line for found in tail.entries] == ["late", "next", "b"]
        tail = await store.tail(Query(matchers=parse('{app="a"}')), since, 1)
        assert ([found.line for found in tail.entries], tail.skipped) == (["next"], 1)
        assert (await store.tail(Query(), tail.last_seq, 10)).entries == []
        await store.maintain(seal=True)


async def test_labels_and_their_values_are_those_of_the_streams_that_match(open_store: Open) -> None:
    store = await open_store()
    await store.append(b"".join(push({"app": a, "pod": p}, (NOW_NS, a + p)) for a, p in ("ax", "ay", "bz")))
    assert await store.label_names() == ["app", "pod"]
    assert await store.label_values("pod", parse('{app="a"}')) == ["x", "y"]
    assert await store.label_values("none") == []
    assert [dict(labels)["pod"] for labels in await store.streams(parse('{app=~".+", pod!~"x|z"}'))] == ["y"]
    await store.maintain(seal=True)
    assert await lines(store, matchers=parse('{app=~"a|c",pod!="x"}')) == ["ay"]
    assert await lines(store, matchers=parse('{app="none"}')) == []
    with pytest.raises(SelectorError, match="RE2"):
        await lines(store, '~"("')


async def test_a_request_is_stored_whole_or_not_at_all(open_store: Open) -> None:
    store = await open_store(max_bytes=4000)
    with pytest.raises(PermanentError, match="not stored: "):
        await store.append(push(APP, (NOW_NS, "good")) + push({"app": "b"}, (NOW_NS, "x"))[:-1])
    with pytest.raises(PermanentError, match="labels of all streams would take more than 500 bytes"):
        await store.append(push(APP, (NOW_NS, "good")) + b"".join(push({"n": f"{n:050}"}, (1, "x")) for n in range(20)))
    assert (await store.summary()).streams == 0
    await store.append(push(APP, (NOW_NS, "good")))
    assert await lines(store) == ["good"]


async def test_times_beyond_what_can_be_kept_are_kept_as_the_furthest(open_store: Open) -> None:
    store = await open_store()
    await store.append(push(APP, (1 << 90, "far"), (-(1 << 62), "before"), (0, "1970")))
    for _ in range(2):
        assert await lines(store) == ["far", "1970", "before"]
        await store.maintain(seal=True)


async def test_old_segments_are_dropped_by_age_and_their_streams_with_them(open_store: Open, clock: Clock) -> None:
    registry = CollectorRegistry()
    store = await open_store(registry, max_age=3600.0)
    await store.append(push({"app": "old"}, (NOW_NS, "old")) + push({"app": "both"}, (NOW_NS, "both")))
    await store.maintain(seal=True)
    clock.now_s += 1800
    ahead_ns = NOW_NS + 10 * 86_400 * 10**9
    await store.append(
        push({"app": "both"}, (int(clock.now_s * 1e9), "new")) + push({"app": "far"}, (ahead_ns, "ahead"))
    )
    await store.maintain(seal=True)
    clock.now_s += 1801
    await store.maintain()
    assert await lines(store) == ["ahead", "new"]
    assert await store.label_values("app") == ["both", "far"]
    assert registry.get_sample_value("pronoia_log_store_retention_dropped_entries_total", {"reason": "age"}) == 2
    clock.now_s += 1801
    await store.maintain()
    assert await lines(store) == []
    assert (await store.summary()).streams == 0
    last = (await store.entries(Query(), 1)).last_seq
    await store.close()
    clock.now_s += 1
    store = await open_store()
    await store.append(push(APP, (NOW_NS, "again")))
    assert len((await store.tail(Query(), last, 10)).entries) == 1, "numbers go on where an emptied store stopped"


async def test_the_oldest_segments_are_dropped_by_size_and_their_pages_used_again(
    open_store: Open, tmp_path: Path
) -> None:
    store = await open_store(max_bytes=9 << 20)
    for part in range(60):
        entries = (
            (NOW_NS + part * 1000 + n, f"{part} {random.Random(part * 1000 + n).randbytes(60).hex()}")
            for n in range(1000)
        )
        await store.append(push(APP, *entries))
        await store.maintain(seal=True)
    found = await lines(store)
    assert 2_000 < len(found) < 59_000
    assert found[0].startswith("59 "), "the newest are kept"
    assert len(found) % 1000 == 0, "in whole steps"
    assert (await store.summary()).stored_bytes <= 9 << 20
    assert (tmp_path / "logs.db").stat().st_size < 12 << 20
    with sqlite3.connect(tmp_path / "logs.db") as other:
        tables = {name for (name,) in other.execute("SELECT name FROM sqlite_schema WHERE name LIKE 'chunks%'")}
        assert len(tables) == other.execute("SELECT count(*) FROM segments").fetchone()[0]


async def test_what_a_full_disk_refused_is_not_taken_for_stored(open_store: Open, tmp_path: Path) -> None:
    store = await open_store()
    await store.append(push(APP, (NOW_NS, "first")))
    request = push(APP, *((NOW_NS + n, f"{hash(str(n)):x}" * 50) for n in range(2000)))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (tmp_path.joinpath("logs.db-wal").stat().st_size, hard))
    try:
        with pytest.raises(TransientError, match="cannot be written"):
            await store.append(request)
        assert store.ready() is not None
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert await store.append(request) == Taken(2000, 0)
    assert store.ready() is None
    assert len(await lines(store)) == 2001
