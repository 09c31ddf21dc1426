import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.wire.errors import MalformedError
from pipeline.wire.loki import Entry, Stream, decode, encode_entry, encode_labels, encode_stream, parse_labels
from pipeline.wire.loki_scan import scan_logs
from pipeline.wire.loki_streams import first_stream_value, repair_streams, stream_halves, streams_by_label
from pipeline.wire.protobuf import encode_bytes
from pipeline.wire.scan_found import Kind, Repaired
from pipeline.wire.scan_plain import Known, Memory
from tests.pipeline.wire.damage import damaged
from tests.pipeline.wire.test_loki_scan import MISTIMED, requests

C1, C2 = b'{cluster="c1"}', b'{cluster="c2"}'


def entry(number: int, line: bytes = b"x") -> bytes:
    return encode_entry(number, line, [("n", str(number))])


def repaired(data: bytes, *, overwrite: bool = False) -> Repaired:
    known = Known(Memory(1 << 20))
    found = scan_logs(data, b"cluster", b"c1", known)
    out = repair_streams(data, found.exceptions, b"cluster", b"c1", overwrite=overwrite)
    again = scan_logs(out.data, b"cluster", b"c1", known)
    assert again.exceptions == ()
    assert again.entries + sum(one.items for one in out.refused) == found.entries
    return out


def test_streams_without_the_label_get_it_and_keep_their_entries() -> None:
    own = encode_stream(C1, entry(1))
    bare = [encode_stream(text, entry(2) + entry(3)) for text in (b"{}", b'{a="\\n"}', b'{cluster="", z="1"}')]
    data = own + b"".join(bare) + own
    streams = list(decode(repaired(data).data))
    assert [one.labels for one in streams] == [
        '{cluster="c1"}',
        '{cluster="c1"}',
        '{a="\\n", cluster="c1"}',
        '{cluster="c1", z="1"}',
        '{cluster="c1"}',
    ]
    assert [one.entries for one in streams] == [one.entries for one in decode(data)]


def test_the_label_is_set_wherever_the_labels_stand_and_a_stale_hash_goes() -> None:
    labels = encode_bytes(0x0A, b'{a="b"}')
    for content in (entry(1) + labels + entry(2), b"\x18\x07" + labels + entry(1) + entry(2)):
        (stream,) = decode(repaired(encode_bytes(0x0A, content)).data)
        assert stream == Stream('{a="b", cluster="c1"}', [Entry(1, b"x", (("n", "1"),)), Entry(2, b"x", (("n", "2"),))])


def test_another_clusters_streams_are_left_out_or_relabelled_and_the_rest_is_kept() -> None:
    own, foreign = encode_stream(C1, entry(1)), encode_stream(C2, entry(2) + entry(3))
    out = repaired(foreign + own + foreign)
    assert out.data == own
    ((kind, streams, items, example),) = out.refused
    assert (kind, streams, items, example) == (Kind.FOREIGN, 2, 4, '{cluster="c2"}')
    out = repaired(foreign + own, overwrite=True)
    assert (out.data, out.refused) == (encode_stream(C1, entry(2) + entry(3)) + own, ())


def test_labels_that_cannot_be_read_cost_their_stream_alone() -> None:
    own, odd = encode_stream(C1, entry(1)), encode_stream(b'{cluster="c1"', entry(2))
    for overwrite in (False, True):
        out = repaired(own + odd, overwrite=overwrite)
        assert out.data == own
        assert out.refused == ((Kind.UNREADABLE, 1, 1, '{cluster="c1"'),)


def test_lines_that_are_not_utf8_are_cleaned_and_the_others_untouched() -> None:
    data = encode_stream(C1, entry(1, b"caf\xe9") + entry(2, "é".encode())) + encode_stream(b"{}", entry(3, b"\xff"))
    streams = list(decode(repaired(data).data))
    assert [one.line.decode() for stream in streams for one in stream.entries] == ["caf�", "é", "�"]
    assert [one.metadata for stream in streams for one in stream.entries] == [(("n", str(n)),) for n in (1, 2, 3)]


