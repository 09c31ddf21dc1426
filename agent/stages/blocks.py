"""How a file's block goes through a job's stages: line by line, or in one pass where stages do the same to all lines.

Lines that are not as nearly all are go through the stages themselves, in their place: both ways give the same entries.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from agent.logs.entry import Entry
from agent.stages.container_lines import STREAMS, EncodedLines, Outlet, SplitLines
from agent.stages.containers import Container
from agent.stages.lines import WalkPlain, Walks
from agent.stages.settle import settle
from agent.stages.step import Run, Step, Then
from agent.stages.streams import Streams

Lines = Callable[[bytes, int], int]
"""Take whole lines, UTF-8, and the time of the first if it has none of its own; what comes of them goes to streams.

Returns the time of the next line.
"""

_NS_PER_S: Final = 1_000_000_000


def first_time_ns(now_ns: int, next_ns: int) -> int:
    """Return the time of a block's first line, after a block behind which `next_ns` would have been next.

    Lines without a time have that of their reading, and a nanosecond more each: Loki takes lines of one stream with the
    same time and the same text for one. Times go on from those before, unless the clock was set back.
    """
    return next_ns if now_ns < next_ns < now_ns + _NS_PER_S else now_ns


def one_by_one(labels: Mapping[str, str], first: Then) -> Lines:
    """Return how a block goes through stages line by line."""
    labels = dict(labels)

    def lines(block: bytes, time_ns: int) -> int:
        for line in block.decode().removesuffix("\n").split("\n"):
            first(Entry(labels.copy(), time_ns, line, {}, labels.copy()))
            time_ns += 1
        return time_ns

    return lines


def at_once(
    steps: Sequence[Step], labels: Mapping[str, str], first: Then, run: Run, streams: Streams, walks: Walks
) -> Lines | None:
    """Return how a block goes through in one pass; None where stages look at each line as it is."""
    if not isinstance(first, Container):
        settled = settle(steps, labels)
        return None if settled is None else _PlainLines(Outlet(settled, run, streams), walks.plain)
    outlets = []
    for stream in STREAMS:
        settled = settle(steps[1:], {**labels, "stream": stream}, first.unknown)
        if settled is None:
            return SplitLines(first, labels, walks.split, first.partial.then) if first.partial is not None else None
        outlets.append(Outlet(settled, run, streams))
    walk = walks.cri if first.kind == "cri" else walks.docker
    return EncodedLines(first, labels, outlets[0], outlets[1], walk)


@dataclass(slots=True)
class _PlainLines:
    outlet: Outlet
    walk: WalkPlain

    def __call__(self, block: bytes, time_ns: int) -> int:
        part = self.walk(block, time_ns, self.outlet.metadata)
        if part is None:
            return time_ns
        self.outlet.add(part)
        return time_ns + part[1]
