"""Native histograms: what is read, kept and written, both with and without a compiler."""

import math
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.wire.errors import MalformedError
from pipeline.wire.exposition.delimited import ACCELERATED, convert_accelerated
from pipeline.wire.exposition.delimited_read import Convert
from pipeline.wire.histogram import (
    MAX_SCHEMA,
    MIN_SCHEMA,
    STALE_HISTOGRAM,
    BucketLimitError,
    Histogram,
    InvalidHistogramError,
    Shape,
    schema_for,
    spans,
)
from pipeline.wire.histogram_read import convert_exposed, read_written
from pipeline.wire.remote_write import STALE_NAN
from tests.pipeline.wire.client_model import MESSAGES
from tests.pipeline.wire.exposition.test_delimited import build, histograms

shapes = st.builds(Shape, st.integers(0, 6), st.integers(MIN_SCHEMA, MAX_SCHEMA))
syntaxes = st.sampled_from(["proto2", "proto3"])


@st.composite
def sides(draw: st.DrawFn) -> tuple[list[dict[str, int]], list[int]]:
    """Return spans, some without length, and the counts of their buckets, some of them empty."""
    found = draw(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 4)), max_size=6))
    first = draw(st.integers(-300, 300))
    lengths = sum(length for _, length in found)
    counts = draw(st.lists(st.integers(0, 3) | st.integers(0, 2**40), min_size=lengths, max_size=lengths))
    offsets = [first, *(gap for gap, _ in found[1:])]
    return [{"offset": offset, "length": length} for offset, (_, length) in zip(offsets, found, strict=False)], counts


@st.composite
def valid(draw: st.DrawFn) -> dict[str, Any]:
    """Return a histogram in integers that adds up."""
    (negative, below), (positive, above) = draw(sides()), draw(sides())
    zero = draw(st.integers(0, 3))
    return {
        "sample_count": sum(below) + sum(above) + zero,
        "sample_sum": draw(st.floats(allow_nan=False)),
        "schema": draw(st.integers(MIN_SCHEMA, MAX_SCHEMA)),
        "zero_threshold": draw(st.sampled_from([0.0, 1e-9, 2.5])),
        "zero_count": zero,
        "negative_span": negative,
        "negative_delta": [count - before for count, before in zip(below, [0, *below], strict=False)],
        "positive_span": positive,
        "positive_delta": [count - before for count, before in zip(above, [0, *above], strict=False)],
    }


def encoded(content: dict[str, Any], syntax: str = "proto3") -> bytes:
    return build(MESSAGES[syntax]["Histogram"](), content).SerializeToString()


def outcome(convert: Convert, data: bytes, gauge: bool, shape: Shape) -> bytes | str:
    try:
        return convert(b"x" + data + b"y", 1, 1 + len(data), gauge, shape)
    except (MalformedError, BucketLimitError) as error:
        return f"{type(error).__name__} {error}"


@pytest.mark.skipif(not ACCELERATED, reason="the accelerator was not built")
@given(valid() | histograms, st.booleans(), shapes, syntaxes)
def test_both_implementations_write_the_same(content: dict[str, Any], gauge: bool, shape: Shape, syntax: str) -> None:
    data = encoded(content, syntax)
    assert outcome(convert_accelerated, data, gauge, shape) == outcome(convert_exposed, data, gauge, shape)


@pytest.mark.skipif(not ACCELERATED, reason="the accelerator was not built")
@given(valid(), st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=3), syntaxes)
def test_both_refuse_the_same_of_what_is_broken(
    content: dict[str, Any], changes: list[tuple[int, int]], syntax: str
) -> None:
    data = bytearray(encoded(content, syntax))
    for at, byte in changes:
        if data:
            data[at % len(data)] = byte
    both = [outcome(convert, bytes(data), False, Shape()) for convert in (convert_accelerated, convert_exposed)]
    assert both[0] == both[1]


