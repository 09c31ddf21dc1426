"""One page of targets for people: how many there are by job and state, and those that match, the unhealthy first."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from heapq import nsmallest
from typing import Any

from agent.job import JobTargets
from agent.target import Dropped, Target
from agent.targets_api import Health, describe, describe_dropped, describe_health

ORDER = ("down", "unknown", "up", "duplicate", "unusable", "dropped")
"""The states that a row may have, in the order in which rows are shown."""
_RANK = {state: number for number, state in enumerate(ORDER)}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to show: of one job (all, if empty), of these states (all, if none), with all of these words in it."""

    job: str = ""
    states: frozenset[str] = frozenset()
    words: tuple[str, ...] = ()
    limit: int = 100


@dataclass(frozen=True, slots=True)
class Row:
    """A target and the state that it is in."""

    state: str
    what: Target | Dropped


def page(
    by_job: Mapping[str, JobTargets[Target]], health_of: Callable[[Target], Health], host: str, wanted: Wanted
) -> dict[str, Any]:
    """Return the counts of all jobs and the first rows that match; `matching` is the number of all that do.

    Dropped targets are counted whole, but only those that were kept can be rows. Takes a moment for many targets: not
    for the event loop.
    """
    jobs, matching = dict[str, dict[str, int]](), list[Row]()
    for name in sorted(by_job):
        counts = jobs[name] = dict.fromkeys(ORDER, 0)
        for row in rows(by_job[name], lambda target: health_of(target).health):
            counts[row.state] += 1
            if wanted.job in ("", name) and row.state in (wanted.states or _RANK) and has(row.what, wanted.words):
                matching.append(row)
        counts["dropped"] = by_job[name].dropped_count - counts["unusable"]
    first = nsmallest(wanted.limit, matching, key=lambda row: _RANK[row.state])
    return {"jobs": jobs, "matching": len(matching), "rows": [_shown(row, health_of, host) for row in first]}


def rows(targets: JobTargets[Target], state_of: Callable[[Target], str]) -> Iterable[Row]:
    """Yield every target of a job that is known; `state_of` gives the state of one that is scraped."""
    for target in targets.active:
        yield Row(state_of(target), target)
    for target in targets.duplicates:
        yield Row("duplicate", target)
    for dropped in targets.dropped:
        yield Row("unusable" if dropped.rule is None else "dropped", dropped)


def has(what: Target | Dropped, words: Iterable[str]) -> bool:
    """Tell whether every word (lower case) is somewhere in a target: its URL, a label `name=value`, or a reason."""
    words = tuple(words)
    if not words:
        return True
    own = [what.url, *map("=".join, what.labels)] if isinstance(what, Target) else [what.reason]
    found = map("=".join, (*what.shared.items(), *what.found.items()))
    text = "\n".join([what.config.job_name, *own, *found]).lower()
    return all(word in text for word in words)


def _shown(row: Row, health_of: Callable[[Target], Health], host: str) -> dict[str, Any]:
    if isinstance(row.what, Dropped):
        return {"state": row.state, **describe_dropped(row.what)}
    if row.state == "duplicate":
        return {"state": row.state, **describe(row.what)}
    return {"state": row.state, **describe(row.what), **describe_health(row.what, health_of(row.what), host)}
