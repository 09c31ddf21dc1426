"""A scrape job's targets: what its groups make, each group anew only when it has changed."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

from agent.config.scrape import ScrapeConfig
from agent.discovery.groups import TargetGroup
from agent.special_labels import defaults
from agent.target import Dropped, Target, discovered_labels, finish
from pipeline.relabel import Rules, compile_rules


@dataclass(frozen=True, slots=True)
class JobTargets:
    """All targets of one job; of those dropped not more than its keep_dropped_targets, and their whole number.

    `duplicates` became what another target of the job is already: the same URL with the same labels. As in Prometheus
    they are scraped once; the one that was found first is among the active.
    """

    active: tuple[Target, ...] = ()
    dropped: tuple[Dropped, ...] = ()
    dropped_count: int = 0
    duplicates: tuple[Target, ...] = ()


@dataclass(frozen=True, slots=True)
class _Made:
    """What came of one group."""

    group: TargetGroup
    targets: tuple[Target, ...]
    dropped: tuple[Dropped, ...]
    dropped_count: int

    def is_of(self, group: TargetGroup) -> bool:
        return self.group is group or self.group == group


class Job:
    """A job with its rules ready to run."""

    def __init__(self, config: ScrapeConfig) -> None:
        self.config = config
        self._made: dict[tuple[str, int], _Made] = {}

    @cached_property
    def rules(self) -> Rules:
        """The job's rules, compiled when they are first needed: a reload may bring a thousand jobs at once."""
        return compile_rules(self.config.relabel_configs, self.config.legacy_names)

    def targets(self, groups: Iterable[TargetGroup]) -> JobTargets:
        """Return what comes of all groups; for one thread at a time. What came of a group before is taken again."""
        known, self._made = self._made, {}
        times: dict[str, int] = defaultdict(int)
        for group in groups:
            # Two discoveries of a job may give their groups the same name.
            key = group.source, times[group.source]
            times[group.source] += 1
            made = known.get(key)
            self._made[key] = made if made is not None and made.is_of(group) else self._make(group)
        return self._joined()

    def _make(self, group: TargetGroup) -> _Made:
        config, rules, shared = self.config, self.rules, group.labels
        base = {**defaults(config), **{name: value for name, value in shared.items() if value}}
        targets, dropped, dropped_count = list[Target](), list[Dropped](), 0
        for found in group.targets:
            # A label that is there but empty keeps the group's away, and lets the job's be.
            labels = discovered_labels(config, shared, found) if "" in found.values() else {**base, **found}
            made = finish(config, rules, labels, found, shared)
            if isinstance(made, Target):
                targets.append(made)
                continue
            dropped_count += 1
            if not config.keep_dropped_targets or len(dropped) < config.keep_dropped_targets:
                dropped.append(made)
        return _Made(group, tuple(targets), tuple(dropped), dropped_count)

    def _joined(self) -> JobTargets:
        config, active, duplicates = self.config, dict[str, Target](), list[Target]()
        dropped, dropped_count = list[Dropped](), 0
        for made in self._made.values():
            for target in made.targets:
                if active.setdefault(target.key, target) is not target:
                    duplicates.append(target)
            dropped += made.dropped
            dropped_count += made.dropped_count
        targets: Iterable[Target] = active.values()
        if config.target_limit and len(active) > config.target_limit:
            reason = f"target_limit exceeded (number of targets: {len(active)}, limit: {config.target_limit})"
            targets = (replace(target, refused=reason) for target in targets)
        kept = dropped[: config.keep_dropped_targets or None]
        return JobTargets(tuple(targets), tuple(kept), dropped_count, tuple(duplicates))
