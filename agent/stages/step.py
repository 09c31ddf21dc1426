"""What the stages of a pipeline have in common."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from agent.logs.entry import Entry

Then = Callable[[Entry], None]
"""What comes behind a stage. A stage calls it for each entry that goes on; not calling it drops or holds back."""


class Hold(Protocol):
    """What a stage holds back of one source."""

    kind: str
    """The stage's name: what is held is given back to a stage of this name after a restart."""

    def due_ns(self) -> int | None:
        """Return when the first of it has to go on (Unix nanoseconds); None while nothing waits for a time."""

    def flush(self, now_ns: int, *, everything: bool) -> None:
        """Let go on what waited for long enough, or everything."""

    def held(self) -> Any:
        """Return it as values that JSON can hold; None where it is nothing."""

    def restore(self, held: Any) -> None:
        """Hold back what `held` returned before a restart."""


class Drop(Protocol):
    """Counts lines that a stage drops, by its reason."""

    def __call__(self, reason: str, lines: int = 1, /) -> None:
        """Count so many."""


@dataclass(slots=True)
class Run:
    """One source's run through its job's stages.

    `now_ns` is the time as stages see it: when the lines at work were read. `holds` are the stages that hold back, in
    the pipeline's order. `pause_s` is how long the source should not be read after this. `drop` counts by a reason.
    """

    drop: "Drop"
    now_ns: int = 0
    pause_s: float = 0.0
    holds: list[Hold] = field(default_factory=list)


class NeedsLine(Exception):  # noqa: N818 # an answer, not an error
    """What a stage does with an entry depends on more than its source's labels."""


UNKNOWN: Final = str(b"what a line will say", "ascii")
"""Stands, as this very object, for what every line says anew where it is asked what stages do with all lines alike."""


@dataclass(frozen=True, slots=True)
class Step:
    """A configured stage. `bind` makes the function for one source's run, with what comes behind it.

    `by_labels` says that it looks at nothing but labels and extracted values, of which it takes the text as it is: for
    all lines with equal ones it does the same. It may raise NeedsLine for an entry whose line is UNKNOWN.
    """

    bind: Callable[[Then, Run], Then]
    by_labels: bool = False


def chain(steps: tuple[Step, ...], then: Then, run: Run) -> Then:
    """Bind stages behind one another, for one source."""
    for step in reversed(steps):
        then = step.bind(then, run)
    return then
