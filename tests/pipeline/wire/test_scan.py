import contextlib
import struct
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.wire.errors import MalformedError
from pipeline.wire.protobuf import encode_bytes, encode_varint
from pipeline.wire.remote_write import (
    decode,
    encode_exemplar,
    encode_labels,
    encode_metadata,
    encode_sample,
    encode_series,
)
from pipeline.wire.scan import Found, Kind, Known, Memory, Scan, scan_accelerated, scan_plain
from tests.pipeline.wire.damage import damaged

VALUE = struct.pack("<d", 1.5)
TIME_MS = 1_790_000_000_000
SAMPLE = encode_sample(VALUE, TIME_MS)
NAME = ("__name__", "up")
C1, C2 = ("cluster", "c1"), ("cluster", "c2")


def known() -> Known:
    return Known(Memory(1 << 20))


def twice(scan: Scan) -> Callable[[bytes], Found]:
    """Scan with a memory that has seen the same bytes before, and hold both scans to the same result."""

    def run(data: bytes) -> Found:
        memory = known()
        first = scan(data, b"cluster", b"c1", memory)
        assert scan(data, b"cluster", b"c1", memory) == first
        return first

    return run


@pytest.fixture(params=["plain", "accelerated"])
def scan(request: pytest.FixtureRequest) -> Callable[[bytes], Found]:
    if request.param == "plain":
        return twice(scan_plain)
    if scan_accelerated is None:
        pytest.skip("the accelerator is not built")
    return twice(scan_accelerated)


def series(*labels: tuple[str, str], tail: bytes = SAMPLE) -> bytes:
    return encode_series(encode_labels(labels) + tail)


def label(name: bytes, value: bytes) -> bytes:
    return encode_bytes(0x0A, encode_bytes(0x0A, name) + encode_bytes(0x12, value))


GOOD = label(b"__name__", b"up") + label(b"cluster", b"c1")


def test_a_request_of_the_clusters_own_series_passes_with_its_counts(scan: Callable[[bytes], Found]) -> None:
    exemplar = encode_exemplar(encode_labels([("trace_id", "x")]), VALUE, TIME_MS)
    histogram = encode_bytes(0x22, b"\x08\x01\x78" + encode_varint(TIME_MS + 9))
    data = (
        series(NAME, C1, ("job", "a"))
        + series(NAME, C1, ("job", "b"), tail=encode_sample(VALUE, TIME_MS - 5) + SAMPLE + exemplar)
        + series(NAME, C1, ("job", "h"), tail=histogram)
        + encode_metadata(1, "up", "Whether it is.", "")
    )
    assert scan(data) == Found(3, 3, 1, 1, 1, TIME_MS - 5, TIME_MS + 9, ())


def test_an_empty_request_holds_nothing(scan: Callable[[bytes], Found]) -> None:
    assert scan(b"") == Found(0, 0, 0, 0, 0, 0, 0, ())


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (encode_labels([NAME, C2]) + SAMPLE, Kind.FOREIGN),
        (encode_labels([NAME, ("cluster", "c11")]) + SAMPLE, Kind.FOREIGN),
        (encode_labels([NAME, ("cluster", "c")]) + SAMPLE, Kind.FOREIGN),
        (encode_labels([NAME]) + SAMPLE, Kind.UNLABELLED),
        (encode_labels([NAME, ("cluster", "")]) + SAMPLE, Kind.UNLABELLED),
        (encode_labels([NAME, ("clusters", "c1")]) + SAMPLE, Kind.UNLABELLED),
        (encode_labels([NAME, ("x", "\n\x07cluster\x12\x02c1")]) + SAMPLE, Kind.UNLABELLED),
        (encode_labels([NAME, C1, C2]) + SAMPLE, Kind.REPEATED),
        (encode_labels([NAME, C1, C1]) + SAMPLE, Kind.REPEATED),
        (encode_labels([NAME, C1, ("a", "1"), ("b", "1"), ("a", "1")]) + SAMPLE, Kind.REPEATED),
        (encode_labels([NAME, C1]) + SAMPLE + encode_labels([C2]), Kind.REPEATED),
        (encode_labels([NAME]) + SAMPLE + encode_labels([C2]), Kind.FOREIGN),
        (encode_labels([C1]) + SAMPLE, Kind.NAMELESS),
        (encode_labels([("__name__", ""), C1]) + SAMPLE, Kind.NAMELESS),
        (encode_labels([NAME, ("", "x"), C1]) + SAMPLE, Kind.NAMELESS),
        (encode_labels([NAME]) + b"\x0a\x09\x0a\x07cluster" + SAMPLE, Kind.UNLABELLED),
        (SAMPLE, Kind.NAMELESS),
        (b"", Kind.NAMELESS),
    ],
)
def test_a_series_that_is_not_simply_the_clusters_is_an_exception(
    scan: Callable[[bytes], Found], content: bytes, kind: Kind
) -> None:
    before, after = series(NAME, C1), series(NAME, C1, ("z", "1"))
    odd = encode_series(content)
    found = scan(before + odd + after)
    assert [one[:3] for one in found.exceptions] == [(len(before), len(before) + len(odd), kind)]
    assert found.series == 3


