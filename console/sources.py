"""What the console shows, as callables that whoever starts it hands in: it knows none of the other components."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.errors import PermanentError

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


@dataclass(frozen=True, slots=True)
class TargetsWanted:
    """Targets of one job (all, if empty), in these states (all, if none), with all these words; at most so many."""

    job: str = ""
    states: frozenset[str] = frozenset()
    words: tuple[str, ...] = ()
    limit: int = 100


async def _no_targets(_state: str, _pool: str) -> Plain:
    return {"activeTargets": [], "droppedTargets": [], "droppedTargetCounts": {}}


async def _no_targets_page(_: TargetsWanted) -> Plain:
    return {"jobs": {}, "matching": 0, "rows": []}


async def _no_explanation(pool: str, _: Mapping[str, str]) -> Plain:
    raise PermanentError(f'scrape pool "{pool}" not found')


async def _no_logs_page(_: TargetsWanted) -> Plain:
    return {"jobs": {}, "matching": 0, "rows": [], "trouble": None}


async def _no_dead_letters(_: int) -> DeadLetterPage:
    return DeadLetterPage(0, ())


def _no_parts() -> Mapping[str, str | None]:
    return {}


@dataclass(frozen=True, slots=True)
class Sources:
    """Each may raise PipelineError: the console then says so in its place, and shows the rest.

    `status` gives the JSON of `pronoia status --json`; `targets` the `data` of Prometheus' /api/v1/targets for a state
    and a scrape pool (either may be empty); `targets_page` the counts by job and state and the first of those wanted;
    `explain` what a job makes of a target's discovered labels; `logs_page` and `explain_logs` the same of jobs of logs;
    `dead_letters` at most so many rows; `parts` each component's name and why it is not ready (None where it is).
    """

    status: Callable[[], Awaitable[Plain]]
    targets: Callable[[str, str], Awaitable[Plain]] = field(default=_no_targets)
    targets_page: Callable[[TargetsWanted], Awaitable[Plain]] = field(default=_no_targets_page)
    explain: Callable[[str, Mapping[str, str]], Awaitable[Plain]] = field(default=_no_explanation)
    dead_letters: Callable[[int], Awaitable[DeadLetterPage]] = field(default=_no_dead_letters)
    parts: Callable[[], Mapping[str, str | None]] = field(default=_no_parts)
    logs_page: Callable[[TargetsWanted], Awaitable[Plain]] = field(default=_no_logs_page)
    explain_logs: Callable[[str, Mapping[str, str]], Awaitable[Plain]] = field(default=_no_explanation)
