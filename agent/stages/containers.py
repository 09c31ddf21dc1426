"""`docker` and `cri`: lines as container runtimes write them.

Source: promtail, clients/pkg/logentry/stages/extensions.go; Kubernetes, "Logging Architecture" (a CRI line is a time in
RFC 3339 with nanoseconds, the stream, `P` or `F`, and the content; what is longer than 16 KiB comes in several with `P`
but for the last).
"""

import re
from typing import Any, ClassVar, Final

from agent.config.stage_kinds import CriStage, JsonStage
from agent.logs.entry import Entry
from agent.stages.extract import json_step
from agent.stages.held import pack_entry, unpack_entry
from agent.stages.lang.layout import compile_layout
from agent.stages.step import Run, Step, Then
from agent.stages.timestamp import Clock
from agent.stages.values import as_text

# As promtail's own expression: the parts are cut off from the left, and only the stream has to be one of two.
CRI: Final = re.compile(r"([^\t\n\f\r ]+) (stdout|stderr) ([^\t\n\f\r ]+) (.*)", re.DOTALL)

_MAX_SIZE: Final = 1 << 20
"""Characters of a line whose end is still to come; beyond, it goes on in parts: what never ends must not be kept."""
_MAX_ALL: Final = 4 << 20
"""Characters of all such lines of a source's pipeline; beyond, all of them go on."""

Key = tuple[tuple[str, str], ...]


class Container:
    """A stage that unwraps lines, at work on one source; `unknown` are the extracted values that each line has anew."""

    kind: ClassVar[str]
    unknown: ClassVar[tuple[str, ...]]

    def __init__(self, then: Then, run: Run, partial: "Partial | None" = None) -> None:
        self._then = then
        self.clock = Clock(compile_layout("RFC3339Nano"), run)
        self.partial = partial
        """What is held back of lines whose end is to come."""

    def __call__(self, entry: Entry) -> None:
        """Unwrap an entry's line."""
        raise NotImplementedError

    def _unwrapped(self, entry: Entry, time: str, line: str) -> None:
        """Set labels, time and line from what was extracted; what has no text leaves them as they are."""
        extracted = entry.extracted
        stream = as_text(extracted.get("stream"))
        if stream is not None:
            entry.labels["stream"] = stream
        self.clock.set(entry, extracted.get(time))
        text = as_text(extracted.get(line))
        if text is not None:
            entry.line = text
        self._then(entry)


class Docker(Container):
    """The `docker` stage: `{"log": …, "stream": …, "time": …}`."""

    kind = "docker"
    unknown = ("output", "timestamp")

    def __init__(self, then: Then, run: Run) -> None:
        super().__init__(then, run)
        self._extract = _DOCKER.bind(lambda entry: self._unwrapped(entry, "timestamp", "output"), run)

    def __call__(self, entry: Entry) -> None:
        """Unwrap an entry's line."""
        entry.extracted.update(entry.labels)
        self._extract(entry)


class Cri(Container):
    """The `cri` stage."""

    kind = "cri"
    unknown = ("time", "flags", "content")

    def __call__(self, entry: Entry) -> None:
        """Unwrap an entry's line."""
        extracted = entry.extracted
        extracted.update(entry.labels)
        found = CRI.fullmatch(entry.line)
        # Without a match these may be there all the same: as labels, or by what stages before this one found.
        if found is not None:
            extracted["time"], extracted["stream"], extracted["flags"], extracted["content"] = found.groups()
        self._unwrapped(entry, "time", "content")


_DOCKER: Final = json_step(JsonStage(expressions={"output": "log", "stream": "stream", "timestamp": "time"}))


def docker_step() -> Step:
    """Return the `docker` stage."""
    return Step(Docker)


def cri_step(config: CriStage) -> Step:
    """Return the `cri` stage."""

    def bind(then: Then, run: Run) -> Then:
        partial = Partial(config, then)
        run.holds.insert(0, partial)
        return Cri(partial.take, run, partial)

    return Step(bind)


class Partial:
    """The lines of which the end is to come, one a stream."""

    kind = "cri"

    def __init__(self, config: CriStage, then: Then) -> None:
        self._most, self.then = config.max_partial_lines, then
        self._max_bytes = config.max_partial_line_size if config.max_partial_line_size_truncate else None
        self._lines: dict[Key, Entry] = {}

    def __bool__(self) -> bool:
        return bool(self._lines)

    def holds(self, key: Key) -> bool:
        """Tell whether a part is held of the stream with these labels, in any order."""
        return tuple(sorted(key)) in self._lines

    def take(self, entry: Entry) -> None:
        """Hold back a partial line, or join a full one with what came before it."""
        if entry.extracted.get("flags") != "P":
            if self._lines and (before := self._lines.pop(_key(entry), None)):
                self._join(before, entry)
            self.then(entry)
            return
        if len(self._lines) >= self._most:
            # As promtail: too many streams with a part each, so all parts go on as they are.
            self._let_go()
        key = _key(entry)
        before = self._lines.get(key)
        if before is not None:
            self._join(before, entry)
        else:
            self._cut(entry)
        self._lines[key] = entry
        if len(entry.line) > _MAX_SIZE:
            del self._lines[key]
            self.then(entry)
        elif len(self._lines) > _MAX_ALL // _MAX_SIZE and sum(len(one.line) for one in self._lines.values()) > _MAX_ALL:
            self._let_go()

    def _join(self, before: Entry, entry: Entry) -> None:
        entry.line = before.line + entry.line
        self._cut(entry)

    def _cut(self, entry: Entry) -> None:
        if self._max_bytes is not None and len(entry.line) * 4 > self._max_bytes:
            entry.line = entry.line.encode()[: self._max_bytes].decode(errors="ignore")

    def _let_go(self) -> None:
        lines, self._lines = self._lines, {}
        for entry in lines.values():
            self.then(entry)

    def due_ns(self) -> int | None:
        """Return None: the end of a line comes when it comes."""
        return None

    def flush(self, now_ns: int, *, everything: bool) -> None:
        """Let all go where nothing comes any more."""
        if everything:
            self._let_go()

    def held(self) -> Any:
        """Return the parts."""
        return [{"entry": pack_entry(entry)} for entry in self._lines.values()] or None

    def restore(self, held: Any) -> None:
        """Hold the parts again."""
        for one in held:
            entry = unpack_entry(one["entry"])
            self._lines[_key(entry)] = entry


def _key(entry: Entry) -> Key:
    return tuple(sorted(entry.labels.items()))
