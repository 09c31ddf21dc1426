"""Which of the targets that name the same file goes on where: each by its labels, in whatever order they come. Pure."""

from collections.abc import Mapping, Sequence
from typing import Final

from agent.logs.input import Source
from agent.tail.position import text_of

Labels = Mapping[str, str]
FILENAME: Final = "filename"
"""The label that says where a line is from, as promtail names it."""


def labels_of(source: Source, path: str) -> dict[str, str]:
    """Return the labels of what a source's file gives."""
    return {**source.labels, FILENAME: text_of(path)}


def twins_of(wanted: Sequence[Labels], followed: Mapping[int, Labels]) -> list[int]:
    """Return a number for each of a file's targets; `followed` has the labels with which it is read by numbers.

    A target whose labels are new goes on where one was that is no more; else it gets the first number that is free.
    """
    numbers = {at: next((n for n, labels in followed.items() if labels == one), -1) for at, one in enumerate(wanted)}
    left = [number for number in followed if number not in numbers.values()]
    free = (number for number in range(len(wanted) + len(followed)) if number not in followed)
    return [number if number >= 0 else left.pop(0) if left else next(free) for number in numbers.values()]