@pytest.mark.parametrize("mistimed", MISTIMED)
def test_entries_without_a_time_are_left_out_alone(mistimed: bytes) -> None:
    good = encode_stream(C1, entry(1))
    out = repaired(good + encode_stream(b"{}", entry(2) + mistimed + entry(3, b"\xff")))
    assert out.data == good + encode_stream(C1, entry(2) + entry(3, "�".encode()))
    assert out.refused == ((Kind.MISTIMED, 1, 1, "{}"),)
    assert repaired(good + encode_stream(C1, mistimed + mistimed)) == (good, ((Kind.MISTIMED, 1, 2, '{cluster="c1"}'),))


def test_a_request_is_taken_apart_by_label() -> None:
    a, b, none, odd = (encode_stream(text, entry(1)) for text in (b'{c="a"}', b'{x="1", c="b"}', b'{d="1"}', b"\xff{"))
    assert streams_by_label(a + b + none + a + odd, b"c", b"d") == {b"a": a + a, b"b": b, b"d": none + odd}
    assert streams_by_label(b"", b"c", b"d") == {b"d": b""}
    assert [first_stream_value(one, b"c") for one in (b + a, none, b"")] == [b"b", b"", b""]


def test_halves_are_cut_between_streams_and_then_between_entries() -> None:
    streams = [encode_stream(C1, entry(1, b"x" * size)) for size in (10, 10, 200, 10)]
    assert stream_halves(b"".join(streams)) == (streams[0] + streams[1], streams[2] + streams[3])
    entries = [entry(n, b"x" * size) for n, size in enumerate((10, 10, 200, 10))]
    assert stream_halves(encode_stream(C1, b"".join(entries))) == (
        encode_stream(C1, entries[0] + entries[1]),
        encode_stream(C1, entries[2] + entries[3]),
    )
    assert stream_halves(streams[0]) is None
    assert stream_halves(encode_stream(C1, b"")) is None
    assert stream_halves(b"") is None


names, values = st.sampled_from(["a", "cluster", "b-c"]), st.sampled_from(["c1", "c2", "", "é"])
texts = st.one_of(st.dictionaries(names, values).map(lambda labels: encode_labels(labels.items())), st.just(b"{"))
streams_ = st.tuples(texts, st.lists(st.binary(max_size=3), max_size=3)).map(
    lambda of: encode_stream(of[0], b"".join(entry(n, line) for n, line in enumerate(of[1])))
)


@given(st.lists(streams_, max_size=4).map(b"".join), st.booleans())
def test_what_is_repaired_is_the_clusters_own_and_all_else_is_as_it_was(data: bytes, overwrite: bool) -> None:
    before = [stream for stream in decode(data) if _is_kept(stream, overwrite=overwrite)]
    after = list(decode(repaired(data, overwrite=overwrite).data))
    assert len(before) == len(after)
    for old, new in zip(before, after, strict=True):
        assert dict(parse_labels(new.labels)) == {**dict(parse_labels(old.labels, empty=True)), "cluster": "c1"}
        assert [one.line for one in new.entries] == [one.line.decode(errors="replace").encode() for one in old.entries]


@settings(max_examples=500)
@given(damaged(requests), st.booleans())
def test_whatever_can_be_read_can_be_repaired(data: bytes, overwrite: bool) -> None:
    passed = False
    with contextlib.suppress(MalformedError):
        scan_logs(data, b"cluster", b"c1", Known(Memory(0)))
        passed = True
    if passed:
        repaired(data, overwrite=overwrite)


def _is_kept(stream: Stream, *, overwrite: bool) -> bool:
    try:
        return dict(parse_labels(stream.labels, empty=True)).get("cluster") in (None, "", "c1") or overwrite
    except MalformedError:
        return False


def test_a_request_that_is_no_request_is_malformed() -> None:
    with pytest.raises(MalformedError):
        first_stream_value(b"\x0a\x05ab", b"c")
