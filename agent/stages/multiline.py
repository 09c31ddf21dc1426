"""`multiline`: a first line and those behind it become one entry. Source: promtail, stages/multiline.go.

What is gathered is part of the pipeline's state, so that a restart neither loses nor repeats it.
"""

from dataclasses import dataclass
from typing import Any, Final

from agent.config.stage_selection import MultilineStage
from agent.logs.entry import Entry
from agent.stages.held import pack_entry, unpack_entry
from agent.stages.lang.regex import compile_regex
from agent.stages.step import Run, Step, Then

_MAX_STREAMS: Final = 1_000
"""Streams that are gathered at once; beyond, the one that began first is let go."""
_MAX_SIZE: Final = 1 << 20
"""Characters of one entry; beyond, it is let go: no store takes more."""
_MAX_ALL: Final = 4 << 20
"""Characters of all that a source's pipeline gathers; beyond, what began first is let go."""

Key = tuple[tuple[str, str], ...]


@dataclass(slots=True)
class _Gathered:
    """Lines of one stream: labels, time and what was extracted are the first line's."""

    first: Entry
    lines: list[str]
    at_ns: int
    """When the last of them came."""
    size: int = 0
    count: int = 0

    def whole(self) -> Entry:
        """Return what has been gathered so far as one entry."""
        first, line = self.first, "\n".join(self.lines)
        return Entry(dict(first.labels), first.time_ns, line, dict(first.metadata), dict(first.extracted))


def multiline_step(config: MultilineStage) -> Step:
    """Return the stage."""

    def bind(then: Then, run: Run) -> Then:
        gathering = Gathering(config, then, run)
        run.holds.insert(0, gathering)
        return gathering.take

    return Step(bind)


class Gathering:
    """The entries that may go on."""

    kind = "multiline"

    def __init__(self, config: MultilineStage, then: Then, run: Run) -> None:
        self._begins = compile_regex(config.firstline).matches
        self._max_lines, self._wait_ns = config.max_lines, config.max_wait_time
        self._then, self._run = then, run
        self._streams: dict[Key, _Gathered] = {}
        self._size = 0

    def take(self, entry: Entry) -> None:
        """Begin an entry with a line, or add it to one; what comes before a stream's first line goes on as it is."""
        key = tuple(sorted(entry.labels.items()))
        stream = self._streams.get(key)
        begins = self._begins(entry.line)
        if stream is None:
            if not begins:
                self._then(entry)
                return
            stream = self._streams[key] = _Gathered(entry, [], 0)
            if len(self._streams) > _MAX_STREAMS:
                self._let_go(self._streams.pop(next(iter(self._streams))))
        elif begins:
            self._let_go(stream)
            stream.first = entry
        # Empty lines in front count, but are not kept.
        if stream.lines or entry.line:
            stream.lines.append(entry.line)
            stream.size += len(entry.line) + 1
            self._size += len(entry.line) + 1
        stream.count += 1
        stream.at_ns = self._run.now_ns
        if stream.count == self._max_lines or stream.size > _MAX_SIZE:
            self._let_go(stream)
        if self._size > _MAX_ALL:
            self._let_go(next(one for one in self._streams.values() if one.lines))

    def _let_go(self, stream: _Gathered) -> None:
        stream.count = 0
        if stream.lines:
            entry = stream.whole()
            self._size -= stream.size
            stream.lines, stream.size = [], 0
            self._then(entry)

    def due_ns(self) -> int | None:
        """Return when the first of them will have waited for long enough."""
        return min((one.at_ns + self._wait_ns for one in self._streams.values() if one.lines), default=None)

    def flush(self, now_ns: int, *, everything: bool) -> None:
        """Let go what nothing was added to for long enough."""
        for stream in self._streams.values():
            if everything or stream.at_ns + self._wait_ns <= now_ns:
                self._let_go(stream)

    def held(self) -> Any:
        """Return all of them, and the first lines by which what comes next is known."""
        return [
            {"entry": pack_entry(one.whole()), "lines": len(one.lines), "count": one.count, "at_ns": one.at_ns}
            for one in self._streams.values()
        ] or None

    def restore(self, held: Any) -> None:
        """Gather on."""
        for one in held:
            entry = unpack_entry(one["entry"])
            # As many as they were; where a line had line feeds of its own, that they are joined again is what counts.
            lines = entry.line.split("\n", one["lines"] - 1) if one["lines"] else []
            self._streams[tuple(sorted(entry.labels.items()))] = _Gathered(
                entry, lines, one["at_ns"], len(entry.line), one["count"]
            )
            self._size += len(entry.line)
