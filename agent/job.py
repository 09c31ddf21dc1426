"""A job's targets: what its groups make, each group anew only when it has changed."""

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Generic, Protocol, TypeVar

from agent.config.discoveries import JobConfig
from agent.config.scrape import ScrapeConfig
from agent.discovery.groups import TargetGroup
from agent.special_labels import defaults
from agent.target import Dropped, Target, discovered_labels, finish
from pipeline.relabel import Rules, compile_rules
from pipeline.wire.remote_write import Labels


class Found(Protocol):
    """What every target is, whatever is read there."""

    @property
    def config(self) -> JobConfig:
        """Its job."""

    @property
    def key(self) -> str:
        """A stable identity: the same target keeps it across restarts and reloads."""

    @property
    def labels(self) -> Labels:
        """What everything that is read there gets."""

    @property
    def discovered_labels(self) -> Labels:
        """What relabelling began with."""


TargetT = TypeVar("TargetT", bound=Found)


@dataclass(frozen=True, slots=True)
class JobTargets(Generic[TargetT]):
    """All targets of one job; of those dropped not more than its keep_dropped_targets, and their whole number.

    `duplicates` became what another target of the job is already: the same URL with the same labels. As in Prometheus
    they are scraped once; the one that was found first is among the active.
    """

    active: tuple[TargetT, ...] = ()
    dropped: tuple[Dropped, ...] = ()
    dropped_count: int = 0
    duplicates: tuple[TargetT, ...] = ()


@dataclass(frozen=True, slots=True)
class _Made(Generic[TargetT]):
    """What came of one group."""

    group: TargetGroup
    targets: tuple[TargetT, ...]
    dropped: tuple[Dropped, ...]
    dropped_count: int

    def is_of(self, group: TargetGroup) -> bool:
        return self.group is group or self.group == group


class AnyJob(ABC, Generic[TargetT]):
    """A job with its rules ready to run."""

    def __init__(self, config: JobConfig) -> None:
        self.config = config
        self._made: dict[tuple[str, int], _Made[TargetT]] = {}

    @abstractmethod
    def defaults(self) -> dict[str, str]:
        """Return the labels that relabelling begins with where discovery gives none of these names."""

    @abstractmethod
    def finish(self, labels: dict[str, str], found: Mapping[str, str], shared: Mapping[str, str]) -> TargetT | Dropped:
        """Relabel, in place, and return the target that the labels make, or why there is none."""

    def outcome(self, discovered: Mapping[str, str]) -> TargetT | Dropped:
        """Return what becomes of a target with these discovered labels, among which the job's defaults need not be."""
        return self.finish(discovered_labels(self.defaults(), {}, discovered), discovered, {})

    def refused(self, target: TargetT, reason: str) -> TargetT:
        """Return a target that is beyond its job's limit."""
        raise NotImplementedError(f"{type(target).__name__} has no limit: {reason}")

    @cached_property
    def rules(self) -> Rules:
        """The job's rules, compiled when they are first needed: a reload may bring a thousand jobs at once."""
        return compile_rules(self.config.relabel_configs, self.config.legacy_names)

    def targets(self, groups: Iterable[TargetGroup]) -> JobTargets[TargetT]:
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

    def _make(self, group: TargetGroup) -> _Made[TargetT]:
        config, shared, defaults_ = self.config, group.labels, self.defaults()
        base = {**defaults_, **{name: value for name, value in shared.items() if value}}
        targets, dropped, dropped_count = list[TargetT](), list[Dropped](), 0
        for found in group.targets:
            # A label that is there but empty keeps the group's away, and lets the job's be.
            labels = discovered_labels(defaults_, shared, found) if "" in found.values() else {**base, **found}
            made = self.finish(labels, found, shared)
            if not isinstance(made, Dropped):
                targets.append(made)
                continue
            dropped_count += 1
            if not config.keep_dropped_targets or len(dropped) < config.keep_dropped_targets:
                dropped.append(made)
        return _Made(group, tuple(targets), tuple(dropped), dropped_count)

    def _joined(self) -> JobTargets[TargetT]:
        config, active, duplicates = self.config, dict[str, TargetT](), list[TargetT]()
        dropped, dropped_count = list[Dropped](), 0
        for made in self._made.values():
            for target in made.targets:
                if active.setdefault(target.key, target) is not target:
                    duplicates.append(target)
            dropped += made.dropped
            dropped_count += made.dropped_count
        targets: Iterable[TargetT] = active.values()
        if config.target_limit and len(active) > config.target_limit:
            reason = f"target_limit exceeded (number of targets: {len(active)}, limit: {config.target_limit})"
            targets = (self.refused(target, reason) for target in targets)
        kept = dropped[: config.keep_dropped_targets or None]
        return JobTargets(tuple(targets), tuple(kept), dropped_count, tuple(duplicates))


class Job(AnyJob[Target]):
    """A scrape job."""

    config: ScrapeConfig

    def defaults(self) -> dict[str, str]:
        """Return what the job says of how its targets are scraped."""
        return defaults(self.config)

    def finish(self, labels: dict[str, str], found: Mapping[str, str], shared: Mapping[str, str]) -> Target | Dropped:
        """Return the page to scrape, or why there is none."""
        return finish(self.config, self.rules, labels, found, shared)

    def refused(self, target: Target, reason: str) -> Target:
        """Return the target, each of whose scrapes fails."""
        return replace(target, refused=reason)
