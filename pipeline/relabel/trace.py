"""What each rule of a list does to one label set, step by step: for people, never on the way of targets or samples."""

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.relabel.config import RelabelConfig
from pipeline.relabel.rules import Rules, as_labels
from pipeline.wire.remote_write import Labels


@dataclass(frozen=True, slots=True)
class Change:
    """A label that a rule set, changed or took away; `before` or `after` is empty where it was, or is, not there."""

    name: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class RuleStep:
    """What one rule did: the value it looked at (its source labels', joined), the labels after it, what changed.

    `keep` is false for the rule that drops, and for those behind it, which do not run: they have no labels.
    """

    rule: RelabelConfig
    value: str
    labels: Labels
    changes: tuple[Change, ...]
    keep: bool


def trace(rules: Rules, labels: Mapping[str, str]) -> tuple[RuleStep, ...]:
    """Return what every rule does to `labels`, which stay as they are."""
    steps, now, keep = list[RuleStep](), dict(labels), True
    for config, step in zip(rules.configs, rules.steps, strict=True):
        if not keep:
            steps.append(RuleStep(config, "", (), (), False))
            continue
        before = dict(now)
        value = config.separator.join(now.get(name, "") for name in config.source_labels)
        keep = step(now)
        steps.append(RuleStep(config, value, as_labels(now) if keep else (), _changes(before, now), keep))
    return tuple(steps)


def _changes(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[Change, ...]:
    changed = sorted(name for name in before.keys() | after.keys() if before.get(name, "") != after.get(name, ""))
    return tuple(Change(name, before.get(name, ""), after.get(name, "")) for name in changed)
