import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.wire.errors import MalformedError
from pipeline.wire.protobuf import encode_bytes, encode_varint, fields
from pipeline.wire.remote_write import (
    Labels,
    decode,
    encode_exemplar,
    encode_labels,
    encode_metadata,
    encode_sample,
    encode_series,
)
from pipeline.wire.remote_write2 import SYMBOL, TIMESERIES, TooLargeError, family_of, from_v1, to_v1

ONE = struct.pack("<d", 1.0)
T = 1_790_000_000_000


def v1(labels: Labels, *tail: bytes) -> bytes:
    return encode_series(encode_labels(labels) + b"".join(tail))


def v2(symbols: list[str], *series: bytes) -> bytes:
    table = b"".join(encode_bytes(SYMBOL, symbol.encode()) for symbol in symbols)
    return table + b"".join(encode_bytes(TIMESERIES, content) for content in series)


def refs(*numbers: int) -> bytes:
    return encode_bytes(0x0A, b"".join(map(encode_varint, numbers)))


Described = tuple[Labels, list[tuple[bytes, int]], list[tuple[Labels, bytes, int]]]
"""A series: labels, samples (value, time), exemplars (labels, value, time)."""

UP: Labels = (("__name__", "up"), ("job", "a"))


def test_a_request_of_2_becomes_one_of_1() -> None:
    sample = encode_bytes(0x12, b"\x09" + ONE + b"\x10" + encode_varint(T) + b"\x18" + encode_varint(T - 9))
    exemplar = encode_bytes(0x22, refs(5, 6) + b"\x11" + ONE + b"\x18" + encode_varint(T))
    metadata = encode_bytes(0x2A, b"\x08\x02\x18\x07\x20\x08")
    symbols = ["", "__name__", "up", "job", "a", "trace_id", "abc", "Whether it is.", "ratio"]
    request = v2(symbols, refs(1, 2, 3, 4) + sample + exemplar + metadata)
    # The start timestamp is what 1.0 cannot say.
    series = v1(UP, encode_sample(ONE, T), encode_exemplar(encode_labels([("trace_id", "abc")]), ONE, T))
    assert to_v1(request) == series + encode_metadata(2, "up", "Whether it is.", "ratio")


def test_symbols_may_follow_the_series_and_references_may_be_unpacked() -> None:
    series = encode_bytes(TIMESERIES, b"\x08\x01\x08\x02\x08\x03\x08\x04" + encode_sample(ONE, T))
    table = v2(["", "__name__", "up", "job", "a"])
    assert to_v1(series + table) == v1(UP, encode_sample(ONE, T))


def test_a_native_histogram_passes_but_for_its_start_time() -> None:
    histogram = b"\x08\x05\x19" + ONE + b"\x20\x01\x5a\x02\x08\x02\x62\x01\x02\x78" + encode_varint(T)
    start = b"\x88\x01" + encode_varint(T - 100)
    custom = b"\x82\x01\x08" + ONE
    request = v2(["", "__name__", "h"], refs(1, 2) + encode_bytes(0x1A, histogram + custom + start))
    assert to_v1(request) == v1((("__name__", "h"),), encode_bytes(0x22, histogram + custom))


@pytest.mark.parametrize(
    ("name", "kind", "family"),
    [
        (b"up", 2, b"up"),
        (b"x_total", 1, b"x_total"),
        (b"h_bucket", 3, b"h"),
        (b"h_count", 3, b"h"),
        (b"h_sum", 5, b"h"),
        (b"x_sum", 1, b"x_sum"),
        (b"q_bucket", 5, b"q_bucket"),
    ],
)
def test_a_family_is_the_series_name_without_what_its_type_adds(name: bytes, kind: int, family: bytes) -> None:
    assert family_of(name, kind) == family


