"""How a file's block goes through a job's stages: line by line, or in one pass where stages do the same to all lines.

Lines that are not as nearly all are go through the stages themselves, in their place: both ways give the same entries.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from agent.logs.entry import Entry
from agent.stages.containers import Container
from agent.stages.lines import Part, Walk, WalkPlain, Walks
from agent.stages.settle import Settled, settle
from agent.stages.step import Run, Step, Then
from agent.stages.streams import Stream, Streams
from pipeline.wire.loki import encode_metadata

Lines = Callable[[bytes, int], int]
"""Take whole lines, UTF-8, and the time of the first if it has none of its own; what comes of them goes to streams.

Returns the time of the next line.
"""

STREAMS: Final = ("stdout", "stderr")
_NS_PER_S: Final = 1_000_000_000


def first_time_ns(now_ns: int, next_ns: int) -> int:
    """Return the time of a block's first line, after a block behind which `next_ns` would have been next.

    Lines without a time have that of their reading, and a nanosecond more each: Loki takes lines of one stream with the
    same time and the same text for one. Times go on from those before, unless the clock was set back.
    """
    return next_ns if now_ns < next_ns < now_ns + _NS_PER_S else now_ns


def as_utf8(block: bytes) -> bytes:
    """Return a block with U+FFFD for what is not UTF-8."""
    if block.isascii():
        return block
    try:
        block.decode()
    except UnicodeDecodeError:
        return block.decode("utf-8", "replace").encode()
    return block


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
    """Return how a block goes through in one pass; None where stages look at each line."""
    if not isinstance(first, Container):
        settled = settle(steps, labels)
        return None if settled is None else _PlainLines(_Outlet(settled, run, streams), walks.plain)
    outlets = []
    for stream in STREAMS:
        settled = settle(steps[1:], {**labels, "stream": stream}, first.unknown)
        if settled is None:
            return None
        outlets.append(_Outlet(settled, run, streams))
    walk = walks.cri if first.kind == "cri" else walks.docker
    return _ContainerLines(outlets[0], outlets[1], walk, first, labels)


class _Outlet:
    """Where lines of one kind go: a stream, or nowhere."""

    def __init__(self, settled: Settled, run: Run, streams: Streams) -> None:
        self._settled, self._run, self._streams = settled, run, streams
        self.metadata = encode_metadata(streams.within(settled.metadata, 0).items())

    def leads_where(self, other: "_Outlet") -> bool:
        """Tell whether lines of both end in one stream, in which they keep their order."""
        settled, others = self._settled, other._settled
        if settled.dropped is not None or others.dropped is not None:
            return settled == others
        return self._streams.stream(settled.labels) is self._streams.stream(others.labels)

    def add(self, part: Part) -> None:
        """Take encoded entries."""
        if self._settled.dropped is not None:
            self._run.drop(self._settled.dropped, part[1])
            return
        self._streams.within(self._settled.metadata, part[1])
        stream: Stream = self._streams.stream(self._settled.labels)
        stream.add(part[0], part[1], part[2], part[3])


@dataclass(slots=True)
class _PlainLines:
    outlet: _Outlet
    walk: WalkPlain

    def __call__(self, block: bytes, time_ns: int) -> int:
        part = self.walk(block, time_ns, self.outlet.metadata)
        if part is None:
            return time_ns
        self.outlet.add(part)
        return time_ns + part[1]


class _ContainerLines:
    def __init__(self, out: _Outlet, err: _Outlet, walk: Walk, stage: Container, labels: Mapping[str, str]) -> None:
        self._out, self._err, self._walk, self._stage, self._labels = out, err, walk, stage, dict(labels)
        self._joined = out.leads_where(err)
        # As the stage itself sees them: entries of one stream have these labels there.
        self._keys = [tuple({**labels, "stream": stream}.items()) for stream in STREAMS]

    def __call__(self, block: bytes, time_ns: int) -> int:
        stage, end, at = self._stage, len(block), 0
        while at < end:
            held = 0
            if stage.partial:
                held = sum(1 << bit for bit, key in enumerate(self._keys) if stage.partial.holds(key))
            at, out, err, out_ns, err_ns = self._walk(
                block, at, held, self._out.metadata, self._err.metadata, self._joined
            )
            if out is not None:
                self._out.add(out)
                time_ns += out[1]
            if err is not None:
                self._err.add(err)
                time_ns += err[1]
            for key, last_ns in zip(self._keys, (out_ns, err_ns), strict=True):
                if last_ns >= 0:
                    stage.clock.note(key, last_ns)
            if at < end:
                behind = block.find(b"\n", at)
                behind = end if behind < 0 else behind
                labels = self._labels
                stage(Entry(labels.copy(), time_ns, block[at:behind].decode(), {}, labels.copy()))
                time_ns += 1
                at = behind + 1
        return time_ns
