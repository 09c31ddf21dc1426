import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.wire.errors import MalformedError
from pipeline.wire.loki import Entry, decode, encode_entries, encode_entry, encode_labels, encode_stream, parse_labels

text = st.text(max_size=12)


@given(st.dictionaries(text, text, max_size=4))
def test_labels_are_read_as_they_were_written(labels: dict[str, str]) -> None:
    assert parse_labels(encode_labels(labels.items()).decode(), empty=True) == tuple(sorted(labels.items()))


@pytest.mark.parametrize(
    ("written", "labels"),
    [
        ('{a="b"}', {"a": "b"}),
        (' { a = "b" , "c.d-e"="f", } ', {"a": "b", "c.d-e": "f"}),
        ('{b="1",a="2"}', {"a": "2", "b": "1"}),
        (r'{a="\"\\\n\x41\101\u00e9\U0001F600}"}', {"a": '"\\\nAAé😀}'}),
        (r"{a=`\n`}", {"a": r"\n"}),
        ('{a=""}', {"a": ""}),
    ],
)
def test_labels_are_read_as_promql_reads_them(written: str, labels: dict[str, str]) -> None:
    assert dict(parse_labels(written)) == labels


@pytest.mark.parametrize(
    "written",
    [
        "",
        "{}",
        "{",
        "a",
        '{a="b"',
        '{a="b"}}',
        '{a="b"} , c="d"}',
        '{a="b"}{c="d"}',
        '{,a="b"}',
        '{a="b" c="d"}',
        '{a="b",,}',
        "{a=b}",
        '{a="b}',
        '{a-b="c"}',
        '{1a="c"}',
        '{a="b", a="c"}',
        '{a="b", "a"="c"}',
        '{a="\n"}',
        r'{a="\q"}',
        r'{a="\xe9"}',
        r'{a="\351"}',
        r'{a="\ud800"}',
        r'{a="\U00110000"}',
        '{\xa0a="b"}',
        'up{a="b"}',
    ],
)
def test_what_is_no_label_set_is_malformed(written: str) -> None:
    with pytest.raises(MalformedError):
        parse_labels(written)


def test_a_set_of_no_labels_is_read_where_it_may_be() -> None:
    assert parse_labels(" { } ", empty=True) == ()


def test_a_megabyte_of_labels_is_read_in_one_pass() -> None:
    labels = [(f"n{n}", "x" * 90) for n in range(10_000)]
    assert len(parse_labels(encode_labels(labels).decode())) == 10_000


@given(st.integers(-(2**63) + 1, 2**63 - 1), st.binary(max_size=20), st.lists(st.tuples(text, text), max_size=2))
def test_entries_are_read_as_they_were_written(time_ns: int, line: bytes, metadata: list[tuple[str, str]]) -> None:
    entry = Entry(time_ns, line, tuple(metadata))
    (stream,) = decode(encode_stream(b'{a="b"}', encode_entry(*entry)))
    assert (stream.labels, stream.entries) == ('{a="b"}', [entry])


times = st.one_of(st.integers(-(2**63) + 1, 2**63 - 1), st.integers(-3, 3).map(lambda n: n * 500_000_000))
pairs = st.lists(st.tuples(text, text), max_size=1).map(tuple)


@given(st.lists(st.builds(Entry, times, st.binary(max_size=200), pairs), max_size=6))
def test_entries_are_written_together_as_they_are_one_by_one(entries: list[Entry]) -> None:
    assert encode_entries(entries) == b"".join(encode_entry(*entry) for entry in entries)
