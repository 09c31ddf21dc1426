import math

import pytest

from agent.scrape.labelling import LabelLimits, Labelling, ScrapeError
from agent.scrape.page import Page, PageOptions
from agent.scrape.table import TableOptions
from pipeline.wire import snappy
from pipeline.wire.exposition import Format
from pipeline.wire.remote_write import QUIET_NAN, Labels, decode
from tests.agent.scrape.pages import (
    IMPLEMENTATIONS,
    T0,
    drive,
    exemplars,
    metadata,
    new_page,
    report,
    scrape,
    stored,
)

pytestmark = pytest.mark.parametrize("accelerated", IMPLEMENTATIONS)
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


def ok(page: Page, body: bytes, at_ms: int = T0, content_type: str = "text/plain") -> dict[str, list[tuple[str, int]]]:
    taken, parts = scrape(page, body, at_ms, content_type)
    assert taken.error == ""
    return stored(parts)


def test_every_sample_of_a_page_is_sent_at_the_time_of_the_scrape(accelerated: bool) -> None:
    assert ok(new_page(accelerated), b'a 1\nb{x="y"} -2.5\nc{} +Inf') == {
        "a": [("1.0", T0)],
        'b{x="y"}': [("-2.5", T0)],
        "c": [("inf", T0)],
    }


def test_a_value_that_changes_is_sent_and_one_that_does_not_is_sent_again(accelerated: bool) -> None:
    page = new_page(accelerated)
    ok(page, b"a 1\nb 2\n")
    assert ok(page, b"a 1\nb 3e2\n", T0 + 1000) == {"a": [("1.0", T0 + 1000)], "b": [("300.0", T0 + 1000)]}


@pytest.mark.parametrize(
    "text",
    ["0", "-0", "1", "0.1", "1e23", "123456789012345678", "4503599627370497.5", "1.7976931348623157e308", "5e-324",
     "2.2250738585072011e-308", "1e-400", ".5", "5.", "+7", "00012.50", "9007199254740993", "1e22", "1e-22",
     "0.000000000000000000000000000001", "123456.78901234567", "1E5", "Inf", "-Inf", "+inf", "Infinity"],
)  # fmt: skip
def test_a_value_is_stored_to_its_last_bit(accelerated: bool, text: str) -> None:
    page = new_page(accelerated)
    ok(page, b"a 42\n")
    value = float(ok(page, f"a {text}\n".encode(), T0 + 1)["a"][0][0])
    assert (value, math.copysign(1, value)) == (float(text), math.copysign(1, float(text)))


def test_every_nan_becomes_the_one_that_prometheus_writes(accelerated: bool) -> None:
    page = new_page(accelerated)
    for n, body in enumerate((b"a 1\n", b"a NaN\n", b"a nan\n")):
        _, parts = scrape(page, body, T0 + n)
    assert next(decode(snappy.decompress(parts[0].payload))).samples == [(QUIET_NAN, T0 + 2)]


@pytest.mark.parametrize(
    "text", ["1_0", "0x1p3", "1e400", "+nan", "1\r", "", "1 x", "1e", ".", "--1", "1 1 1", "\x0b1"]
)
def test_a_value_that_prometheus_refuses_fails_the_scrape(accelerated: bool, text: str) -> None:
    page = new_page(accelerated)
    ok(page, b"a 1\nb 1\n")
    taken, parts = scrape(page, f"a {text}\nb 1\n".encode(), T0 + 1)
    assert taken.error.startswith("line 1: ")
    assert report(parts)["up"] == "0.0"
    assert stored(parts) == {"a": [("stale", T0 + 1)], "b": [("stale", T0 + 1)]}


def test_a_series_that_goes_gets_a_staleness_marker_once(accelerated: bool) -> None:
    page = new_page(accelerated)
    ok(page, b"a 1\nb 2\nc 3\n")
    assert ok(page, b"a 1\nc 3\n", T0 + 1) == {"a": [("1.0", T0 + 1)], "b": [("stale", T0 + 1)], "c": [("3.0", T0 + 1)]}
    assert ok(page, b"a 1\nc 3\n", T0 + 2) == {"a": [("1.0", T0 + 2)], "c": [("3.0", T0 + 2)]}
    assert ok(page, b"a 1\nb 5\nc 3\n", T0 + 3)["b"] == [("5.0", T0 + 3)]


