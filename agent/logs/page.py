"""One page of what logs are read for people: counts by job and state, and the parts that match, the worst first."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from heapq import nsmallest
from typing import Any, Final

from agent.job import JobTargets
from agent.logs.job import LogTarget
from agent.logs.parts import InputNow, Measured, Part
from agent.logs.tally import Tally
from agent.target import Dropped
from agent.targets_api import describe_dropped
from agent.targets_page import Wanted

ORDER: Final = ("failing", "behind", "reading", "nothing", "duplicate", "unusable", "dropped", "elsewhere")
"""The states that a row may have, in the order in which rows are shown."""
BEHIND_BYTES: Final = 1 << 20
"""More than this has to be there unread for a file to be `behind`: less comes and goes while it is written."""
_RANK: Final = {state: number for number, state in enumerate(ORDER)}


@dataclass(frozen=True, slots=True)
class Row:
    """A part with its target, a target without any part yet, or one that is left out."""

    job: str
    state: str
    target: LogTarget | Dropped | None = None
    part: Part | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """The counts of each job by state, how many rows match, and the first of them."""

    counts: Mapping[str, Mapping[str, int]]
    matching: int
    first: list[Row]


def find(by_job: Mapping[str, JobTargets[LogTarget]], inputs: Mapping[str, InputNow], wanted: Wanted) -> Found:
    """Look through everything in memory; not for the event loop."""
    counts, matching = dict[str, dict[str, int]](), list[Row]()
    for name in sorted(by_job.keys() | inputs.keys()):
        targets = by_job.get(name, JobTargets())
        of = counts[name] = dict.fromkeys(ORDER, 0)
        for row in rows(name, targets, inputs.get(name)):
            of[row.state] += 1
            if wanted.job in ("", name) and row.state in (wanted.states or _RANK) and _has(row, wanted.words):
                matching.append(row)
    return Found(counts, len(matching), nsmallest(wanted.limit, matching, key=_urgency))


def rows(job: str, targets: JobTargets[LogTarget], now: InputNow | None) -> Iterator[Row]:
    """Yield what a job reads, and what it has found and does not read."""
    by_key = {target.key: target for target in targets.active}
    without = set(by_key)
    for part in now.parts() if now is not None else ():
        without.discard(part.source)
        yield Row(job, state_of(part), by_key.get(part.source), part)
    for target in targets.active:
        if target.key in without:
            yield Row(job, "nothing", target)
    for target in targets.duplicates:
        yield Row(job, "duplicate", target)
    for dropped in targets.dropped:
        state = "elsewhere" if dropped.is_elsewhere else "unusable" if dropped.rule is None else "dropped"
        yield Row(job, state, dropped)


def state_of(part: Part) -> str:
    """Return how it goes with a part."""
    return "failing" if part.trouble else "behind" if (part.behind_bytes or 0) > BEHIND_BYTES else "reading"


def show(found: Found, inputs: Mapping[str, InputNow], counted: Mapping[str, Tally], sizes: Measured) -> dict[str, Any]:
    """Return the page as JSON has it; not for the event loop, since a target's discovered labels are made anew."""
    jobs = {name: describe_job(counts, inputs.get(name), counted) for name, counts in found.counts.items()}
    return {"jobs": jobs, "matching": found.matching, "rows": [describe(row, sizes) for row in found.first]}


def describe(row: Row, sizes: Measured) -> dict[str, Any]:
    """Return a row as JSON has it; `sizes` are those of files that are known anew."""
    target, part = row.target, row.part
    if isinstance(target, Dropped):
        return {"state": row.state, **describe_dropped(target)}
    shown: dict[str, Any] = {"state": row.state, "scrapePool": row.job, "discoveredLabels": None, "labels": {}}
    if target is not None:
        shown |= {"discoveredLabels": dict(target.discovered_labels), "labels": dict(target.labels)}
        shown |= {"path": target.path, "pathExclude": target.exclude}
    if part is not None:
        part = part.measured(sizes)
        shown |= {"name": part.name, "labels": shown["labels"] or dict(part.labels), "trouble": part.trouble}
        shown |= {"state": state_of(part), "lines": part.lines, "lastRead": part.read_s}
        shown |= {"offset": part.offset, "behindBytes": part.behind_bytes}
    return shown


def describe_job(counts: Mapping[str, int], now: InputNow | None, counted: Mapping[str, Tally]) -> dict[str, Any]:
    """Return what is told of a whole job: its rows by state, and its lines since the start."""
    tally = counted.get(now.job, Tally()) if now is not None else Tally()
    shown = {"input": now.kind if now is not None else "", "trouble": now.trouble if now is not None else None}
    lines = {"lines": tally.lines, "bytes": tally.bytes, "cut": tally.cut, "dropped": tally.dropped}
    return {**shown, "counts": counts, "read": lines}


def _urgency(row: Row) -> tuple[int, int]:
    return _RANK[row.state], -((row.part.behind_bytes or 0) if row.part is not None else 0)


def _has(row: Row, words: Iterable[str]) -> bool:
    """Tell whether every word (lower case) is somewhere in a row."""
    words = tuple(words)
    if not words:
        return True
    texts, target, part = [row.job], row.target, row.part
    if part is not None:
        texts += [part.name, part.trouble, *map("=".join, part.labels.items())]
    if target is not None:
        texts += map("=".join, (*target.shared.items(), *target.found.items()))
        texts += [target.reason] if isinstance(target, Dropped) else [target.path, *map("=".join, target.labels)]
    text = "\n".join(texts).lower()
    return all(word in text for word in words)
