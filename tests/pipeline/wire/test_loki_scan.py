from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.wire.errors import MalformedError
from pipeline.wire.loki import (
    MAX_TIME_NS,
    MIN_TIME_NS,
    NS,
    decode,
    encode_entry,
    encode_labels,
    encode_stream,
    parse_labels,
)
from pipeline.wire.loki_scan import ScanLogs, scan_logs_accelerated, scan_logs_plain
from pipeline.wire.protobuf import encode_bytes, encode_varint
from pipeline.wire.scan_found import FoundLogs, Kind
from pipeline.wire.scan_plain import Known, Memory
from tests.pipeline.wire.damage import damaged

TIME_NS = 1_790_000_000_123_456_789
TIME_MS = TIME_NS // 1_000_000
C1 = b'{cluster="c1", job="a"}'
ENTRY = encode_entry(TIME_NS, b"a line")
STAMP = b"\x0a\x02\x08\x01"


def known() -> Known:
    return Known(Memory(1 << 20))


def twice(scan: ScanLogs) -> Callable[[bytes], FoundLogs]:
    """Scan with a memory that has seen the same bytes before, and hold both scans to the same result."""

    def run(data: bytes) -> FoundLogs:
        memory = known()
        first = scan(data, b"cluster", b"c1", memory)
        assert scan(memoryview(bytearray(data)), b"cluster", b"c1", memory) == first
        return first

    return run


@pytest.fixture(params=["plain", "accelerated"])
def scan(request: pytest.FixtureRequest) -> Callable[[bytes], FoundLogs]:
    if request.param == "plain":
        return twice(scan_logs_plain)
    if scan_logs_accelerated is None:
        pytest.skip("the accelerator is not built")
    return twice(scan_logs_accelerated)


def entry(*content: bytes) -> bytes:
    return encode_bytes(0x12, b"".join(content))


def own(*entries: bytes) -> bytes:
    return encode_stream(C1, b"".join(entries))


def test_a_request_of_the_clusters_own_streams_passes_with_its_counts(scan: Callable[[bytes], FoundLogs]) -> None:
    early = encode_entry(TIME_NS - 5_000_000, b"", [("trace_id", "é"), ("", "")])
    data = own(ENTRY, early) + encode_stream(b'{cluster="c1"}', encode_entry(TIME_NS + NS, "ü".encode()))
    assert scan(data) == FoundLogs(2, 3, TIME_MS - 5, TIME_MS + 1000, ())


def test_requests_and_streams_may_be_empty(scan: Callable[[bytes], FoundLogs]) -> None:
    assert scan(b"") == FoundLogs(0, 0, 0, 0, ())
    assert scan(own()) == FoundLogs(1, 0, 0, 0, ())


@pytest.mark.parametrize(
    ("labels", "kind"),
    [
        (b'{cluster="c2"}', Kind.FOREIGN),
        (b'{cluster="c"}', Kind.FOREIGN),
        (b'{cluster="c11"}', Kind.FOREIGN),
        (b'{"cluster"="c2"}', Kind.FOREIGN),
        (b'{cluster="c1\\n"}', Kind.FOREIGN),
        (b"{}", Kind.UNLABELLED),
        (b'{job="a"}', Kind.UNLABELLED),
        (b'{cluster=""}', Kind.UNLABELLED),
        (b'{clusters="c1", x="cluster=\\"c1\\""}', Kind.UNLABELLED),
        (b'{cluster="c1", cluster="c2"}', Kind.UNREADABLE),
        (b'{cluster="c1", cluster="c1"}', Kind.UNREADABLE),
        (b'{cluster="c1"', Kind.UNREADABLE),
        (b'{cluster="c1"} {cluster="c2"}', Kind.UNREADABLE),
        (b"{cluster='c1'}", Kind.UNREADABLE),
        (b'{cluster="c1", a="\\xff"}', Kind.UNREADABLE),
        (b"", Kind.UNREADABLE),
    ],
)
def test_a_stream_that_is_not_simply_the_clusters_is_an_exception(
    scan: Callable[[bytes], FoundLogs], labels: bytes, kind: Kind
) -> None:
    odd = encode_stream(labels, ENTRY)
    found = scan(own(ENTRY) + odd + own(ENTRY))
    (one,) = found.exceptions
    assert one[:3] == (len(own(ENTRY)), len(own(ENTRY) + odd), kind)
    assert (own(ENTRY) + odd)[one.content : one.place] == encode_bytes(0x0A, labels)
    assert (found.streams, found.entries) == (3, 3)


def test_the_label_may_be_written_in_every_way_that_promql_reads(scan: Callable[[bytes], FoundLogs]) -> None:
    for labels in (b'{ cluster = "c1" , }', b'{"cluster"="c1"}', b"{cluster=`c1`}", b'{a="", cluster="\\x631"}'):
        assert scan(encode_stream(labels, ENTRY)).exceptions == ()


