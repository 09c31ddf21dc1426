import math
import random
import resource
import sqlite3
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from pipeline.errors import PermanentError, TransientError
from pipeline.store import Appended
from pipeline.store.selector import parse
from pipeline.wire.histogram import STALE_HISTOGRAM
from pipeline.wire.protobuf import encode_bytes
from pipeline.wire.remote_write import HISTOGRAM, encode_labels, encode_series
from tests.pipeline.store.conftest import NOW_S, Clock, Open
from tests.pipeline.store.requests import STALE, bits, series

NOW_MS = int(NOW_S * 1000)


async def test_what_was_appended_is_found_with_every_bit(open_store: Open) -> None:
    store = await open_store()
    odd = bits(b"\x01\x00\x00\x00\x00\x00\xf4\x7f")
    request = series("a", (NOW_MS, 1.5), (NOW_MS + 1, -0.0), (NOW_MS + 2, odd), (NOW_MS + 3, STALE), job="x")
    assert await store.append(request) == Appended(samples=4, duplicates=0)
    for _ in range(2):
        found = await store.samples(parse('a{job="x"}'), 0, NOW_MS * 2)
        [(labels, samples)] = found.items()
        assert labels == (("__name__", "a"), ("job", "x"))
        assert [at_ms for at_ms, _ in samples] == [NOW_MS, NOW_MS + 1, NOW_MS + 2, NOW_MS + 3]
        assert [bits(value) for _, value in samples] == [bits(1.5), bits(-0.0), odd, STALE]
        await store.maintain(seal=True)


async def test_a_sample_is_kept_once_wherever_the_first_one_lies(open_store: Open) -> None:
    store = await open_store()
    request = series("a", (NOW_MS, 1.0), (NOW_MS + 10, 2.0))
    await store.append(request)
    assert await store.append(request) == Appended(0, 2)
    await store.maintain(seal=True)
    again = series("a", (NOW_MS - 5, 0.0), (NOW_MS, 9.0), (NOW_MS + 5, 1.5), (NOW_MS + 10, 9.0))
    assert await store.append(again) == Appended(2, 2)
    await store.close()
    store = await open_store()
    assert await store.append(again) == Appended(0, 4)
    await store.maintain(seal=True)
    assert await store.append(again) == Appended(0, 4)
    [samples] = (await store.samples(parse("a"), 0, NOW_MS * 2)).values()
    assert samples == [(NOW_MS - 5, 0.0), (NOW_MS, 1.0), (NOW_MS + 5, 1.5), (NOW_MS + 10, 2.0)]


async def test_a_request_is_stored_whole_or_not_at_all(open_store: Open) -> None:
    store = await open_store()
    with pytest.raises(PermanentError, match="a series without a name"):
        await store.append(series("good", (NOW_MS, 1.0)) + series("", (NOW_MS, 1.0), job="x"))
    with pytest.raises(PermanentError, match="reaches beyond the end"):
        await store.append(series("good", (NOW_MS, 1.0))[:-1])
    assert await store.search() == ([], 0)
    assert await store.append(series("good", (NOW_MS, 1.0))) == Appended(1, 0)


async def test_native_histograms_are_left_out_counted_and_told_of_once(
    open_store: Open, caplog: pytest.LogCaptureFixture
) -> None:
    registry = CollectorRegistry()
    store = await open_store(registry)
    native = encode_series(encode_labels([("__name__", "h")]) + encode_bytes(HISTOGRAM, STALE_HISTOGRAM))
    assert await store.append(native + series("good", (NOW_MS, 1.0))) == Appended(1, 0)
    assert await store.append(native) == Appended(0, 0)
    assert [found.labels for found in (await store.search())[0]] == [(("__name__", "good"),)]
    assert registry.get_sample_value("pronoia_store_histograms_ignored_total") == 2
    assert [record.message for record in caplog.records] == [
        "the embedded store keeps no native histograms: they are left out, these and all that follow"
    ]


async def test_old_blocks_are_dropped_by_age_and_their_series_with_them(open_store: Open, clock: Clock) -> None:
    store = await open_store(max_age=3600.0)
    await store.append(series("old", (NOW_MS, 1.0)) + series("both", (NOW_MS, 1.0)))
    await store.maintain(seal=True)
    clock.now_s += 1800
    await store.append(series("both", (int(clock.now_s * 1000), 2.0)) + series("ahead", (NOW_MS * 2, 1.0)))
    await store.maintain(seal=True)
    clock.now_s += 1801
    await store.maintain()
    found, count = await store.search()
    assert count == 2
    assert [dict(each.labels)["__name__"] for each in found] == ["ahead", "both"]
    assert list((await store.samples(parse("both"), 0, NOW_MS * 2)).values()) == [[(NOW_MS + 1_800_000, 2.0)]]
    clock.now_s += 3601
    await store.maintain()
    assert await store.search() == ([], 0)


