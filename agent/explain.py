"""What becomes of a target and why: rule by rule, on demand. Nothing of it is kept with the targets."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from agent.job import AnyJob, JobTargets
from agent.target import Dropped, Target
from pipeline.relabel import RuleStep, trace
from pipeline.wire.remote_write import Labels

State = Literal["active", "dropped", "unusable", "duplicate", "elsewhere"]
"""Scraped; dropped by a rule; not to be scraped whatever the rules say; the same as a target that is scraped; or, of
agents that share the work, another one's."""
Alike = Callable[[Labels], Iterable[tuple[Target, bool]]]
"""Finds the targets with these labels, of all jobs, and says of each whether it is scraped (or a duplicate)."""
MAX_SAME = 20
"""How many targets with the same labels an explanation names."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """One target's way from discovery to scraping.

    `same` are other targets whose series have the same labels, in its job or in another: their samples get mixed up,
    or, where the URL and the job are the same too (a duplicate), only one of them is scraped. At most MAX_SAME of them;
    `same_count` is their whole number.
    """

    discovered: Labels
    steps: tuple[RuleStep, ...]
    outcome: Target | Dropped
    state: State
    same: tuple[Target, ...] = ()
    same_count: int = 0


def explain(
    job: AnyJob[Target], discovered: Mapping[str, str], alike: Alike, is_ours: Callable[[Target], bool] = lambda _: True
) -> Explanation:
    """Explain what a job makes of a target with these discovered labels, whether or not discovery has found it.

    The job's defaults need not be among the labels. `is_ours` tells this agent's targets from those of others.
    """
    outcome = job.outcome(discovered)
    begun = outcome.discovered_labels
    steps = trace(job.rules, dict(begun))
    if isinstance(outcome, Dropped):
        return Explanation(begun, steps, outcome, "unusable" if outcome.rule is None else "dropped")
    others = list(alike(outcome.labels))
    for one in others:
        # The first that began with the same labels is the one that is asked for.
        if one[0].key == outcome.key and one[0].discovered_labels == begun:
            others.remove(one)
            break
    state: State = "active" if is_ours(outcome) else "elsewhere"
    if any(scraped and target.key == outcome.key for target, scraped in others):
        state = "duplicate"
    same = tuple(target for target, _ in others[:MAX_SAME])
    return Explanation(begun, steps, outcome, state, same, len(others))


def looking(by_job: Mapping[str, JobTargets[Target]]) -> Alike:
    """Return what looks through all targets each time that it is asked: for one explanation."""
    return lambda labels: ((target, scraped) for target, scraped in _all(by_job) if target.labels == labels)


def indexed(by_job: Mapping[str, JobTargets[Target]]) -> Alike:
    """Return what looks through all targets once: for many explanations."""
    index: dict[Labels, list[tuple[Target, bool]]] = defaultdict(list)
    for target, scraped in _all(by_job):
        index[target.labels].append((target, scraped))
    return lambda labels: index.get(labels, [])


def _all(by_job: Mapping[str, JobTargets[Target]]) -> Iterator[tuple[Target, bool]]:
    for targets in by_job.values():
        yield from ((target, True) for target in targets.active)
        yield from ((target, False) for target in targets.duplicates)
