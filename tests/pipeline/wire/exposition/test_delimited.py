"""Protobuf pages that the official runtime wrote: taken apart, read, and both the same with and without a compiler."""

import math
import struct
from typing import Any

import pytest
from google.protobuf.message import Message
from hypothesis import assume, example, given
from hypothesis import strategies as st

from pipeline.wire.errors import MalformedError
from pipeline.wire.exposition import Delimited, DelimitedLines, Format, Head, MetricType, Sample, entries
from pipeline.wire.exposition.delimited import ACCELERATED, ReadFamily, key_of, read_family_accelerated
from pipeline.wire.exposition.delimited_family import Wanted, read_family
from pipeline.wire.exposition.numbers import format_openmetrics
from pipeline.wire.histogram import InvalidHistogramError
from pipeline.wire.histogram_read import read_written
from tests.pipeline.wire.client_model import (
    COUNTER,
    GAUGE,
    GAUGE_HISTOGRAM,
    HISTOGRAM,
    MESSAGES,
    SUMMARY,
    UNTYPED,
    decode,
    delimited,
    encode,
    family,
    labels,
)

IMPLEMENTATIONS = [
    pytest.param(read_family, id="plain"),
    pytest.param(
        read_family_accelerated,
        id="accelerated",
        marks=pytest.mark.skipif(not ACCELERATED, reason="the accelerator was not built"),
    ),
]

doubles = st.floats(width=64)
counts = st.integers(0, 2**63)
texts = st.text(st.characters(codec="utf-8"), max_size=150)
timestamps = st.none() | st.fixed_dictionaries(
    {"seconds": st.integers(-(10**9), 10**11), "nanos": st.integers(0, 10**9 - 1)}
)
label_lists = st.lists(st.fixed_dictionaries({"name": texts, "value": texts}), max_size=4)
exemplars = st.fixed_dictionaries({"label": label_lists, "value": doubles, "timestamp": timestamps})
buckets = st.fixed_dictionaries(
    {"upper_bound": doubles},
    optional={"cumulative_count": counts, "cumulative_count_float": doubles, "exemplar": exemplars},
)
spans = st.lists(st.fixed_dictionaries({"offset": st.integers(-50, 50), "length": st.integers(0, 4)}), max_size=3)
deltas = st.lists(st.integers(-5, 5), max_size=8)
histograms = st.fixed_dictionaries(
    {},
    optional={
        "sample_count": counts,
        "sample_count_float": doubles,
        "sample_sum": doubles,
        "bucket": st.lists(buckets, max_size=4),
        "start_timestamp": timestamps,
        "schema": st.integers(-6, 10),
        "zero_threshold": doubles,
        "zero_count": st.integers(0, 3),
        "positive_span": spans,
        "positive_delta": deltas,
        "negative_span": spans,
        "negative_count": st.lists(doubles, max_size=3),
        "exemplars": st.lists(exemplars, max_size=2),
    },
)
numbers = st.fixed_dictionaries({}, optional={"value": doubles})
values = {
    COUNTER: ("counter", st.fixed_dictionaries({}, optional={"value": doubles, "exemplar": exemplars})),
    GAUGE: ("gauge", numbers),
    UNTYPED: ("untyped", numbers),
    HISTOGRAM: ("histogram", histograms),
    GAUGE_HISTOGRAM: ("histogram", histograms),
    SUMMARY: (
        "summary",
        st.fixed_dictionaries(
            {"quantile": st.lists(st.fixed_dictionaries({"quantile": doubles, "value": doubles}), max_size=3)},
            optional={"sample_count": counts, "sample_sum": doubles},
        ),
    ),
}


def build(message: Message, content: dict[str, Any]) -> Message:
    """Set a message's fields; protobuf's JSON would be slower, and has no place for a double's NaN payload."""
    for name, value in content.items():
        if isinstance(value, dict):
            build(getattr(message, name), value)
            getattr(message, name).SetInParent()
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for one in value:
                build(getattr(message, name).add(), one)
        elif isinstance(value, list):
            getattr(message, name).extend(value)
        elif value is not None:
            setattr(message, name, value)
    return message


@st.composite
def families(draw: st.DrawFn) -> bytes:
    kind = draw(st.sampled_from(sorted(values)))
    name, contents = values[kind]
    metric = st.fixed_dictionaries(
        {"label": label_lists}, optional={name: contents, "timestamp_ms": st.integers(-(2**62), 2**62)}
    )
    content = {"name": draw(texts), "help": draw(texts), "type": kind, "metric": draw(st.lists(metric, max_size=4))}
    syntax = draw(st.sampled_from(["proto2", "proto3"]))
    return build(MESSAGES[syntax]["MetricFamily"](), content).SerializeToString()


