"""The stages of one job at work on one source: see `agent.logs.pipeline`."""

import json
from collections.abc import Callable, Iterable
from typing import Any

from agent.logs.chunk import Chunk
from agent.logs.entry import Entry
from agent.stages.blocks import Lines, first_time_ns
from agent.stages.held import held_entries
from agent.stages.step import Run, Then
from agent.stages.streams import Streams
from pipeline.wire.utf8 import as_utf8


class SourcePipeline:
    """One source's stages; `lines` is how a block goes through them, `first` where entries begin."""

    def __init__(self, run: Run, streams: Streams, first: Then, lines: Lines, clock_ns: Callable[[], int]) -> None:
        self._run, self._streams, self._first, self._lines, self._clock_ns = run, streams, first, lines, clock_ns
        self._next_ns = 0
        self._strays: list[Any] = []
        """What was held back by stages that are there no more: it goes on with what comes next."""

    def block(self, block: bytes, now_ns: int) -> list[Chunk]:
        """Make entries of a file's lines."""
        self._run.now_ns = now_ns
        self._pass_strays()
        if block:
            self._next_ns = self._lines(as_utf8(block), first_time_ns(now_ns, self._next_ns))
        return self._take()

    def entries(self, entries: Iterable[Entry]) -> list[Chunk]:
        """Make chunks of entries that came with labels and times of their own."""
        self._run.now_ns = self._clock_ns()
        self._pass_strays()
        first = self._first
        for entry in entries:
            entry.extracted = {**entry.extracted, **entry.labels}
            first(entry)
        return self._take()

    def due_ns(self) -> int | None:
        """Return when what is held back has to go on."""
        if self._strays:
            return 0
        return min((due for hold in self._run.holds if (due := hold.due_ns()) is not None), default=None)

    def flush(self, now_ns: int, *, everything: bool = False) -> list[Chunk]:
        """Give what was held back for long enough, or all of it."""
        self._run.now_ns = now_ns
        self._pass_strays()
        for hold in self._run.holds:
            hold.flush(now_ns, everything=everything)
        return self._take()

    def snapshot(self) -> bytes:
        """Return what is held back; empty where nothing is."""
        held = [[hold.kind, hold.held()] for hold in self._run.holds]
        if self._strays:
            held.append(["", self._strays])
        return json.dumps(held, ensure_ascii=False).encode() if any(what is not None for _, what in held) else b""

    def restore(self, snapshot: bytes) -> None:
        """Go on with what a snapshot held; where the stages have changed since, it goes to the first that takes it."""
        if not snapshot:
            return
        free = list(self._run.holds)
        for kind, held in json.loads(snapshot):
            hold = next((one for one in free if one.kind == kind), None)
            if hold is not None:
                free.remove(hold)
            if held is None:
                continue
            if hold is not None:
                hold.restore(held)
            else:
                self._strays += held

    def _pass_strays(self) -> None:
        if self._strays:
            for entry in held_entries(self._strays):
                self._streams.add(entry)
            self._strays = []

    def _take(self) -> list[Chunk]:
        pause_s, self._run.pause_s = self._run.pause_s, 0.0
        return self._streams.take(pause_s)