async def test_the_oldest_blocks_are_dropped_by_size(open_store: Open) -> None:
    store = await open_store(max_bytes=6 << 20)
    values = random.Random(1)
    rounds = 6
    for n in range(rounds):
        samples = [(NOW_MS + (n * 100_000 + k) * 10, values.random()) for k in range(100_000)]
        await store.append(series("a", *samples))
        await store.maintain()
    [kept] = (await store.samples(parse("a"), 0, NOW_MS * 2)).values()
    assert 100_000 <= len(kept) < rounds * 100_000
    assert kept[-1][0] == NOW_MS + (rounds * 100_000 - 1) * 10, "the newest are kept"
    assert (await store.summary()).stored_bytes < 7 << 20
    await store.append(series("a", (NOW_MS * 2, 1.0)))


async def test_labels_take_no_more_than_their_share(open_store: Open) -> None:
    store = await open_store(max_bytes=40_000)
    with pytest.raises(PermanentError, match="the labels of all series would take more than 10000 bytes"):
        await store.append(b"".join(series("a", (NOW_MS, 1.0), n=f"{n:0100}") for n in range(100)))
    assert await store.search() == ([], 0)
    await store.append(series("a", (NOW_MS, 1.0)))


async def test_what_a_full_disk_refused_is_not_taken_for_stored(open_store: Open, tmp_path: Path) -> None:
    store = await open_store()
    await store.append(series("a", (NOW_MS, 1.0)))
    request = b"".join(series("b", (NOW_MS, 1.0), n=str(n)) for n in range(2000))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (tmp_path.joinpath("store.db-wal").stat().st_size, hard))
    try:
        with pytest.raises(TransientError, match="cannot be written"):
            await store.append(request)
        assert store.ready() is not None
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert await store.append(request) == Appended(samples=2000, duplicates=0)
    assert store.ready() is None
    await store.close()
    store = await open_store()
    assert len(await store.samples(parse("b"), 0, NOW_MS * 2)) == 2000


async def test_a_series_that_ended_is_not_drawn_on(open_store: Open) -> None:
    store = await open_store()
    await store.append(series("a", (NOW_MS, 1.0), (NOW_MS + 15_000, STALE), (NOW_MS + 60_000, 3.0)))
    _, [points] = await store.query_range(parse("a"), NOW_MS - 15_000, NOW_MS + 75_000, 15_000)
    assert points.values == [None, 1.0, None, None, None, 3.0, 3.0]
    clock_ms = NOW_MS + 60_000
    [latest] = await store.latest(parse("a"), lookback_ms=NOW_MS)
    assert (latest.timestamp_ms, latest.value) == (clock_ms, 3.0)


async def test_a_rate_counts_a_reset_as_a_start_from_zero(open_store: Open) -> None:
    store = await open_store()
    samples = [(NOW_MS + n * 10_000, value) for n, value in enumerate([100.0, 200.0, 10.0, 20.0])]
    await store.append(series("a_total", *samples))
    _, [points] = await store.query_range(parse("a_total"), NOW_MS, NOW_MS + 30_000, 10_000, rate_window_ms=20_001)
    assert points.values == [None, 10.0, 5.5, 1.0]
    assert not any(value is None or math.isnan(value) for value in points.values[1:])


async def test_two_processes_do_not_share_a_file(open_store: Open) -> None:
    await open_store()
    with pytest.raises(PermanentError, match="in use by another process"):
        await open_store()


async def test_a_file_that_is_not_ours_is_refused_and_left_alone(open_store: Open, tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.write_bytes(b"something that somebody needs" * 100)
    with pytest.raises(PermanentError, match="cannot be used as a store"):
        await open_store()
    assert path.read_bytes().startswith(b"something")
    path.unlink()
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE t (x)")
    other.close()
    with pytest.raises(PermanentError, match="not a store of Pronoia's"):
        await open_store()


async def test_a_closed_store_says_so(open_store: Open) -> None:
    store = await open_store()
    await store.close()
    with pytest.raises(TransientError, match="closed"):
        await store.append(series("a", (NOW_MS, 1.0)))


async def test_a_chart_has_steps_as_wide_as_its_samples_and_a_gap_where_some_are_missing(open_store: Open) -> None:
    store = await open_store()
    there = [n for n in range(-20, 41) if not 10 < n < 20]
    await store.append(series("a", *((NOW_MS + n * 15_003, float(n)) for n in there)))
    [found], _ = await store.search("a")
    chart = await store.chart([found.id], NOW_MS, NOW_MS + 600_000, max_points=100, rate=False)
    assert chart.step_ms == 15_000
    assert all(at % 15_000 == 0 for at in chart.steps)
    [points] = chart.series
    assert points.values[0] == 0.0, "a line does not begin with a gap"
    assert [n for n, value in enumerate(points.values) if value is None] == [15, 16, 17, 18, 19, 20]
    coarse = await store.chart([found.id], NOW_MS, NOW_MS + 600_000, max_points=10, rate=True)
    assert coarse.step_ms == 60_000
    assert coarse.series[0].values[-1] == pytest.approx(1 / 15.003)


async def test_a_query_that_would_hold_everybody_up_is_refused(open_store: Open) -> None:
    store = await open_store()
    await store.append(b"".join(series("a", (NOW_MS, 1.0), n=str(n)) for n in range(300)))
    with pytest.raises(PermanentError, match="300 series at 10001 steps are too much"):
        await store.query_range(parse("a"), NOW_MS, NOW_MS + 10_000_000, 1000)