def test_labels_may_stand_in_any_order_and_behind_samples(scan: Callable[[bytes], Found]) -> None:
    data = series(("z", "1"), C1, NAME) + encode_series(encode_labels([NAME]) + SAMPLE + encode_labels([C1]))
    assert scan(data).exceptions == ()
    # The value of a label before its name, and a length written longer than needed: the same to every parser.
    swapped = encode_bytes(0x0A, b"\x12\x02c1\x0a\x07cluster")
    assert scan(encode_series(label(b"__name__", b"up") + swapped + SAMPLE)).exceptions == ()
    padded = b"\x0a\x8d\x80\x00" + b"\x0a\x07cluster\x12\x02c1"
    assert scan(encode_series(label(b"__name__", b"up") + padded + SAMPLE)).exceptions == ()


def test_texts_longer_than_a_byte_of_length_and_not_of_ascii_are_read(scan: Callable[[bytes], Found]) -> None:
    long = "é" * 300
    data = series(NAME, C1, ("path", long)) + series(NAME, C1, ("n" * 200, "x" * 20_000))
    assert scan(data).exceptions == ()
    assert scan(series(NAME, ("cluster", "c1é"))).exceptions[0].kind is Kind.FOREIGN


def test_a_sample_is_counted_however_it_is_written(scan: Callable[[bytes], Found]) -> None:
    tails = [
        b"\x12\x00",
        b"\x12\x09\x09" + VALUE,
        b"\x12\x07\x10" + encode_varint(TIME_MS),
        encode_bytes(0x12, b"\x10" + encode_varint(TIME_MS) + b"\x09" + VALUE),
        encode_sample(VALUE, -1),
        encode_sample(VALUE, 0),
        encode_bytes(0x12, b"\x10\x05\x10" + encode_varint(TIME_MS)),
    ]
    times = [0, 0, TIME_MS, TIME_MS, -1, 0, TIME_MS]
    for tail, time_ms in zip(tails, times, strict=True):
        found = scan(series(NAME, C1, tail=tail))
        assert (found.samples, found.earliest_ms, found.latest_ms) == (1, time_ms, time_ms)


