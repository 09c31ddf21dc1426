"""What stages hold back until a time: a multiline entry that nothing follows, say."""

from dataclasses import dataclass, field

from agent.logs.chunk import Take
from agent.logs.input import InputTools
from agent.tail.follow import Follow


@dataclass(slots=True)
class Holding:
    """The paths whose stages hold something back for a time."""

    tools: InputTools
    _follows: dict[Follow, None] = field(default_factory=dict)

    def note(self, follow: Follow) -> None:
        """Look after a path whose stages got lines, or were given back what they held."""
        if follow.pipeline.due_ns() is not None:
            self._follows[follow] = None

    def forget(self, follow: Follow) -> None:
        """Look after a path no longer."""
        self._follows.pop(follow, None)

    async def flush(self) -> None:
        """Give what stages held back for long enough."""
        now_ns = self.tools.now_ns()
        for follow in list(self._follows):
            due_ns = follow.pipeline.due_ns()
            if due_ns is None:
                self._follows.pop(follow, None)
            elif due_ns <= now_ns:
                chunks = tuple(follow.pipeline.flush(now_ns))
                await self.tools.keep.put(Take(follow.path, chunks, follow.state()))

    def wait_s(self) -> float | None:
        """Return in how many seconds stages have something to give on; None while nothing waits for a time."""
        due_ns = [due for follow in self._follows if (due := follow.pipeline.due_ns()) is not None]
        return max(0.0, min(due_ns) / 1e9 - self.tools.clock()) if due_ns else None
