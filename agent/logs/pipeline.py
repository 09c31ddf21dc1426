"""What an input and the stages of its job say to one another."""

from collections.abc import Iterable, Mapping
from typing import Protocol

from agent.logs.chunk import Chunk
from agent.logs.entry import Entry


class Pipeline(Protocol):
    """The stages of one job at work on one source; it holds what they keep from one line to the next.

    For one task at a time. What it gives is in the source's order, but for what a stage held back.
    """

    def block(self, block: bytes, now_ns: int) -> list[Chunk]:
        """Make entries of a file's lines: whole lines, each ended by a newline. `now_ns` is when they were read.

        Bytes that are not UTF-8 become U+FFFD.
        """

    def entries(self, entries: Iterable[Entry]) -> list[Chunk]:
        """Make chunks of entries that came with labels and times of their own."""

    def due_ns(self) -> int | None:
        """Return when what is held back has to go on (Unix nanoseconds), or None while nothing waits for a time."""

    def flush(self, now_ns: int, *, everything: bool = False) -> list[Chunk]:
        """Give what was held back for long enough, or all of it."""

    def snapshot(self) -> bytes:
        """Return what is held back, to be kept beside the source's position; empty where nothing is."""

    def restore(self, snapshot: bytes) -> None:
        """Go on with what a snapshot held."""


class MakePipeline(Protocol):
    """A job's stages, ready to run: makes the pipeline of one source."""

    def __call__(self, labels: Mapping[str, str]) -> Pipeline:
        """Return a pipeline for a source with these labels (those of its target, after relabelling)."""
