"""Protobuf pages, scrape after scrape: what a page does not show ends, what it repeats costs nothing."""

import random
from collections.abc import Iterator
from typing import Any

import pytest

from agent.scrape.labelling import Labelling
from agent.scrape.page import PageOptions
from agent.scrape.table import TableOptions
from pipeline.wire.exposition import Format
from pipeline.wire.histogram import Shape
from tests.agent.scrape.pages import (
    IMPLEMENTATIONS,
    T0,
    exemplars,
    metadata,
    new_page,
    report,
    scrape,
    stored,
)
from tests.agent.scrape.test_page_against_model import Model, relabel
from tests.pipeline.wire.client_model import (
    CONTENT_TYPE,
    COUNTER,
    GAUGE,
    HISTOGRAM,
    SUMMARY,
    delimited,
    encode,
    family,
    labels,
)

pytestmark = pytest.mark.parametrize("accelerated", IMPLEMENTATIONS)
NATIVE = TableOptions(native_histograms=True)


def native(count: int = 2, **more: Any) -> dict[str, Any]:
    return {"sample_count": count, "sample_sum": 1, "schema": 3, "zero_threshold": 0.5, "zero_count": count, **more}


def histogram_page(*counts: int, exemplar: float | None = None) -> bytes:
    more: dict[str, Any] = {}
    if exemplar is not None:
        at = {"seconds": 1_700_000_000 + int(exemplar)}
        more["exemplars"] = [{"label": labels(id="x"), "value": exemplar, "timestamp": at}]
    metrics = ({"label": labels(n=str(n)), "histogram": native(count, **more)} for n, count in enumerate(counts))
    return encode(family("h", HISTOGRAM, *metrics, help="A histogram."), family("g", GAUGE, {"gauge": {"value": 1}}))


def kinds(found: dict[str, list[tuple[str, int]]]) -> dict[str, list[tuple[str, int]]]:
    """Leave out what a histogram holds."""
    return {
        name: [("histogram" if value.startswith("histogram") else value, at) for value, at in samples]
        for name, samples in found.items()
    }


def test_a_histogram_is_one_item_and_ends_with_a_histogram(accelerated: bool) -> None:
    page = new_page(accelerated, PageOptions(table=NATIVE))
    taken, parts = scrape(page, histogram_page(2, 3), content_type=CONTENT_TYPE)
    assert not taken.error
    assert kinds(stored(parts)) == {
        'h{n="0"}': [("histogram", T0)],
        'h{n="1"}': [("histogram", T0)],
        "g": [("1.0", T0)],
    }
    assert report(parts)["scrape_samples_scraped"] == "3.0"
    assert {1: 3, 2: "h", 4: "A histogram."} in metadata(parts)
    _, parts = scrape(page, histogram_page(5), T0 + 1, CONTENT_TYPE)
    assert kinds(stored(parts)) == {
        'h{n="0"}': [("histogram", T0 + 1)],
        'h{n="1"}': [("stale histogram", T0 + 1)],
        "g": [("1.0", T0 + 1)],
    }
    _, parts = scrape(page, b"", T0 + 2, CONTENT_TYPE)
    assert stored(parts) == {'h{n="0"}': [("stale histogram", T0 + 2)], "g": [("stale", T0 + 2)]}


def test_a_series_may_become_a_histogram_and_a_number_again(accelerated: bool) -> None:
    page = new_page(accelerated, PageOptions(table=NATIVE))
    number = encode(family("h", GAUGE, {"label": labels(n="0"), "gauge": {"value": 4}}))
    for at_ms, body, value in ((T0, number, "4.0"), (T0 + 1, histogram_page(1), "histogram"), (T0 + 2, number, "4.0")):
        _, parts = scrape(page, body, at_ms, CONTENT_TYPE)
        assert kinds(stored(parts))['h{n="0"}'] == [(value, at_ms)]


