import struct

import pytest

from pipeline.wire.remote_write import encode_labels, encode_metadata, encode_sample, encode_series
from pipeline.wire.scan import Kind, Known, Memory, scan
from pipeline.wire.scan_series import by_label, first_value, halves, repair, set_label, show_series

SAMPLE = encode_sample(struct.pack("<d", 1.0), 1_790_000_000_000)


def content(**labels: str) -> bytes:
    return encode_labels(labels.items()) + SAMPLE


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"__name__": "x", "a": "1", "z": "1"}, {"__name__": "x", "a": "1", "cluster": "c1", "z": "1"}),
        ({"__name__": "x", "cluster": "c2", "z": "1"}, {"__name__": "x", "cluster": "c1", "z": "1"}),
        ({"__name__": "x"}, {"__name__": "x", "cluster": "c1"}),
        ({"z": "1"}, {"cluster": "c1", "z": "1"}),
        ({}, {"cluster": "c1"}),
    ],
)
def test_a_label_is_set_at_its_place(before: dict[str, str], after: dict[str, str]) -> None:
    assert set_label(content(**before), b"cluster", b"c1") == content(**after)


def test_a_label_is_set_in_a_series_without_samples() -> None:
    bare = encode_labels([("__name__", "x")])
    assert set_label(bare, b"cluster", b"c1") == encode_labels([("__name__", "x"), ("cluster", "c1")])


def test_labels_behind_samples_are_replaced_too() -> None:
    odd = encode_labels([("__name__", "x")]) + SAMPLE + encode_labels([("cluster", "c2")])
    assert set_label(odd, b"cluster", b"c1") == encode_labels([("__name__", "x"), ("cluster", "c1")]) + SAMPLE


def test_a_repaired_request_is_the_clusters_and_says_what_was_left_out() -> None:
    good = encode_series(content(__name__="a", cluster="c1"))
    foreign = encode_series(content(__name__="b", cluster="c2") + SAMPLE)
    bare = encode_series(content(__name__="d"))
    metadata = encode_metadata(1, "a", "", "")
    data = good + foreign + metadata + bare + foreign
    known = Known(Memory(0))
    found = scan(data, b"cluster", b"c1", known)
    repaired = repair(data, found.exceptions, b"cluster", b"c1", overwrite=False)
    assert repaired.data == good + metadata + encode_series(content(__name__="d", cluster="c1"))
    ((kind, series, items, example),) = repaired.refused
    assert (kind, series, items, example) == (Kind.FOREIGN, 2, 4, 'b{cluster="c2"}')
    assert scan(repaired.data, b"cluster", b"c1", known).exceptions == ()


def test_the_label_is_put_in_at_the_place_that_the_scan_found() -> None:
    known = Known(Memory(1 << 20))
    names = ["", "b", "cluster_", "z"]
    data = b"".join(encode_series(content(**({"__name__": "x"} | ({n: "1"} if n else {})))) for n in names)
    data += encode_series(content(__name__="x", cluster="", d="1"))
    for _ in range(2):
        found = scan(data, b"cluster", b"c1", known)
        assert len(found.exceptions) == 5
        repaired = repair(data, found.exceptions, b"cluster", b"c1", overwrite=False).data
        assert repaired == b"".join(
            encode_series(
                content(**dict(sorted({"__name__": "x", "cluster": "c1", **({n: "1"} if n else {})}.items())))
            )
            for n in [*names, "d"]
        )


def test_a_request_is_taken_apart_by_label_with_its_metadata_in_one_place() -> None:
    a, b, none = (encode_series(content(**labels)) for labels in ({"c": "a"}, {"c": "b"}, {"d": "1"}))
    metadata = encode_metadata(1, "a", "", "")
    assert by_label(a + metadata + b + none + a, b"c", b"x") == {b"a": a + a + metadata, b"b": b, b"x": none}
    assert by_label(metadata, b"c", b"x") == {b"x": metadata}
    assert first_value(metadata + b + a, b"c") == b"b"
    assert first_value(none, b"c") == b""


def test_halves_are_cut_between_fields() -> None:
    parts = [encode_series(content(n="x" * size)) for size in (10, 10, 200, 10)]
    pair = halves(b"".join(parts))
    assert pair == (parts[0] + parts[1], parts[2] + parts[3])
    assert halves(parts[0]) is None


def test_a_series_is_shown_as_people_write_it() -> None:
    assert show_series(content(__name__="up", job="a", n="1")) == 'up{job="a", n="1"}'