def test_series_may_change_places(accelerated: bool) -> None:
    page = new_page(accelerated)
    ok(page, b"a 1\nb 2\nc 3\nd 4\n")
    assert ok(page, b"d 5\nb 2\n\na 7\nc 3\n", T0 + 1) == {
        name: [(value, T0 + 1)] for name, value in (("a", "7.0"), ("b", "2.0"), ("c", "3.0"), ("d", "5.0"))
    }


def test_a_failed_scrape_ends_every_series_and_the_next_good_one_goes_on(accelerated: bool) -> None:
    page = new_page(accelerated)
    ok(page, b"a 1\nb 2\n")
    taken = drive(page.miss(ScrapeError("no answer"), T0 + 1))
    parts = drive(page.parts(taken))
    assert stored(parts) == {"a": [("stale", T0 + 1)], "b": [("stale", T0 + 1)]}
    assert report(parts)["up"] == "0.0"
    taken = drive(page.miss(ScrapeError("no answer"), T0 + 2))
    assert stored(drive(page.parts(taken))) == {}
    taken, parts = scrape(page, b"a 1\nb 2\n", T0 + 3)
    assert stored(parts) == {"a": [("1.0", T0 + 3)], "b": [("2.0", T0 + 3)]}
    assert report(parts)["scrape_series_added"] == "0.0"


def test_values_of_a_refused_page_are_never_sent(accelerated: bool) -> None:
    page = new_page(accelerated)
    ok(page, b"a 1\nb 2\nc 3\n")
    taken, _ = scrape(page, b"a 100\nb 2\nc oops\n", T0 + 1)
    assert taken.error == "line 3: not a number: 'oops'"
    assert ok(page, b"a 1\nb 2\nc 3\n", T0 + 2) == {
        "a": [("1.0", T0 + 2)],
        "b": [("2.0", T0 + 2)],
        "c": [("3.0", T0 + 2)],
    }


def test_a_page_that_breaks_off_ends_what_it_had_not_shown_yet(accelerated: bool) -> None:
    # As in Prometheus: series seen before the mistake count as seen, although no sample of them is stored.
    page = new_page(accelerated)
    ok(page, b"a 1\nb 2\nc 3\n")
    _, parts = scrape(page, b"a 1\nx{\nb 2\nc 3\n", T0 + 1)
    assert stored(parts) == {"b": [("stale", T0 + 1)], "c": [("stale", T0 + 1)]}
    assert report(parts) == report(parts) | {"up": "0.0", "scrape_samples_scraped": "1.0"}


def test_an_empty_page_is_a_scrape_that_went_well(accelerated: bool) -> None:
    page = new_page(accelerated)
    ok(page, b"a 1\n")
    _, parts = scrape(page, b"", T0 + 1, "")
    assert stored(parts) == {"a": [("stale", T0 + 1)]}
    assert report(parts)["up"] == "1.0"


def test_what_a_scrape_tells_about_itself(accelerated: bool) -> None:
    relabel = lambda labels: None if dict(labels)["__name__"] == "b" else labels  # noqa: E731
    page = new_page(
        accelerated,
        PageOptions(extra_reports=True, timeout_s=7.5, table=TableOptions(sample_limit=5)),
        Labelling(target=(("job", "j"),), relabel=relabel),
    )
    taken = drive(page.take(b"a 1\nb 2\nc 3\nc 4\n", "text/plain", T0))
    taken.duration_s = 0.25
    found = stored(drive(page.parts(taken)), reports=True)
    assert {name: samples for name, samples in found.items() if name[0] not in "ac"} == {
        'up{job="j"}': [("1.0", T0)],
        'scrape_duration_seconds{job="j"}': [("0.25", T0)],
        'scrape_samples_scraped{job="j"}': [("4.0", T0)],
        'scrape_samples_post_metric_relabeling{job="j"}': [("3.0", T0)],
        'scrape_series_added{job="j"}': [("2.0", T0)],
        'scrape_timeout_seconds{job="j"}': [("7.5", T0)],
        'scrape_sample_limit{job="j"}': [("5.0", T0)],
        'scrape_body_size_bytes{job="j"}': [("16.0", T0)],
    }
    assert taken.reading.duplicates == 1


