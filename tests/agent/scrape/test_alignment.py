import random
from array import array
from collections.abc import Sequence

from agent.scrape.alignment import Alignment, align, key_of
from tests.agent.scrape.pages import drive


def aligned(old: Sequence[bytes], new: Sequence[bytes]) -> Alignment:
    sizes = array("I", [0 if line.startswith(b"#") else len(key_of(line)) for line in old])
    return drive(align(old, sizes, new))


def lines(*numbers: int, value: int = 1) -> list[bytes]:
    return [b'a{n="%d"} %d' % (number, value) for number in numbers]


def test_the_text_of_a_series_ends_where_its_value_begins() -> None:
    assert [key_of(line) for line in (b'a{b="}"} 1', b"a 1", b"a\t 1", b"# HELP a {b} c", b"")] == [
        b'a{b="}"}', b"a", b"a", b"# HELP a {b} c", b"",
    ]  # fmt: skip


def test_lines_that_come_and_go_leave_the_others_where_they_were() -> None:
    found = aligned(lines(*range(1000)), lines(*range(100), 5000, *range(100, 500), *range(503, 1000)))
    assert found.partners.tolist() == [*range(100), -1, *range(100, 500), *range(503, 1000)]
    assert [number for number, look in enumerate(found.looks) if look] == [100, 101, 501]
    assert [number for number, taken in enumerate(found.taken) if not taken] == [500, 501, 502]


def test_a_value_that_changed_needs_a_look_and_keeps_its_partner() -> None:
    found = aligned(lines(1, 2, 3), [*lines(1), *lines(2, value=7), *lines(3)])
    assert (found.partners.tolist(), found.looks) == ([0, 1, 2], bytearray([0, 1, 0]))


def test_it_gives_up_on_a_page_that_is_another() -> None:
    found = aligned(lines(*range(500)), lines(*range(500, 1000)))
    assert set(found.partners) == {-1}
    assert all(found.looks)
    assert not any(found.taken)


def test_partners_show_the_same_series_and_rise_whatever_changes() -> None:
    for seed in range(200):
        chance = random.Random(seed)
        old = lines(*chance.sample(range(300), 200))
        new = [line for line in old if chance.random() < 0.9]
        for _ in range(chance.choice([0, 1, 5, 50])):
            new.insert(chance.randrange(len(new) + 1), chance.choice([*lines(chance.randrange(400), value=2), b"# x"]))
        if chance.random() < 0.2:
            chance.shuffle(new)
        found = aligned(old, new)
        pairs = [(number, partner) for number, partner in enumerate(found.partners) if partner >= 0]
        partners = [partner for _, partner in pairs]
        assert partners == sorted(set(partners)) == [number for number, taken in enumerate(found.taken) if taken]
        assert all(key_of(new[number]) == key_of(old[partner]) for number, partner in pairs)
        assert all(new[number] == old[partner] for number, partner in pairs if not found.looks[number])
        for number, look in enumerate(found.looks[1:], 1):
            assert look or found.partners[number] == found.partners[number - 1] + 1
