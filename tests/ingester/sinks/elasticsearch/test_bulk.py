"""Which documents go together, and how large a request may be."""

from itertools import zip_longest

from hypothesis import given
from hypothesis import strategies as st

from ingester.sinks.elasticsearch.bulk import Size, batches


@given(st.lists(st.integers(0, 20)), st.integers(1, 50))
def test_runs_hold_everything_in_order_and_are_as_large_as_they_may(sizes: list[int], most: int) -> None:
    documents = [b"x" * size for size in sizes]
    numbers = [number for number in range(len(sizes)) if number % 3]
    runs = list(batches(documents, numbers, most))
    assert [number for run in runs for number in run] == numbers
    for run, following in zip_longest(runs, runs[1:]):
        size = sum(sizes[number] for number in run)
        assert size <= most or len(run) == 1
        assert not following or size + sizes[following[0]] > most


def test_what_was_too_large_is_never_asked_for_again() -> None:
    size = Size(1 << 20)
    size.too_large(600_000)
    for _ in range(100):
        size.taken()
    assert size.max_bytes == 300_000


def test_a_pressed_server_is_asked_for_less_and_by_and_by_for_as_much_again() -> None:
    size = Size(1 << 20)
    size.pressed(1 << 20)
    size.pressed(1 << 19)
    assert size.max_bytes == 1 << 18
    size.taken()
    assert 1 << 18 < size.max_bytes < 1 << 19
    for _ in range(20):
        size.taken()
    assert size.max_bytes == 1 << 20
    for _ in range(50):
        size.pressed(size.max_bytes)
    assert size.max_bytes == 8192
