"""`timestamp`: an extracted value becomes the line's time. Source: promtail, stages/timestamp.go."""

from typing import Any, Final

from agent.config.stage_kinds import TimestampStage
from agent.logs.entry import Entry
from agent.stages.lang.layout import ParseTime, compile_layout
from agent.stages.step import Run, Step, Then
from agent.stages.values import as_text

_MAX_STREAMS: Final = 10_000


def timestamp_step(config: TimestampStage) -> Step:
    """Return the stage."""
    formats = [compile_layout(layout, config.location) for layout in (config.format, *config.fallback_formats)]
    parse = formats[0] if len(formats) == 1 else _first_of(formats)
    source, fudges = config.source, config.action_on_failure == "fudge"

    def bind(then: Then, run: Run) -> Then:
        clock = Clock(parse, run, fudges=fudges)

        def set_time(entry: Entry) -> None:
            clock.set(entry, entry.extracted.get(source))
            then(entry)

        return set_time

    return Step(bind)


def _first_of(formats: list[ParseTime]) -> ParseTime:
    def parse(text: str, now_ns: int) -> int:
        for one in formats[:-1]:
            try:
                return one(text, now_ns)
            except ValueError:
                continue
        return formats[-1](text, now_ns)

    return parse


class Clock:
    """Gives entries their times; where there is none to be read, that of the stream's line before and a nanosecond."""

    def __init__(self, parse: ParseTime, run: Run, *, fudges: bool = True) -> None:
        self._parse, self._run, self._fudges = parse, run, fudges
        self.last_ns: dict[tuple[tuple[str, str], ...], int] = {}
        """By labels, the times that were set last."""

    def note(self, key: tuple[tuple[str, str], ...], time_ns: int) -> None:
        """Take note of the last time of a stream whose lines were read without this clock."""
        self.last_ns[key] = time_ns

    def set(self, entry: Entry, value: Any) -> None:
        """Set an entry's time from a value."""
        text = as_text(value)
        time_ns = None
        if text is not None:
            try:
                time_ns = self._parse(text, self._run.now_ns)
            except ValueError:
                time_ns = None
        if not self._fudges:
            if time_ns is not None:
                entry.time_ns = time_ns
            return
        key = tuple(entry.labels.items())
        if time_ns is None:
            last_ns = self.last_ns.get(key)
            if last_ns is None:
                return
            time_ns = last_ns + 1
        elif key not in self.last_ns and len(self.last_ns) >= _MAX_STREAMS:
            del self.last_ns[next(iter(self.last_ns))]
        entry.time_ns = self.last_ns[key] = time_ns
