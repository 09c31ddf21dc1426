"""Which lines of a page show the series of which lines of the last one, where most of them kept their order.

A greedy diff by the text of the series: equal stretches are compared in C, and after a difference the nearest line
that both pages have goes on. It finds no pairs that are not there, but may miss some: it gives up where too much
changed places.
"""

from array import array
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from itertools import compress
from operator import ne

KeyOf = Callable[[bytes], bytes]
"""Tells the series that a line shows, by its text; `key_of`, or another format's."""

_FIRST_CHUNK, _LAST_CHUNK = 16, 2_048
_FIRST_WINDOW, _LAST_WINDOW = 64, 4_096


@dataclass(slots=True)
class Alignment:
    """What was found: for each new line the old one with its series, or -1.

    `looks` is 0 for a line that is just as the old one was and whose old line follows that of the line before.
    """

    partners: "array[int]"
    looks: bytearray
    taken: bytearray
    """Which old lines have a new one."""


def key_of(line: bytes) -> bytes:
    """Return the text of the series that a line shows; of a comment, all of it."""
    if line.startswith(b"#"):
        return line
    end = line.rfind(b"}") + 1
    if end:
        return line[:end]
    return line.replace(b"\t", b" ").partition(b" ")[0]


def align(
    old: Sequence[bytes], key_bytes: "array[int]", new: Sequence[bytes], key_of: KeyOf = key_of
) -> Generator[None, None, Alignment]:
    """Align two pages; `key_bytes` tells how much of an old line is the series, 0 for a comment."""
    found = Alignment(array("i", [-1]) * len(new), bytearray(b"\1") * len(new), bytearray(len(old)))
    at = old_at = skipped = 0
    chunk = _FIRST_CHUNK
    # What is spent on looking for the next common line stays in proportion to the page.
    budget = len(new) + 2 * _LAST_WINDOW
    while at < len(new) and old_at < len(old):
        size = min(chunk, len(new) - at, len(old) - old_at)
        same, changed = _same(old, key_bytes, new, at, old_at, size)
        if same:
            found.partners[at : at + same] = array("i", range(old_at, old_at + same))
            found.taken[old_at : old_at + same] = b"\1" * same
            found.looks[at : at + same] = bytes(same)
            for number in changed:
                found.looks[at + number] = 1
            found.looks[at] |= skipped
            at, old_at, skipped = at + same, old_at + same, 0
        if same == size:
            if chunk == _LAST_CHUNK:
                yield
            chunk = min(2 * chunk, _LAST_CHUNK)
            continue
        chunk, window, skip = _FIRST_CHUNK, _FIRST_WINDOW, None
        while skip is None and window <= _LAST_WINDOW and budget > 0:
            skip = _next_common(old[old_at : old_at + window], key_bytes[old_at : old_at + window], new, at, key_of)
            budget -= 2 * window
            window *= 8
        yield
        if skip is None:
            break
        at, old_at, skipped = at + skip[0], old_at + skip[1], 1
    return found


def _same(
    old: Sequence[bytes], key_bytes: "array[int]", new: Sequence[bytes], at: int, old_at: int, size: int
) -> tuple[int, list[int]]:
    """Return how many of the next `size` lines show the same series, and which of them are not quite as they were."""
    changed = list(compress(range(size), map(ne, new[at : at + size], old[old_at : old_at + size])))
    for number, i in enumerate(changed):
        key = key_bytes[old_at + i]
        if not key or new[at + i][:key] != old[old_at + i][:key]:
            return i, changed[:number]
    return size, changed


def _next_common(
    old: Sequence[bytes], key_bytes: "array[int]", new: Sequence[bytes], at: int, key_of: KeyOf
) -> tuple[int, int] | None:
    """Return how many lines of the new page and of the old one to skip, as few as possible; None if none is common."""
    places: dict[bytes, int] = {}
    for i, (line, key) in enumerate(zip(old, key_bytes, strict=True)):
        places.setdefault(line[:key] if key else line, i)
    best = None
    for j, line in enumerate(new[at : at + len(old)]):
        if best is not None and j >= sum(best):
            break
        i_found = places.get(key_of(line))
        if i_found is not None and (best is None or j + i_found < sum(best)):
            best = j, i_found
    return best
