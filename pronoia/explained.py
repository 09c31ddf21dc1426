"""One target's way from discovery to scraping, as text."""

import json
from collections.abc import Iterator
from typing import Final

from agent.explain import Explanation
from agent.target import Dropped, Target
from pipeline.config import format_duration
from pipeline.relabel import Change, RuleStep
from pipeline.wire.remote_write import Labels

_KEEPING: Final = ("keep", "drop", "keepequal", "dropequal")
"""The actions that change no label."""


def explained(one: Explanation) -> Iterator[str]:
    """Yield the lines that tell one target's way."""
    yield f"{_name(one)} (job {one.outcome.config.job_name}): {_verdict(one)}"
    yield from _table("discovered", one.discovered)
    ran = len(one.steps) if one.state != "dropped" else 1 + [step.keep for step in one.steps].index(False)
    for number, step in enumerate(one.steps[:ran]):
        yield f"  relabel_configs[{number}]: {step.rule}"
        yield from (f"    {line}" for line in _did(step))
    if ran < len(one.steps):
        yield f"  {len(one.steps) - ran} more do not run"
    if isinstance(one.outcome, Target):
        yield from _table("labels", one.outcome.labels)
    for other in one.same:
        yield f"  the same labels: {other.url} (job {other.config.job_name}), {show(other.discovered_labels)}"
    if one.same_count > len(one.same):
        yield f"  and {one.same_count - len(one.same):,} more with the same labels"


def _name(one: Explanation) -> str:
    return one.outcome.url if isinstance(one.outcome, Target) else dict(one.discovered).get("__address__", "no address")


def _verdict(one: Explanation) -> str:
    if isinstance(one.outcome, Dropped):
        return f"dropped by relabel_configs[{one.outcome.rule}]" if one.state == "dropped" else one.outcome.reason
    every = f"every {format_duration(one.outcome.interval_s)}, timeout {format_duration(one.outcome.timeout_s)}"
    return f"scraped {every}" if one.state == "active" else "found twice, scraped once"


def _did(step: RuleStep) -> Iterator[str]:
    looked_at = f" (looked at {_quoted(step.value)})" if step.rule.source_labels else ""
    if not step.keep:
        yield f"DROPS the target{looked_at}"
    elif not step.changes:
        yield f"{'keeps it' if step.rule.action in _KEEPING else 'changes nothing'}{looked_at}"
    yield from map(_change, step.changes)


def _change(change: Change) -> str:
    if not change.before:
        return f"+ {change.name}={_quoted(change.after)}"
    if not change.after:
        return f"- {change.name}={_quoted(change.before)}"
    return f"~ {change.name}: {_quoted(change.before)} → {_quoted(change.after)}"


def _table(title: str, labels: Labels) -> Iterator[str]:
    width = max((len(name) for name, _ in labels), default=0)
    yield f"  {title}"
    yield from (f"    {name:<{width}}  {_quoted(value)}" for name, value in labels)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def show(labels: Labels) -> str:
    """Return labels in one line, as Prometheus shows them."""
    return "{" + ", ".join(f"{name}={_quoted(value)}" for name, value in labels) + "}"