def test_a_target_may_change_its_format(accelerated: bool) -> None:
    page = new_page(accelerated, PageOptions(table=NATIVE))
    scrape(page, b"g 1\nt 2\n")
    _, parts = scrape(page, histogram_page(1), T0 + 1, CONTENT_TYPE)
    assert kinds(stored(parts)) == {
        'h{n="0"}': [("histogram", T0 + 1)],
        "g": [("1.0", T0 + 1)],
        "t": [("stale", T0 + 1)],
    }
    _, parts = scrape(page, b"g 1\n", T0 + 2)
    assert stored(parts) == {"g": [("1.0", T0 + 2)], 'h{n="0"}': [("stale", T0 + 2)]}


def test_exemplars_are_sent_once_and_never_older_ones(accelerated: bool) -> None:
    page = new_page(accelerated, PageOptions(table=NATIVE))
    seen = []
    for number, (count, exemplar) in enumerate([(1, 5.0), (2, 5.0), (3, 4.0), (4, 6.0), (4, 6.0)]):
        _, parts = scrape(page, histogram_page(count, exemplar=exemplar), T0 + number, CONTENT_TYPE)
        seen.append([(value, at_ms - T0) for _, _, value, at_ms in exemplars(parts)])
    assert seen == [[(5.0, 5000)], [], [], [(6.0, 6000)], []]


def test_an_exemplar_that_did_not_change_is_not_sent_again_and_holds_no_value_back(accelerated: bool) -> None:
    def body(value: float, trace: str) -> bytes:
        exemplar = {"value": 1, "label": labels(id=trace)}
        bucket = {"cumulative_count": int(value), "upper_bound": 1, "exemplar": exemplar}
        return encode(
            family("c", COUNTER, {"counter": {"value": value, "exemplar": exemplar}}),
            family("h", HISTOGRAM, {"histogram": {"sample_count": 9, "bucket": [bucket]}}),
        )

    page = new_page(accelerated, PageOptions(table=NATIVE))
    seen = []
    for number, (value, trace) in enumerate([(1.0, "a"), (2.0, "a"), (3.0, "b"), (3.0, "b")]):
        _, parts = scrape(page, body(value, trace), T0 + number, CONTENT_TYPE)
        found = stored(parts)
        assert [found["c"], found['h_bucket{le="1.0"}']] == [[(str(value), T0 + number)]] * 2
        seen.append([labels_of[0][1] for _, labels_of, _, _ in exemplars(parts)])
    assert seen == [["a", "a"], [], ["b", "b"], []]
    # A page that was refused may have had new exemplars: the next good one tells them.
    taken, parts = scrape(page, body(4.0, "c") + b"\x09", T0 + 5, CONTENT_TYPE)
    assert taken.error
    _, parts = scrape(page, body(4.0, "c"), T0 + 6, CONTENT_TYPE)
    assert [labels_of[0][1] for _, labels_of, _, _ in exemplars(parts)] == ["c", "c"]


def test_a_limit_of_buckets_lowers_the_resolution_and_then_refuses(accelerated: bool) -> None:
    def body(spread: int, count: int) -> bytes:
        content = native(
            count, sample_count=count + 2, positive_span=[{"offset": 1, "length": 1}, {"offset": spread, "length": 1}]
        )
        return encode(family("h", HISTOGRAM, {"histogram": content | {"positive_delta": [1, 0]}}))

    options = PageOptions(table=TableOptions(native_histograms=True, shape=Shape(bucket_limit=1)))
    page = new_page(accelerated, options)
    taken, parts = scrape(page, body(1, 1), content_type=CONTENT_TYPE)
    assert (taken.error, kinds(stored(parts))) == ("", {"h": [("histogram", T0)]})
    taken, parts = scrape(page, body(100_000, 1), T0 + 1, CONTENT_TYPE)
    assert taken.error == "histogram bucket limit exceeded"
    # A known series with a new value is refused as a new one is.
    scrape(page, body(1, 2), T0 + 2, CONTENT_TYPE)
    taken, parts = scrape(page, body(100_000, 3), T0 + 3, CONTENT_TYPE)
    assert (taken.error, report(parts)["up"]) == ("histogram bucket limit exceeded", "0.0")