@given(valid(), st.booleans())
def test_what_is_written_is_read_again(content: dict[str, Any], gauge: bool) -> None:
    data = encoded(content)
    histogram, at_ms = read_written(convert_exposed(data, 0, len(data), gauge, Shape()) + b"\x78\x05")
    assert at_ms == 5
    assert (histogram.count, histogram.schema) == (content["sample_count"], content["schema"])
    assert histogram.sum == struct.pack("<d", content["sample_sum"])
    assert (histogram.zero_count, histogram.reset_hint) == (content["zero_count"], 3 if gauge else 0)
    for side in ("negative", "positive"):
        index, want = 0, []
        counts = iter(content[f"{side}_delta"])
        count = 0
        for span in content[f"{side}_span"]:
            index += span["offset"]
            for _ in range(span["length"]):
                count += next(counts)
                want += [(index, count)] if count else []
                index += 1
        assert getattr(histogram, side) == want


@given(valid(), shapes)
def test_a_lower_resolution_keeps_every_observation(content: dict[str, Any], shape: Shape) -> None:
    data = encoded(content)
    try:
        reduced, _ = read_written(convert_exposed(data, 0, len(data), False, shape))
    except BucketLimitError:
        return
    assert reduced.schema <= min(shape.max_schema, content["schema"])
    assert not shape.bucket_limit or len(reduced.negative) + len(reduced.positive) <= shape.bucket_limit
    whole, _ = read_written(convert_exposed(data, 0, len(data), False, Shape()))
    width = 2.0 ** (whole.schema - reduced.schema)
    for before, after in ((whole.negative, reduced.negative), (whole.positive, reduced.positive)):
        assert sum(count for _, count in after) == sum(count for _, count in before)
        # A bucket ends where those that it holds end, or later: index / 2**schema is the bound's logarithm.
        assert {math.ceil(index / width) for index, _ in before} == {index for index, _ in after}


def test_spans_are_the_runs_of_buckets() -> None:
    assert list(spans([(-3, 1), (-2, 1), (1, 1), (2, 1), (3, 1), (9, 1)])) == [(-3, 2), (2, 3), (5, 1)]
    assert list(spans([])) == []


def test_a_stale_histogram_is_an_empty_one_with_the_stale_sum() -> None:
    assert Histogram(sum=STALE_NAN).encode() == STALE_HISTOGRAM
    assert len(STALE_HISTOGRAM) > 8, "values of eight bytes are numbers"
    assert read_written(STALE_HISTOGRAM) == (Histogram(sum=STALE_NAN), 0)


def test_custom_buckets_of_others_are_read() -> None:
    written = Histogram(count=3, schema=-53, positive=[(0, 1), (2, 2)], custom=(0.5, 1.0)).encode()
    histogram, _ = read_written(written)
    assert (histogram.custom, histogram.positive) == ((0.5, 1.0), [(0, 1), (2, 2)])


@pytest.mark.parametrize(
    ("factor", "schema"), [(0, 8), (1, 8), (1.002, 8), (1.1, 2), (1.5, 0), (2, 0), (4, -1), (65536, -4), (1e9, -4)]
)
def test_the_factor_that_buckets_grow_by_is_a_schema(factor: float, schema: int) -> None:
    assert schema_for(factor) == schema


def test_a_histogram_that_contradicts_itself_is_refused() -> None:
    with pytest.raises(InvalidHistogramError, match="3 observations found in buckets, but the Count field is 2"):
        Histogram(count=2, zero_count=3).check()
    nan = struct.pack("<d", math.nan)
    Histogram(count=4, zero_count=3, sum=nan).check()  # observations of NaN are in no bucket
    Histogram(is_float=True, count=4, zero_count=3.5).check()
    with pytest.raises(InvalidHistogramError, match="negative side: bucket number 2"):
        Histogram(negative=[(0, 1), (4, -1)]).check()