@pytest.mark.parametrize(
    "data",
    [
        b"\x08\x01",  # a field that WriteRequest does not have
        b"\x12\x00",
        b"\x22\x02up",  # remote write 2.0's symbols, which some stores read from the same message
        b"\x8a\x00\x00",  # field 1 with a tag longer than needed
        b"\x0a",
        b"\x0a\x05ab",
        b"\x0b\x0c",  # a group
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        encode_series(GOOD + b"\x2a\x00" + SAMPLE),  # a field that TimeSeries does not have
        encode_series(GOOD + b"\x08\x01" + SAMPLE),
        encode_series(GOOD + SAMPLE[:-1]),
        encode_series(GOOD + b"\x12\x7f" + SAMPLE),
        encode_series(GOOD + encode_bytes(0x12, b"\x18\x01")),  # a field that Sample does not have
        encode_series(GOOD + encode_bytes(0x12, b"\x0a\x01x")),
        encode_series(GOOD + encode_bytes(0x22, b"\x0a\x05x")),
        encode_series(GOOD + encode_bytes(0x1A, b"\x07")),
        encode_series(GOOD + encode_bytes(0x0A, b"\x0a\x01a\x12\x01b\x12\x01c")),  # two values
        encode_series(GOOD + encode_bytes(0x0A, b"\x0a\x01a\x0a\x07cluster\x12\x01c")),  # two names
        encode_series(GOOD + encode_bytes(0x0A, b"\x0a\x01a\x12\x01b\x18\x01")),
        encode_series(GOOD + encode_bytes(0x0A, b"\x0a\x01a\x12\x09b")),
        encode_series(GOOD + label(b"a", b"\xff\xfe")),
        encode_series(GOOD + label(b"\xc3", b"x")),
        encode_series(GOOD + encode_bytes(0x1A, encode_bytes(0x0A, b"\x0a\x01a\x12\x01\xff"))),
        encode_series(GOOD + encode_bytes(0x1A, encode_bytes(0x0A, b"\x18\x01"))),
        encode_series(GOOD + encode_bytes(0x1A, b"\x20\x01")),
        encode_series(GOOD) + b"\x1a\x02\x0a",
    ],
)
def test_what_two_parsers_could_read_differently_is_malformed(scan: Callable[[bytes], Found], data: bytes) -> None:
    with pytest.raises(MalformedError) as raised:
        scan(data)
    assert raised.value.position is not None
    with pytest.raises(MalformedError):
        scan(series(NAME, C1) + data)


def test_every_cut_through_a_request_is_malformed_or_ends_at_a_field(scan: Callable[[bytes], Found]) -> None:
    parts = [series(NAME, C1, ("job", "a")), series(NAME, C1, ("job", "b" * 200)), encode_metadata(1, "up", "", "")]
    data = b"".join(parts)
    ends = {0, len(parts[0]), len(parts[0]) + len(parts[1]), len(data)}
    for cut in range(len(data) + 1):
        if cut in ends:
            scan(data[:cut])
        else:
            with pytest.raises(MalformedError):
                scan(data[:cut])


def test_what_was_remembered_for_one_series_proves_nothing_about_what_goes_on_behind_it() -> None:
    memory = known()
    scan_plain(encode_series(GOOD + SAMPLE), b"cluster", b"c1", memory)
    assert GOOD in memory.young
    smuggled = encode_series(GOOD + label(b"cluster", b"c2") + SAMPLE)
    assert scan_plain(smuggled, b"cluster", b"c1", memory).exceptions[0].kind is Kind.REPEATED
    # Bytes that look like a sample's end, inside a label's value.
    hidden = label(b"x", b"") + b"\x0a\x17\x0a\x01y\x12\x12" + SAMPLE
    with pytest.raises(MalformedError, match="UTF-8"):
        scan_plain(encode_series(GOOD + hidden), b"cluster", b"c1", memory)
    with pytest.raises(MalformedError):
        scan_plain(
            encode_series(GOOD + SAMPLE[:2] + b"\x09" + VALUE + b"\x11" + SAMPLE[12:]), b"cluster", b"c1", memory
        )


def test_a_label_that_belongs_in_front_of_all_others_is_missed_however_often_its_series_was_seen() -> None:
    data = series(NAME, ("job", "a"))
    for scan in filter(None, (scan_plain, scan_accelerated)):
        memory = known()
        for _ in range(3):
            (one,) = scan(data, b"Cluster", b"c1", memory).exceptions
            assert one.kind is Kind.UNLABELLED
            assert one.place == one.content


