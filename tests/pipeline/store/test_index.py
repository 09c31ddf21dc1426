from hypothesis import given
from hypothesis import strategies as st

from pipeline.store.index import Index, SeriesHead, labels_of
from pipeline.store.selector import parse
from pipeline.wire.remote_write import encode_labels


def index_of(*series: dict[str, str]) -> Index[SeriesHead]:
    index = Index[SeriesHead]()
    for number, labels in enumerate(series):
        index.add(SeriesHead(number, encode_labels(sorted(labels.items()))))
    return index


text = st.characters(codec="utf-8")
FOUR = (
    {"__name__": "up", "job": "a", "Zone": "x"},
    {"__name__": "up", "job": "b"},
    {"__name__": "node_cpu_seconds_total", "cpu": "0", "mode": "idle", "job": "a"},
    {"__name__": "node_cpu_seconds_total", "cpu": "0", "mode": "Über", "job": "b"},
)


def ids(index: Index[SeriesHead], selector: str) -> set[int]:
    return index.select_ids(parse(selector))


def test_matchers_select_as_in_prometheus() -> None:
    index = index_of(*FOUR)
    assert ids(index, "up") == {0, 1}
    assert ids(index, 'up{job!="a"}') == {1}
    assert ids(index, 'up{job!~"a|c"}') == {1}
    assert ids(index, '{job=~"a|b",mode=""}') == {0, 1}
    assert ids(index, '{job=~"a|b",mode!=""}') == {2, 3}
    assert ids(index, '{__name__=~"node_.*",mode=~"id.*"}') == {2}
    assert ids(index, '{__name__=~"node"}') == set(), "a regular expression matches whole values"
    assert ids(index, 'up{missing=~".*"}') == {0, 1}
    assert ids(index, 'up{missing!=""}') == set()
    assert ids(index, "nothing") == set()


def test_a_search_wants_every_word_in_any_case_and_sorts_by_name() -> None:
    index = index_of(*FOUR)
    assert [series.id for series in index.search("CPU job=A")] == [2]
    assert [series.id for series in index.search("über")] == [3]
    assert [series.id for series in index.search("job=b")] == [3, 1]
    assert [series.id for series in index.search("", parse("up"))] == [1, 0]
    assert len(index.search("")) == 4
    assert index.search("cpu nothing") == []


@given(st.lists(st.tuples(st.text(text, max_size=200), st.text(text, max_size=20_000)), max_size=6))
def test_labels_of_any_length_come_back(labels: list[tuple[str, str]]) -> None:
    assert labels_of(encode_labels(labels)) == tuple(labels)


def test_labels_at_the_edge_of_a_byte_come_back() -> None:
    for name_length in (1, 100, 120, 121, 122, 123, 124, 125, 126, 127, 128, 129):
        for value_length in (1, 2, 3, 4, 5, 20, 127, 128, 16_383, 16_384):
            labels = (("n" * name_length, "v" * value_length), ("z", "1"))
            assert labels_of(encode_labels(labels)) == labels


def test_what_was_removed_is_found_nowhere() -> None:
    index = index_of(*FOUR)
    index.remove([index.by_id[0]])
    assert ids(index, "up") == {1}
    assert index.label_names() == ["__name__", "cpu", "job", "mode"]
    assert index.label_values("job", parse("up")) == ["b"]
    assert len(index.search("")) == 3
    assert index.bytes == sum(map(len, index.by_key))