def outcome(read: ReadFamily, raw: bytes, wanted: Wanted) -> tuple[list[bytes], str]:
    lines: list[bytes] = []
    try:
        for _ in read(raw, wanted, lines):
            pass
    except (MalformedError, IndexError) as error:
        return lines, type(error).__name__
    return lines, ""


@pytest.mark.skipif(not ACCELERATED, reason="the accelerator was not built")
@given(families(), st.booleans(), st.booleans())
def test_both_implementations_give_the_same_lines(raw: bytes, native: bool, classic_too: bool) -> None:
    wanted = Wanted(native, classic_too)
    assert outcome(read_family_accelerated, raw, wanted) == outcome(read_family, raw, wanted)


@pytest.mark.skipif(not ACCELERATED, reason="the accelerator was not built")
@given(families(), st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=4), st.integers(0, 10**6))
@example(b"\x0a\x01n\x22\x0a", [], 0)
def test_both_refuse_the_same_of_what_is_broken(raw: bytes, changes: list[tuple[int, int]], cut: int) -> None:
    broken = bytearray(raw)
    for at, byte in changes:
        if broken:
            broken[at % len(broken)] = byte
    del broken[len(broken) - cut % 4 if cut % 4 < len(broken) else 0 :]
    got = outcome(read_family_accelerated, bytes(broken), Wanted())
    assert got == outcome(read_family, bytes(broken), Wanted())


@given(st.lists(families(), max_size=4), st.binary(max_size=3))
def test_any_page_is_read_or_refused_and_every_line_names_its_series(contents: list[bytes], rest: bytes) -> None:
    page = b"".join(map(delimited, contents)) + rest
    reader = DelimitedLines()
    try:
        for some in Delimited().lines(page, len(page)):
            for line in some:
                entry = reader.read(line)
                assert key_of(line) == (entry.series if isinstance(entry, Sample) else line)
    except MalformedError:
        pass


@pytest.mark.parametrize("read", IMPLEMENTATIONS)
@given(raw=families())
def test_numbers_are_what_the_official_runtime_reads(read: ReadFamily, raw: bytes) -> None:
    told: Any = next(iter(decode(delimited(raw))))
    # A label without a name is for the labelling to refuse.
    assume(all(label.name for metric in told.metric for label in metric.label))
    lines, reason = outcome(read, raw, Wanted(native=False))
    assert not reason
    reader = DelimitedLines()
    found = [reader.read(line) for line in lines[1:]] if told.name else []
    samples = [(sorted(one.labels), one.value, one.timestamp_ms) for one in found if isinstance(one, Sample)]
    assert samples == (list(expected(told)) if told.name else [])


def expected(told: Any) -> Any:
    """Yield what Prometheus' parser makes of a family without its native histograms: labels, value, time."""
    for metric in told.metric:
        pairs = [(label.name, label.value) for label in metric.label]
        at_ms = metric.timestamp_ms or None

        def one(suffix: str, value: float, *more: tuple[str, str]) -> Any:
            name = ("__name__", told.name + suffix)
            return sorted([*pairs, name, *more]), struct.pack("<d", value), at_ms  # noqa: B023 # used at once

        if told.type == SUMMARY:
            yield one("_count", metric.summary.sample_count)
            yield one("_sum", metric.summary.sample_sum)
            for quantile in metric.summary.quantile:
                yield one("", quantile.value, ("quantile", format_openmetrics(quantile.quantile)))
        elif told.type in (HISTOGRAM, GAUGE_HISTOGRAM):
            count = metric.histogram.sample_count_float or metric.histogram.sample_count
            yield one("_count", count)
            yield one("_sum", metric.histogram.sample_sum)
            for bucket in metric.histogram.bucket:
                value = bucket.cumulative_count_float or bucket.cumulative_count
                yield one("_bucket", value, ("le", format_openmetrics(bucket.upper_bound)))
                if bucket.upper_bound == math.inf:
                    break
            else:
                yield one("_bucket", count, ("le", "+Inf"))
        else:
            yield one("", {COUNTER: metric.counter, GAUGE: metric.gauge}.get(told.type, metric.untyped).value)


@pytest.mark.parametrize("read", IMPLEMENTATIONS)
def test_an_unchanged_family_gives_the_very_same_lines(read: ReadFamily) -> None:
    a, b = (family(name, GAUGE, {"gauge": {"value": 1}}) for name in "ab")
    reader = Delimited(Wanted(), read)
    page = encode(a, b)
    ((_, first, _, second),) = reader.lines(page, len(page))
    page = encode(a, family("b", GAUGE, {"gauge": {"value": 2}}), family("c", COUNTER))
    ((_, again, _, other),) = reader.lines(page, len(page))
    assert again is first
    assert (key_of(other), other) == (key_of(second), other) != (key_of(second), second)