def test_a_series_that_stands_twice_counts_with_its_first_value(accelerated: bool) -> None:
    page = new_page(accelerated)
    assert ok(page, b"a 1\na 2\n") == {"a": [("1.0", T0)]}
    assert ok(page, b"a 1\na 3\n", T0 + 1) == {"a": [("1.0", T0 + 1)]}
    assert ok(page, b"a 4\na 3\n", T0 + 2) == {"a": [("4.0", T0 + 2)]}
    assert ok(page, b"a 3\n", T0 + 3) == {"a": [("3.0", T0 + 3)]}


def test_two_texts_of_one_series_are_one_series(accelerated: bool) -> None:
    page = new_page(accelerated)
    assert ok(page, b'a{x="1",y="2"} 1\na{y="2",x="1"} 2\n') == {'a{x="1",y="2"}': [("1.0", T0)]}
    assert ok(page, b'a{y="2",x="1"} 3\n', T0 + 1) == {'a{x="1",y="2"}': [("3.0", T0 + 1)]}


def test_a_timestamp_of_its_own_is_kept_and_no_marker_ends_the_series(accelerated: bool) -> None:
    page = new_page(accelerated)
    assert ok(page, b"a 1 1000\nb 2\n") == {"a": [("1.0", 1000)], "b": [("2.0", T0)]}
    assert ok(page, b"a 1 1000\nb 2\n", T0 + 1) == {"b": [("2.0", T0 + 1)]}
    assert ok(page, b"a 3 2000\nb 2\n", T0 + 2) == {"a": [("3.0", 2000)], "b": [("2.0", T0 + 2)]}
    assert ok(page, b"b 2\n", T0 + 3) == {"b": [("2.0", T0 + 3)]}


def test_samples_that_go_back_in_time_or_contradict_are_dropped_and_counted(accelerated: bool) -> None:
    page = new_page(accelerated)
    ok(page, b"a 1 2000\n")
    taken, parts = scrape(page, b"a 1 1999\n", T0 + 1)
    assert (stored(parts), taken.reading.out_of_order) == ({}, 1)
    taken, parts = scrape(page, b"a 9 2000\n", T0 + 2)
    assert (stored(parts), taken.reading.duplicates) == ({}, 1)
    taken, parts = scrape(page, b"a 9 %d\n" % (T0 + 700_000), T0 + 3)
    assert (stored(parts), taken.reading.out_of_bounds) == ({}, 1)


def test_several_samples_of_one_series_on_one_page_are_sent_in_order(accelerated: bool) -> None:
    page = new_page(accelerated)
    assert ok(page, b"a 1 1000\na 2 2000\na 3 1500\n") == {"a": [("1.0", 1000), ("2.0", 2000)]}
    assert ok(page, b"a 1 1000\na 2 3000\na 3 1500\n", T0 + 1) == {"a": [("2.0", 3000)]}


def test_timestamps_may_be_ignored(accelerated: bool) -> None:
    page = new_page(accelerated, PageOptions(table=TableOptions(honor_timestamps=False)))
    assert ok(page, b"a 1 1000\n") == {"a": [("1.0", T0)]}
    assert ok(page, b"a 1 2000\n", T0 + 1) == {"a": [("1.0", T0 + 1)]}


def test_staleness_of_timestamped_series_may_be_tracked(accelerated: bool) -> None:
    page = new_page(accelerated, PageOptions(table=TableOptions(track_timestamps_staleness=True)))
    ok(page, b"a 1 1000\nb 2 1000\n")
    assert ok(page, b"b 2 1000\n", T0 + 1) == {"a": [("stale", T0 + 1)]}


def test_a_series_that_gains_a_timestamp_ends_at_the_scrape(accelerated: bool) -> None:
    page = new_page(accelerated)
    ok(page, b"a 1\n")
    assert sorted(ok(page, b"a 1 %d\n" % (T0 + 5), T0 + 9)["a"]) == [("1.0", T0 + 5), ("stale", T0 + 9)]
    assert ok(page, b"a 2\n", T0 + 20) == {"a": [("2.0", T0 + 20)]}