def test_the_memory_stays_within_its_bound_and_keeps_what_is_seen_again() -> None:
    memory = Memory(4000)
    one, other = Known(memory), Known(memory)
    often = encode_series(GOOD + SAMPLE)
    for number in range(200):
        scan_plain(often, b"cluster", b"c1", one)
        scan_plain(series(NAME, ("cluster", "c2"), ("n", str(number))), b"cluster", b"c2", other)
        held = sum(len(labels) for some in (one, other) for labels in {**some.young, **some.old})
        assert held <= 4000
        assert GOOD in {**one.young, **one.old}


def test_a_series_without_the_label_says_where_it_belongs(scan: Callable[[bytes], Found]) -> None:
    first, last = series(NAME, ("z", "1")), series(NAME, ("a", "1"))
    (one, two) = scan(first + last).exceptions
    assert first[one.content :].startswith(label(b"__name__", b"up") + label(b"z", b"1"))
    assert first[one.place :].startswith(label(b"z", b"1") + SAMPLE)
    assert (first + last)[two.place : two.end] == SAMPLE
    # An empty label in its way cannot stay there.
    (three,) = scan(series(NAME, ("cluster", ""))).exceptions
    assert (three.content, three.place) == (0, 0)


names = st.sampled_from([b"__name__", b"cluster", b"a", b"", b"clustes", "ü".encode(), b"\xff"])
values = st.sampled_from([b"c1", b"c2", b"", b"up", b"x" * 130, b"\x0a\x07cluster\x12\x02c1", b"\xc3"])
labels = st.tuples(names, values).map(lambda pair: label(*pair))
samples = st.tuples(st.binary(min_size=8, max_size=8), st.integers(-(2**63), 2**63 - 1)).map(
    lambda pair: encode_sample(*pair)
)
noise = st.binary(max_size=6)
exemplars = st.lists(st.one_of(labels, noise, st.just(b"\x11" + VALUE)), max_size=2).map(
    lambda parts: encode_bytes(0x1A, b"".join(parts))
)
series_fields = st.lists(st.one_of(labels, labels, samples, st.just(SAMPLE), exemplars, noise), max_size=6).map(
    b"".join
)
usual = st.just(GOOD + SAMPLE)
top_fields = st.one_of(
    usual.map(encode_series),
    series_fields.map(encode_series),
    series_fields.map(lambda rest: encode_series(GOOD + rest)),
    noise.map(lambda content: encode_bytes(0x1A, content)),
    noise,
)
requests = st.lists(top_fields, max_size=5).map(b"".join)


@settings(max_examples=1500, deadline=None)
@given(st.one_of(requests, damaged(requests)), st.sampled_from([b"cluster", b"a"]))
@example(encode_series(GOOD + SAMPLE) + encode_series(GOOD + label(b"cluster", b"c2") + SAMPLE), b"cluster")
def test_whatever_passes_is_what_a_plain_decoder_reads(data: bytes, name: bytes) -> None:
    """Both scans agree with each other, and what they let pass a decoder reads as the cluster's own series only."""
    results: list[Found | None] = []
    memory = known()
    # What was seen before: the same bytes, and a series that is the cluster's own.
    for seen in (encode_series(GOOD + SAMPLE), data):
        with contextlib.suppress(MalformedError):
            scan_plain(seen, name, b"c1", memory)
    for scan in filter(None, (scan_plain, scan_accelerated)):
        try:
            results.append(scan(data, name, b"c1", memory))
        except MalformedError:
            results.append(None)
    assert results.count(results[0]) == len(results)
    found = results[0]
    if found is None:
        return
    decoded = list(decode(data))
    assert len(decoded) == found.series
    assert sum(len(one.samples) for one in decoded) == found.samples
    assert sum(len(one.histograms) for one in decoded) == found.histograms
    times = [time_ms for one in decoded for _, time_ms in one.samples]
    if times and not found.histograms:
        assert (found.earliest_ms, found.latest_ms) == (min(times), max(times))
    carried = [[value for label, value in one.labels if label == name.decode()] for one in decoded]
    assert sum(values != ["c1"] for values in carried) <= len(found.exceptions)
    if not found.exceptions:
        assert all(values == ["c1"] for values in carried)
        assert all(len(dict(one.labels)) == len(one.labels) for one in decoded)