def sample(content: dict[str, Any], kind: int = HISTOGRAM) -> Sample:
    page = encode(family("n", kind, {"label": labels(a="b"), "histogram": content}, help="h", unit="s"))
    head, found = entries(page, Format.PROTOBUF)
    assert head == Head("n", "h", MetricType.HISTOGRAM if kind == HISTOGRAM else MetricType.GAUGEHISTOGRAM, "s")
    assert isinstance(found, Sample)
    return found


def test_a_native_histogram_becomes_what_remote_write_carries() -> None:
    content = {
        "sample_count": 6,
        "sample_sum": 2.5,
        "schema": -1,
        "zero_threshold": 0.5,
        "zero_count": 1,
        "positive_span": [{"offset": -2, "length": 3}, {"offset": 1, "length": 1}],
        "positive_delta": [1, -1, 2, 0],
    }
    found = sample(content, GAUGE_HISTOGRAM)
    assert (found.labels, found.timestamp_ms) == ((("__name__", "n"), ("a", "b")), None)
    histogram, _ = read_written(found.value)
    assert histogram.positive == [(-2, 1), (0, 2), (2, 2)]
    assert (histogram.count, histogram.sum, histogram.schema) == (6, struct.pack("<d", 2.5), -1)
    assert (histogram.zero_threshold, histogram.zero_count, histogram.reset_hint) == (0.5, 1, 3)
    # Empty buckets are left out, so that there are three spans now.
    assert found.value.count(b"\x5a\x04") == 3


def test_exemplars_of_a_native_histogram_have_timestamps_and_their_order() -> None:
    def exemplar(value: float, seconds: int | None) -> dict[str, Any]:
        at = {} if seconds is None else {"timestamp": {"seconds": seconds, "nanos": 500_999_999}}
        return {"label": labels(id=str(value)), "value": value, **at}

    native = {"sample_count": 1, "zero_count": 1}
    own = sample(native | {"exemplars": [exemplar(2, 9), exemplar(3, None), exemplar(1, 4)]}).exemplars
    assert [(one.labels, one.timestamp_ms) for one in own] == [((("id", "1"),), 4500), ((("id", "2"),), 9500)]
    classic = [{"upper_bound": 1, "exemplar": exemplar(4, 7)}, {"upper_bound": 2, "exemplar": exemplar(5, None)}]
    assert [one.timestamp_ms for one in sample(native | {"bucket": classic}).exemplars] == [7500]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"sample_count": 2, "zero_count": 1}, "1 observations found in buckets, but the Count field is 2"),
        ({"zero_count": 1, "sample_count": 1, "schema": 9}, "histogram has an invalid schema"),
    ],
)
def test_what_no_store_takes_is_refused_by_name(content: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidHistogramError, match=f"histogram 'n': {reason}"):
        sample(content)


@pytest.mark.parametrize("read", IMPLEMENTATIONS)
@pytest.mark.parametrize("kind", [HISTOGRAM, SUMMARY])
def test_buckets_of_two_bytes_do_not_multiply_a_label_of_a_megabyte(read: ReadFamily, kind: int) -> None:
    name, parts = ("histogram", "bucket") if kind == HISTOGRAM else ("summary", "quantile")
    content: dict[str, Any] = {parts: [{} for _ in range(1_000)]}
    page = encode(family("n", kind, {"label": labels(a="x" * 1_000_000), name: content}))
    with pytest.raises(MalformedError, match="a metric whose series take more than 16777216 bytes"):
        list(Delimited(Wanted(), read).lines(page, len(page)))


@pytest.mark.parametrize("read", IMPLEMENTATIONS)
def test_a_page_whose_lines_take_too_much_is_refused_while_it_is_read(read: ReadFamily) -> None:
    content = {"label": labels(a="x" * 100), "histogram": {"bucket": [{} for _ in range(100)]}}
    many, more = (encode(family(name, HISTOGRAM, *[content] * 100)) for name in ("n", "m"))
    reader = Delimited(Wanted(), read, max_bytes=2_000_000)
    found: list[bytes] = []
    for some in reader.lines(many, len(many)):
        found += some
    assert len(found) == 100 * 103 + 1
    seen = 0
    with pytest.raises(MalformedError, match="the series of this page take more than 2000000 bytes"):
        for some in reader.lines(many + more, len(many + more)):
            seen += len(some)
    assert seen >= len(found)


def test_a_span_of_a_few_bytes_takes_no_memory() -> None:
    with pytest.raises(MalformedError, match="a span of 4294967295 buckets"):
        sample({"positive_span": [{"length": 2**32 - 1}]})
