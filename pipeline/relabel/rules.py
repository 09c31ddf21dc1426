"""A list of rules, ready to run on label sets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.relabel.config import RelabelConfig
from pipeline.relabel.steps import Step, compile_step
from pipeline.wire.remote_write import Labels


@dataclass(frozen=True, slots=True)
class Rules:
    """Rules that are ready to run, in order."""

    configs: tuple[RelabelConfig, ...]
    steps: tuple[Step, ...]

    def __bool__(self) -> bool:
        return bool(self.steps)


NO_RULES = Rules((), ())


def compile_rules(configs: Sequence[RelabelConfig], legacy_names: bool = False) -> Rules:
    """Make rules ready to run; with `legacy_names` a replace to a name beyond [a-zA-Z0-9_] does nothing."""
    if not configs:
        return NO_RULES
    return Rules(tuple(configs), tuple(compile_step(config, legacy_names) for config in configs))


def run(rules: Rules, labels: dict[str, str]) -> int | None:
    """Run all rules on a label set, in place; return the index of the rule that drops what carries it, or None."""
    for index, step in enumerate(rules.steps):
        if not step(labels):
            return index
    return None


def relabel(labels: Labels | Mapping[str, str], rules: Rules) -> Labels | None:
    """Return the labels after all rules, sorted by name and without empty values; None if a rule dropped them."""
    changed = dict(labels)
    return as_labels(changed) if run(rules, changed) is None else None


def as_labels(labels: Mapping[str, str]) -> Labels:
    """Return a label set's canonical form: pairs sorted by name, without empty values."""
    return tuple(sorted(pair for pair in labels.items() if pair[1]))
