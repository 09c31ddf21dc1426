"""Blocks of lines that a container runtime wrote, through their stage and what stands behind it."""

from collections.abc import Mapping

from agent.logs.entry import Entry
from agent.stages.containers import Container
from agent.stages.lines import Part, Split, Walk
from agent.stages.settle import Settled
from agent.stages.step import Run, Then
from agent.stages.streams import Stream, Streams
from pipeline.wire.loki import encode_metadata

STREAMS = ("stdout", "stderr")


class Outlet:
    """Where lines of one kind go: a stream, or nowhere."""

    def __init__(self, settled: Settled, run: Run, streams: Streams) -> None:
        self._settled, self._run, self._streams = settled, run, streams
        self.metadata = encode_metadata(streams.within(settled.metadata, 0).items())

    def leads_where(self, other: "Outlet") -> bool:
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


class ContainerLines:
    """Sends lines in runs through `passed`, and each that ends a run through its stage."""

    def __init__(self, stage: Container, labels: Mapping[str, str]) -> None:
        self.stage, self._labels = stage, dict(labels)
        self.by_stream = [{**labels, "stream": stream} for stream in STREAMS]
        """The labels of entries as the stage leaves them, by stream."""
        self._keys = [tuple(of_stream.items()) for of_stream in self.by_stream]

    def passed(self, block: bytes, at: int, held: int) -> tuple[int, int, int, int]:
        """Take lines from `at` on; return where that ended, how many, and each stream's last time, -1 for none."""
        raise NotImplementedError

    def __call__(self, block: bytes, time_ns: int) -> int:
        """Take a block: see `agent.stages.blocks.Lines`."""
        stage, end, at = self.stage, len(block), 0
        while at < end:
            held = 0
            if stage.partial:
                held = sum(1 << bit for bit, key in enumerate(self._keys) if stage.partial.holds(key))
            at, lines, *last_ns = self.passed(block, at, held)
            time_ns += lines
            for key, of_stream_ns in zip(self._keys, last_ns, strict=True):
                if of_stream_ns >= 0:
                    stage.clock.note(key, of_stream_ns)
            if at < end:
                behind = block.find(b"\n", at)
                behind = end if behind < 0 else behind
                labels = self._labels
                stage(Entry(labels.copy(), time_ns, block[at:behind].decode(), {}, labels.copy()))
                time_ns += 1
                at = behind + 1
        return time_ns


class EncodedLines(ContainerLines):
    """Where stages do the same to all lines of a stream: runs are encoded as they are read."""

    def __init__(self, stage: Container, labels: Mapping[str, str], out: Outlet, err: Outlet, walk: Walk) -> None:
        super().__init__(stage, labels)
        self._out, self._err, self._walk = out, err, walk
        self._joined = out.leads_where(err)

    def passed(self, block: bytes, at: int, held: int) -> tuple[int, int, int, int]:
        """Encode a run of lines."""
        metadata = self._out.metadata, self._err.metadata
        at, out, err, out_ns, err_ns = self._walk(block, at, held, *metadata, self._joined)
        lines = 0
        for outlet, part in ((self._out, out), (self._err, err)):
            if part is not None:
                outlet.add(part)
                lines += part[1]
        return at, lines, out_ns, err_ns


class SplitLines(ContainerLines):
    """Where stages behind `cri` look at each line: runs are taken apart at once, and go on as entries."""

    def __init__(self, stage: Container, labels: Mapping[str, str], split: Split, then: Then) -> None:
        super().__init__(stage, labels)
        self._split, self._then = split, then

    def passed(self, block: bytes, at: int, held: int) -> tuple[int, int, int, int]:
        """Send on a run of lines."""
        then, by_stream = self._then, self.by_stream
        last_ns = [-1, -1]
        at, found = self._split(block, at, held)
        for time_ns, stream, time, line in found:
            labels = by_stream[stream]
            last_ns[stream] = time_ns
            extracted = {**labels, "time": time, "flags": "F", "content": line}
            then(Entry(labels.copy(), time_ns, line, {}, extracted))
        return at, len(found), last_ns[0], last_ns[1]