def test_target_labels_win_and_the_pages_own_are_exported(accelerated: bool) -> None:
    page = new_page(accelerated, labelling=Labelling(target=(("job", "t"),)))
    assert ok(page, b'a{job="p",exported_job="q"} 1\nb{job="p"} 1\n') == {
        'a{exported_exported_job="p",exported_job="q",job="t"}': [("1.0", T0)],
        'b{exported_job="p",job="t"}': [("1.0", T0)],
    }


def test_under_honor_labels_the_pages_own_win_and_an_empty_one_keeps_the_targets_away(accelerated: bool) -> None:
    page = new_page(accelerated, labelling=Labelling(target=(("job", "t"),), honor_labels=True))
    assert ok(page, b'a{job="p"} 1\nb{job=""} 1\nc 1\n') == {
        'a{job="p"}': [("1.0", T0)],
        "b": [("1.0", T0)],
        'c{job="t"}': [("1.0", T0)],
    }


@pytest.mark.parametrize("honor_labels", [False, True])
def test_the_clusters_label_is_the_clusters_alone(accelerated: bool, honor_labels: bool) -> None:
    external: Labels = (("cluster", "c1"), ("region", "eu"))
    page = new_page(
        accelerated,
        labelling=Labelling(target=(), honor_labels=honor_labels, external=external, cluster_label="cluster"),
    )
    assert ok(page, b'a{cluster="evil",region="us"} 1\nb{cluster="c1"} 1\n') == {
        'a{cluster="c1",exported_cluster="evil",region="us"}': [("1.0", T0)],
        'b{cluster="c1",region="eu"}': [("1.0", T0)],
    }


def test_relabelling_runs_once_for_each_series_text(accelerated: bool) -> None:
    seen: list[str] = []

    def relabel(labels: Labels) -> Labels | None:
        name = dict(labels)["__name__"]
        seen.append(name)
        return None if name == "drop" else labels

    page = new_page(accelerated, labelling=Labelling(target=(), relabel=relabel))
    for n in range(3):
        assert ok(page, b"a %d\ndrop %d\n" % (n, n), T0 + n) == {"a": [(f"{n}.0", T0 + n)]}
    ok(page, b"new 1\ndrop 7\na 1\n", T0 + 9)
    assert seen == ["a", "drop", "new"]


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (LabelLimits(labels=2), "label_limit exceeded (metric: a, number of labels: 3, limit: 2)"),
        (
            LabelLimits(name_bytes=8),
            "label_name_length_limit exceeded (metric: a, label name: a_longer_name, len",
        ),
        (LabelLimits(value_bytes=5), "label_value_length_limit exceeded (metric: a, label name: x, value: "),
    ],
)
def test_a_label_beyond_its_limit_fails_the_scrape(accelerated: bool, limits: LabelLimits, reason: str) -> None:
    page = new_page(accelerated, labelling=Labelling(target=(), limits=limits))
    taken, parts = scrape(page, b'a{x="much too long",a_longer_name="1"} 1\n')
    assert taken.error.startswith(reason) and stored(parts) == {}


@pytest.mark.parametrize("body", [b'a{x="1",x="2"} 1\n', b'{"a","x"="1",x="2"} 1\n'])
def test_a_label_name_that_stands_twice_fails_the_scrape(accelerated: bool, body: bytes) -> None:
    taken, _ = scrape(new_page(accelerated), body)
    assert "stands twice" in taken.error


def test_more_samples_than_the_limit_fail_the_scrape(accelerated: bool) -> None:
    page = new_page(accelerated, PageOptions(table=TableOptions(sample_limit=2)))
    ok(page, b"a 1\nb 2\n")
    taken, parts = scrape(page, b"a 1\nc 3\nb 2\n", T0 + 1)
    assert taken.error == "sample limit exceeded"
    # Prometheus has then seen `a` and `c`, and ends what it had not seen within the limit.
    assert stored(parts) == {"b": [("stale", T0 + 1)]}
    assert report(parts)["scrape_samples_scraped"] == "3.0"