def test_a_stream_without_labels_has_none_that_can_be_read(scan: Callable[[bytes], FoundLogs]) -> None:
    assert scan(encode_bytes(0x0A, ENTRY)).exceptions[0].kind is Kind.UNREADABLE


def test_what_needs_more_than_another_label_has_no_place_for_it(scan: Callable[[bytes], FoundLogs]) -> None:
    labels, garbled = encode_bytes(0x0A, b"{}"), encode_entry(TIME_NS, b"\xff")
    for content in (ENTRY, labels + garbled, labels + ENTRY + b"\x18\x01"):
        assert scan(encode_bytes(0x0A, content)).exceptions[0][3:] == (0, 0)


def test_labels_may_stand_behind_the_entries_and_a_hash_anywhere(scan: Callable[[bytes], FoundLogs]) -> None:
    data = encode_bytes(0x0A, b"\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01" + ENTRY + encode_bytes(0x0A, C1))
    assert scan(data) == FoundLogs(1, 1, TIME_MS, TIME_MS, ())


@pytest.mark.parametrize("line", [b"\xff", b"caf\xe9", b"\xed\xa0\x80", b"\xc0\x80", b"x" * 300 + b"\xf0\x9f\x98"])
def test_a_stream_with_a_line_that_is_not_utf8_is_an_exception(scan: Callable[[bytes], FoundLogs], line: bytes) -> None:
    garbled = encode_entry(TIME_NS, line)
    assert scan(own(ENTRY, garbled, ENTRY)).exceptions[0].kind is Kind.GARBLED
    # What is refused anyway is not refused for its lines.
    assert scan(encode_stream(b'{cluster="c2"}', garbled)).exceptions[0].kind is Kind.FOREIGN


