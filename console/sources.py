"""What the console shows, as callables that whoever starts it hands in: it knows none of the other components."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Plain = Mapping[str, Any]
"""What JSON can carry."""


@dataclass(frozen=True, slots=True)
class DeadLetterRow:
    """One refusal; `status` is HTTP's, 0 where no store was asked. `id` is what `pronoia dead-letters show` takes."""

    id: str
    at_ms: int
    cluster: str
    sink: str
    signal: str
    status: int
    reason: str
    items: int


@dataclass(frozen=True, slots=True)
class DeadLetterPage:
    """The newest refusals, newest first, and how many there are in all."""

    total: int
    rows: Sequence[DeadLetterRow]


async def _no_targets() -> Plain:
    return {"activeTargets": [], "droppedTargets": [], "droppedTargetCounts": {}}


async def _no_dead_letters(_: int) -> DeadLetterPage:
    return DeadLetterPage(0, ())


def _no_parts() -> Mapping[str, str | None]:
    return {}


@dataclass(frozen=True, slots=True)
class Sources:
    """Each may raise PipelineError: the console then says so in its place, and shows the rest.

    `status` gives the JSON of `pronoia status --json`; `targets` the `data` of Prometheus' /api/v1/targets;
    `dead_letters` at most so many rows; `parts` each component's name and why it is not ready (None where it is).
    """

    status: Callable[[], Awaitable[Plain]]
    targets: Callable[[], Awaitable[Plain]] = field(default=_no_targets)
    dead_letters: Callable[[int], Awaitable[DeadLetterPage]] = field(default=_no_dead_letters)
    parts: Callable[[], Mapping[str, str | None]] = field(default=_no_parts)