def test_a_page_that_is_refused_names_the_histogram(accelerated: bool) -> None:
    page = new_page(accelerated, PageOptions(table=NATIVE))
    scrape(page, histogram_page(1), content_type=CONTENT_TYPE)
    broken = encode(family("h", HISTOGRAM, {"label": labels(n="0"), "histogram": native(1, sample_count=2)}))
    taken, parts = scrape(page, broken, T0 + 1, CONTENT_TYPE)
    assert taken.error == "histogram 'h': 1 observations found in buckets, but the Count field is 2"
    assert "g" in stored(parts)


VALUES: list[dict[str, Any]] = [{"value": 1.5}, {}, {"value": "NaN"}, {"value": -3}]
EXEMPLARS = [{}, {"exemplar": {"value": 2, "label": labels(id="a")}}]


def content(chance: random.Random, name: str) -> tuple[int, dict[str, Any]]:
    """Return a family's type and a value of it."""
    match name:
        case "counter":
            return COUNTER, {"counter": chance.choice(VALUES) | chance.choice(EXEMPLARS)}
        case "classic":
            bucket = {"cumulative_count": chance.randrange(3), "upper_bound": 1}
            return HISTOGRAM, {"histogram": {"sample_count": 3, "bucket": [bucket]}}
        case "native":
            return HISTOGRAM, {"histogram": native(chance.randrange(1, 4))}
        case "summary":
            quantile = [{"quantile": 0.5, "value": chance.randrange(3)}]
            return SUMMARY, {"summary": {"sample_count": chance.randrange(3), "quantile": quantile}}
        case _:
            return GAUGE, {"gauge": chance.choice(VALUES)}


def pages(chance: random.Random) -> Iterator[bytes]:
    names = ["counter", "classic", "native", "summary", "plain_3", "plain_5", "plain_6", "g"]
    series = [(chance.choice(names), chance.randrange(3)) for _ in range(8)]
    shown = {one: content(chance, one[0]) for one in series}
    for number in range(12):
        match chance.randrange(6):
            case 0:
                series.insert(chance.randrange(len(series) + 1), (chance.choice(names), chance.randrange(3)))
            case 1:
                del series[chance.randrange(len(series) + 1) :][:1]
            case 2:
                chance.shuffle(series)
            case 3:
                series = series[: chance.randrange(1, 9)]
        for one in series:
            if one not in shown or chance.random() < 0.3:
                shown[one] = content(chance, one[0])
        families = []
        for name, value in series:
            kind, metric = shown[name, value]
            at = {"timestamp_ms": 1000 + chance.choice([number, number, number - 1])} if value == 2 else {}
            families.append(family(name, kind, {"label": labels(n=str(value)), **metric, **at}))
        body = encode(*families)
        if chance.random() < 0.15:
            body += chance.choice([b"\x05", delimited(b"\x0a\x01n\x18\x09\x22\x00"), delimited(b"\x22\x02\x12\x05")])
        if body:
            yield body


@pytest.mark.parametrize("block", [1, 3, 10_000])
@pytest.mark.parametrize("honor_timestamps", [True, False])
def test_pages_that_change_at_random_are_stored_as_if_each_were_read_anew(
    accelerated: bool, block: int, honor_timestamps: bool
) -> None:
    for seed in range(60):
        chance = random.Random(seed)
        table = TableOptions(honor_timestamps=honor_timestamps, native_histograms=True)
        page = new_page(accelerated, PageOptions(table=table, max_samples=block), Labelling(target=(), relabel=relabel))
        model = Model(honor_timestamps)
        for number, body in enumerate(pages(chance)):
            at_ms = T0 + number * 1000
            good, expected = model.scrape(body, Format.PROTOBUF, at_ms)
            expected = {
                series: [("stale histogram" if series.startswith("native") and value == "stale" else value, at)]
                if len(samples) == 1
                else samples
                for series, samples in expected.items()
                for value, at in samples[:1]
            }
            taken, parts = scrape(page, body, at_ms, CONTENT_TYPE)
            found = {series: sorted(samples, key=lambda s: s[1]) for series, samples in stored(parts).items()}
            assert (not taken.error, found) == (good, expected), (seed, number, taken.error, body)
