"""How far the logs of a container were read: of each stream the last time, and how many lines had that time."""

import json
from dataclasses import dataclass, field
from typing import Final

from pipeline.wire.docker_logs import Line

OVERLAP_NS: Final = 10 * 1_000_000_000
"""A stream's lines come in the order of their times; of two streams, what one has may come this much later."""


@dataclass(slots=True)
class Position:
    """Moved by `is_new`, line by line."""

    last: dict[str, tuple[int, int]] = field(default_factory=dict)
    _again: dict[str, tuple[int, int]] = field(default_factory=dict)

    @classmethod
    def read(cls, text: bytes) -> "Position":
        """Return the position that `text` is, or that of nothing read."""
        return cls({stream: (at_ns, count) for stream, (at_ns, count) in json.loads(text or b"{}").items()})

    def write(self) -> bytes:
        """Return it as text."""
        return json.dumps(self.last).encode()

    def begin(self) -> str:
        """Return from when the daemon is to be asked (`since`): what comes again is not new."""
        self._again = dict(self.last)
        if not self.last:
            return "0"
        times_ns = [at_ns for at_ns, _ in self.last.values()]
        since_ns = max(min(times_ns), max(times_ns) - OVERLAP_NS) if len(times_ns) > 1 else times_ns[0] - OVERLAP_NS
        since_ns = max(0, since_ns)
        return f"{since_ns // 1_000_000_000}.{since_ns % 1_000_000_000:09d}"

    def is_new(self, line: Line) -> bool:
        """Tell whether a line was not read before, and note that it is now."""
        again = self._again.get(line.stream)
        if again is not None:
            at_ns, count = again
            if line.time_ns < at_ns:
                return False
            if line.time_ns == at_ns and count:
                self._again[line.stream] = (at_ns, count - 1)
                return False
            del self._again[line.stream]
        at_ns, count = self.last.get(line.stream, (0, 0))
        self.last[line.stream] = (line.time_ns, count + 1 if at_ns == line.time_ns else 1)
        return True