def test_a_familys_metadata_is_sent_with_each_of_its_series() -> None:
    sample = encode_sample(ONE, T)
    request = b"".join(v1((("__name__", name),), sample) for name in ("h_bucket", "h_sum", "other", "x_sum"))
    request += encode_metadata(3, "h", "A histogram.", "seconds") + encode_metadata(1, "x", "A counter.", "")
    back = to_v1(from_v1(request))
    assert back == request.replace(encode_metadata(1, "x", "A counter.", ""), b"")


def test_samples_and_histograms_of_a_series_are_kept_apart() -> None:
    histogram = encode_bytes(0x22, b"\x08\x05\x78" + encode_varint(T))
    exemplar = encode_exemplar(encode_labels([("a", "b")]), ONE, T)
    there = from_v1(v1(UP, encode_sample(ONE, T), histogram, exemplar))
    assert sum(tag == TIMESERIES for tag, *_ in fields(there)) == 2
    first, second = decode(to_v1(there))
    assert (len(first.samples), len(first.exemplars), len(first.histograms)) == (1, 1, 0)
    assert (len(second.samples), len(second.exemplars), len(second.histograms)) == (0, 0, 1)


def test_exemplars_alone_go_with_the_samples_of_their_series() -> None:
    exemplar = encode_exemplar(encode_labels([("a", "b")]), ONE, T)
    request = v1(UP, exemplar) + v1(UP, encode_sample(ONE, T)) + v1((("__name__", "lonely"),), exemplar)
    assert to_v1(from_v1(request)) == v1(UP, encode_sample(ONE, T), exemplar)


def test_every_text_is_in_the_symbols_once_behind_the_empty_one() -> None:
    request = b"".join(v1((("__name__", "up"), ("n", str(n))), encode_sample(ONE, T)) for n in (1, 2, 1))
    table = [request2[a:b] for request2 in [from_v1(request)] for tag, _, a, b in fields(request2) if tag == SYMBOL]
    assert table == [b"", b"__name__", b"up", b"n", b"1", b"2"]


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (v2([""], refs(1, 2)), "symbol 1 of 1"),
        (v2(["", "a"], refs(1)), "odd number"),
        (v2(["", "a"], encode_bytes(0x0A, b"\xff")), "varint"),
        (v2([""], encode_bytes(0x2A, b"\x18\x07")), "symbol 7 of 1"),
        (v1(UP, encode_sample(ONE, T)), "a field of prometheus.WriteRequest"),
        (b"\x2a\x09", "beyond the end"),
    ],
)
def test_what_is_no_request_of_2_is_malformed(request_: bytes, reason: str) -> None:
    with pytest.raises(MalformedError, match=reason) as raised:
        to_v1(request_)
    assert raised.value.position is not None


def test_a_symbol_that_is_repeated_without_end_is_stopped_in_time() -> None:
    bomb = v2(["", "n", "x" * 100_000], *[refs(*[1, 2] * 1000)] * 1000)
    with pytest.raises(TooLargeError, match="more than 1000000 bytes"):
        to_v1(bomb, max_bytes=1_000_000)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
label_sets = st.dictionaries(texts.filter(bool), texts, min_size=1, max_size=4).map(lambda found: sorted(found.items()))
doubles = st.floats(allow_nan=True).map(lambda value: struct.pack("<d", value))
times = st.integers(-(2**63), 2**63 - 1)
one_series = st.tuples(
    label_sets,
    st.lists(st.tuples(doubles, times), min_size=1, max_size=3),
    st.lists(st.tuples(label_sets, doubles, times), max_size=2),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(one_series, max_size=5))
def test_what_goes_to_2_and_back_is_the_same_bytes(described: list[Described]) -> None:
    request = b"".join(
        v1(
            labels,
            *(encode_sample(value, time_ms) for value, time_ms in samples),
            *(encode_exemplar(encode_labels(own), value, time_ms) for own, value, time_ms in exemplars),
        )
        for labels, samples, exemplars in described
    )
    assert to_v1(from_v1(request)) == request