@pytest.mark.parametrize("time_ns", [0, 1, -1, -NS, 4_102_444_800 * NS, MIN_TIME_NS, MAX_TIME_NS])
def test_times_are_carried_from_1678_to_2262(scan: Callable[[bytes], FoundLogs], time_ns: int) -> None:
    found = scan(own(encode_entry(time_ns, b"x")))
    assert (found.earliest_ms, found.latest_ms) == (time_ns // 1_000_000, time_ns // 1_000_000)


MISTIMED = [
    entry(),
    entry(b"\x12\x01x"),
    entry(encode_bytes(0x0A, b"\x10" + encode_varint(NS))),
    entry(encode_bytes(0x0A, b"\x10" + encode_varint(-1))),
    entry(encode_bytes(0x0A, b"\x08" + encode_varint(MAX_TIME_NS // NS) + b"\x10" + encode_varint(NS))),
    encode_entry(MAX_TIME_NS + 1, b"x"),
    encode_entry(MIN_TIME_NS - 1, b"x"),
]


@pytest.mark.parametrize("mistimed", MISTIMED)
def test_a_stream_with_an_entry_without_a_time_is_an_exception(
    scan: Callable[[bytes], FoundLogs], mistimed: bytes
) -> None:
    garbled = encode_entry(TIME_NS, b"\xff")
    for entries in ((mistimed,), (ENTRY, mistimed, ENTRY), (garbled, mistimed, garbled)):
        found = scan(own(*entries))
        assert [one[2:] for one in found.exceptions] == [(Kind.MISTIMED, 0, 0)]
        assert found.entries == len(entries)
        assert found.latest_ms in (0, TIME_MS)


def test_lines_are_carried_whatever_their_length(scan: Callable[[bytes], FoundLogs]) -> None:
    for size in (0, 127, 128, 16_384, 10_000_000):
        assert scan(own(encode_entry(TIME_NS, b"\0" * size))).entries == 1


@pytest.mark.parametrize(
    "data",
    [
        b"\x08\x01",  # fields that PushRequest does not have
        b"\x12\x00",
        b"\x12\x04loki",
        b"\x8a\x00\x00",  # field 1 with a tag longer than needed
        b"\x0a",
        b"\x0a\x05ab",
        b"\x0a\x80",
        b"\x0b\x0c",  # a group
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        own(b"\x22\x00"),  # a field that StreamAdapter does not have
        own(b"\x08\x01"),
        own(encode_bytes(0x0A, b'{cluster="c2"}')),  # two label sets
        own(b"\x18"),
        own(b"\x18\x80"),
        encode_bytes(0x0A, encode_bytes(0x0A, b'{cluster="c1", a="\xff"}') + ENTRY),
        own(ENTRY[:-1]),
        own(entry(STAMP, STAMP)),
        own(entry(STAMP, b"\x12\x01x", b"\x12\x01y")),
        own(entry(STAMP, b"\x2a\x00")),  # a field that EntryAdapter does not have
        own(entry(STAMP, b"\x12\x05x")),
        own(entry(b"\x0a\x02\x18\x01")),  # a field that Timestamp does not have
        own(entry(b"\x0a\x04\x08\x01\x08\x02")),
        own(entry(b"\x0a\x04\x10\x01\x08\x02")),
        own(entry(b"\x0a\x01\x08")),
        own(entry(b"\x0a\x02\x08\x80"), ENTRY),
        own(entry(STAMP, encode_bytes(0x1A, b"\x0a\x01a\x0a\x01b"))),  # two names
        own(entry(STAMP, encode_bytes(0x1A, b"\x12\x01a\x0a\x01n\x12\x01b"))),
        own(entry(STAMP, encode_bytes(0x1A, b"\x1a\x01a"))),
        own(entry(STAMP, encode_bytes(0x22, b"\x0a\x05a"))),
        own(entry(STAMP, encode_bytes(0x1A, b"\x0a\x01\xff"))),
        own(entry(STAMP, encode_bytes(0x22, b"\x12\x01\xff"))),
    ],
)
def test_what_two_parsers_could_read_differently_is_malformed(scan: Callable[[bytes], FoundLogs], data: bytes) -> None:
    with pytest.raises(MalformedError) as raised:
        scan(data)
    assert raised.value.position is not None
    with pytest.raises(MalformedError):
        scan(own(ENTRY) + data)


def test_every_cut_through_a_request_is_malformed_or_ends_at_a_field(scan: Callable[[bytes], FoundLogs]) -> None:
    parts = [own(ENTRY, encode_entry(1, b"x", [("a", "b")])), own(encode_entry(-1, b"y" * 200))]
    data = b"".join(parts)
    for cut in range(len(data) + 1):
        if cut in (0, len(parts[0]), len(data)):
            scan(data[:cut])
        else:
            with pytest.raises(MalformedError):
                scan(data[:cut])


def test_the_memory_stays_within_its_bound_and_keeps_what_is_seen_again() -> None:
    for scan in filter(None, (scan_logs_plain, scan_logs_accelerated)):
        memory = Memory(4000)
        logs = Known(memory)
        for number in range(200):
            labels = encode_labels([("cluster", "c1"), ("n", str(number))])
            scan(own(ENTRY) + encode_stream(labels, ENTRY), b"cluster", b"c1", logs)
            assert sum(len(text) for text in {**logs.young, **logs.old}) <= 4000
            assert C1 in {**logs.young, **logs.old}


texts = st.sampled_from([C1, b"{}", b'{cluster="c2"}', b"{", b"", b"\xff", b'{cluster="c1", a="\xc3\xa9"}'])
stamps = st.one_of(
    st.integers(-(2**63), 2**64 - 1).map(lambda n: b"\x08" + encode_varint(n)),
    st.integers(0, 10**9).map(lambda n: b"\x10" + encode_varint(n)),
    st.just(b"\x08\x01\x10\x02"),
    st.binary(max_size=3),
).map(lambda content: encode_bytes(0x0A, content))
noise = st.binary(max_size=6)
pairs = st.one_of(noise, st.just(b"\x0a\x01a\x12\x01b")).map(lambda content: encode_bytes(0x1A, content))
lines = st.one_of(noise, st.just(b"x" * 200)).map(lambda line: encode_bytes(0x12, line))
entries = st.lists(st.one_of(stamps, lines, pairs, noise), max_size=4).map(lambda parts: entry(*parts))
usual = st.tuples(st.integers(MIN_TIME_NS, MAX_TIME_NS), noise).map(lambda of: encode_entry(*of))
contents = st.lists(
    st.one_of(usual, usual, entries, texts.map(lambda text: encode_bytes(0x0A, text)), noise), max_size=5
)
streams = st.one_of(
    st.lists(usual, max_size=3).map(lambda parts: own(*parts)),
    st.tuples(texts, st.lists(usual, max_size=3)).map(lambda of: encode_stream(of[0], b"".join(of[1]))),
    contents.map(lambda parts: encode_bytes(0x0A, b"".join(parts))),
    noise,
)


requests = st.lists(streams, max_size=4).map(b"".join)


@settings(max_examples=1500, deadline=None)
@given(st.one_of(requests, damaged(requests)))
@example(own(ENTRY) + encode_bytes(0x0A, b"\x12\x80"))
def test_whatever_passes_is_what_a_plain_decoder_reads(data: bytes) -> None:
    """Both scans agree with each other, and what they let pass a decoder reads as the cluster's own streams only."""
    results: list[FoundLogs | None] = []
    memory = known()
    for scan in filter(None, (scan_logs_plain, scan_logs_accelerated)):
        try:
            results.append(scan(data, b"cluster", b"c1", memory))
        except MalformedError:
            results.append(None)
    assert results.count(results[0]) == len(results)
    found = results[0]
    if found is None:
        return
    decoded = list(decode(data))
    assert (found.streams, found.entries) == (len(decoded), sum(len(one.entries) for one in decoded))
    if not found.exceptions:
        times_ms = [one.time_ns // 1_000_000 for stream in decoded for one in stream.entries] or [0]
        assert (found.earliest_ms, found.latest_ms) == (min(times_ms), max(times_ms))
        assert all(dict(parse_labels(one.labels))["cluster"] == "c1" for one in decoded)
        assert all(one.line.decode() or not one.line for stream in decoded for one in stream.entries)