def test_exemplars_travel_behind_the_samples_and_only_once(accelerated: bool) -> None:
    page = new_page(accelerated)
    body = b'# TYPE a counter\na_total %d # {trace_id="x"} 0.5 1600000000.123\nb 1 # {trace_id="y"} %d\n# EOF\n'
    _, parts = scrape(page, body % (1, 1), T0, OPENMETRICS)
    assert exemplars(parts) == [
        ("a_total", (("trace_id", "x"),), 0.5, 1_600_000_000_123),
        ("b", (("trace_id", "y"),), 1.0, T0),
    ]
    _, parts = scrape(page, body % (2, 1), T0 + 1, OPENMETRICS)
    assert exemplars(parts) == []
    _, parts = scrape(page, body % (3, 2), T0 + 2, OPENMETRICS)
    assert exemplars(parts) == [("b", (("trace_id", "y"),), 2.0, T0 + 2)]


def test_an_exemplar_is_sent_although_a_series_behind_it_is_new(accelerated: bool) -> None:
    page = new_page(accelerated)
    scrape(page, b"a 1\nb 1\nc 1\n# EOF\n", T0, OPENMETRICS)
    _, parts = scrape(page, b'a 2 # {id="x"} 1\nb 1\nd 1\n# EOF\n', T0 + 1, OPENMETRICS)
    assert exemplars(parts) == [("a", (("id", "x"),), 1.0, T0 + 1)]


def test_exemplars_that_no_store_takes_are_counted(accelerated: bool) -> None:
    page = new_page(accelerated)
    _, parts = scrape(page, b'a 1 # {x="' + b"y" * 128 + b'"} 1\n# EOF\n', T0, OPENMETRICS)
    assert exemplars(parts) == []
    assert page.take_dropped_exemplars() == 1


def test_metadata_is_sent_when_first_seen_when_changed_and_every_minute(accelerated: bool) -> None:
    page = new_page(accelerated)
    body = b"# HELP a one\n# TYPE a counter\na 1\n"
    assert metadata(scrape(page, body)[1]) == [{1: 1, 2: "a", 4: "one"}]
    assert metadata(scrape(page, body, T0 + 15_000)[1]) == []
    changed = b"# HELP a two\n# TYPE a counter\na 1\n"
    assert metadata(scrape(page, changed, T0 + 30_000)[1]) == [{1: 1, 2: "a", 4: "two"}]
    assert metadata(scrape(page, changed, T0 + 45_000)[1]) == []
    assert metadata(scrape(page, changed, T0 + 90_000)[1]) == [{1: 1, 2: "a", 4: "two"}]


def test_openmetrics_must_end_and_nothing_may_follow(accelerated: bool) -> None:
    page = new_page(accelerated)
    assert ok(page, b"a 1\n# EOF\n", T0, OPENMETRICS) == {"a": [("1.0", T0)]}
    for body in (b"a 1\n", b"a 1\n# EOF\nb 2\n", b"a 1\n# EOF\n# EOF\n", b"a 1# EOF\n", b"a 1"):
        assert scrape(page, body, T0 + 1, OPENMETRICS)[0].error
    assert ok(page, b"a 1\n# EOF", T0 + 2, OPENMETRICS) == {"a": [("1.0", T0 + 2)]}
    assert ok(page, b"# EOF\n", T0 + 3, OPENMETRICS) == {"a": [("stale", T0 + 3)]}


def test_a_target_may_change_its_format(accelerated: bool) -> None:
    page = new_page(accelerated)
    ok(page, b"#c\na 1\nb 1\n")
    assert ok(page, b"a 2\nb 1\n# EOF\n", T0 + 1, OPENMETRICS) == {"a": [("2.0", T0 + 1)], "b": [("1.0", T0 + 1)]}
    assert ok(page, b"#c\na 2\nb 1\n", T0 + 2) == {"a": [("2.0", T0 + 2)], "b": [("1.0", T0 + 2)]}


def test_a_label_value_may_hold_a_line_feed_in_text(accelerated: bool) -> None:
    page = new_page(accelerated)
    for n in range(3):
        assert ok(page, b'a{x="1\n2"} %d\nb 1\n' % n, T0 + n) == {
            'a{x="1\n2"}': [(f"{n}.0", T0 + n)],
            "b": [("1.0", T0 + n)],
        }


def test_bounds_stay_as_they_are_or_are_written_as_openmetrics_does(accelerated: bool) -> None:
    body = b'# TYPE h histogram\nh_bucket{le="1"} 1\n# TYPE g gauge\ng{le="1"} 1\n'
    assert set(ok(new_page(accelerated), body)) == {'h_bucket{le="1"}', 'g{le="1"}'}
    canonical = PageOptions(table=TableOptions(canonical_bounds=True))
    assert set(ok(new_page(accelerated, canonical), body)) == {'h_bucket{le="1.0"}', 'g{le="1"}'}


@pytest.mark.parametrize("content_type", ["", "application/json", "application/openmetrics-text; version=2.0.0"])
def test_a_content_type_that_names_no_format_fails_unless_there_is_a_fallback(
    accelerated: bool, content_type: str
) -> None:
    assert "fallback_scrape_protocol" in scrape(new_page(accelerated), b"a 1\n", T0, content_type)[0].error
    page = new_page(accelerated, PageOptions(fallback=Format.TEXT))
    assert ok(page, b"a 1\n", T0, content_type) == {"a": [("1.0", T0)]}


def test_requests_keep_within_samples_and_bytes(accelerated: bool) -> None:
    body = b"".join(b'metric{number="%d",long="%s"} %d\n' % (n, b"x" * 300, n) for n in range(3000))
    page = new_page(accelerated, PageOptions(max_samples=700, max_bytes=100_000))
    for turn in range(2):
        _, parts = scrape(page, body, T0 + turn)
        assert all(part.items <= 700 and part.raw_bytes <= 100_000 + 1000 for part in parts)
        assert len(stored(parts)) == 3000


def test_labels_may_be_longer_than_a_request(accelerated: bool) -> None:
    body = b"".join(b'm{n="%d",x="%s"} 1\n' % (n, b"x" * 70_000) for n in range(20))
    page = new_page(accelerated, PageOptions(max_bytes=200_000))
    for turn in range(2):
        assert len(ok(page, body, T0 + turn)) == 20


def test_a_target_that_goes_ends_its_series_and_its_reports(accelerated: bool) -> None:
    page = new_page(accelerated)
    ok(page, b"a 1\nb 2 1000\n")
    ended = stored(drive(page.close(T0 + 1)), reports=True)
    assert set(ended) == {
        "a",
        "up",
        "scrape_duration_seconds",
        "scrape_samples_scraped",
        "scrape_samples_post_metric_relabeling",
        "scrape_series_added",
    }
    assert set(map(tuple, ended.values())) == {(("stale", T0 + 1),)}


def test_what_a_successor_goes_on_with_does_not_end(accelerated: bool) -> None:
    before, after = new_page(accelerated), new_page(accelerated)
    ok(before, b"a 1\nb 2\n")
    ok(after, b"b 3\n", T0 + 1)
    assert stored(drive(before.close(T0 + 2, after)), reports=True) == {"a": [("stale", T0 + 2)]}


def test_a_page_that_exposes_a_report_series_keeps_its_own_sample(accelerated: bool) -> None:
    page = new_page(accelerated)
    _, parts = scrape(page, b"up 5\n")
    assert stored(parts, reports=True)["up"] == [("5.0", T0)]


@pytest.mark.parametrize("tail", ["", " 1000"])
def test_a_series_that_changes_places_or_is_shown_twice_has_not_been_added(accelerated: bool, tail: str) -> None:
    page = new_page(accelerated)

    def added(*names: str) -> int:
        body = "".join(f"{name} 1{tail}\n" for name in names)
        taken, _ = scrape(page, body.encode(), T0 + len(tail))
        assert not taken.error
        return taken.reading.added

    assert added("a", "b", "c", "d") == 4
    assert added("d", "a", "b", "c") == 0
    assert added("c", "d", "a", "b", "c") == 0
    assert added("x", "b", "c", "d", "a", "b") == 1
    assert added("a", "b") == 0
    assert added("x", "a", "b", "c") == 2
