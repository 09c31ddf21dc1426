"""From one label set that discovery found to one page to scrape: defaults, relabelling, URL, or why there is none.

Source: Prometheus documentation, `<relabel_config>` and "Configuration"; prometheus/scrape/target.go.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain
from typing import Final

from agent.config.discoveries import JobConfig
from agent.config.scrape import ScrapeConfig
from agent.discovery.groups import ADDRESS, TargetGroup
from agent.special_labels import defaults, histograms, timing_s, url_of
from pipeline.relabel import Rules, as_labels, run
from pipeline.wire.remote_write import Labels

_SHORT: Final = 200
"""Longer values are not kept to be shared: strangers choose them, and may choose a megabyte."""


@dataclass(frozen=True, slots=True)
class Target:
    """One page to scrape.

    `labels` are what every series of the page gets (job, instance, …; none begins with `__`); `found` is what discovery
    found of this target, `shared` what it found of the target's whole group: neither is part of what the target is.
    Interval and timeout may differ from the job's, since relabelling can set them. `key` is a stable identity: the same
    target keeps it across restarts, reloads and agents.
    A target that is `refused` is not asked: each of its scrapes fails with that reason (its job is beyond its limit).
    """

    config: ScrapeConfig
    labels: Labels
    url: str
    interval_s: float
    timeout_s: float
    refused: str = ""
    always_scrape_classic_histograms: bool | None = None
    """None, like the next: as the job says."""
    scrape_native_histograms: bool | None = None
    found: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)
    shared: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)
    key: str = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        parts = (self.config.job_name, self.url, *chain.from_iterable(self.labels))
        object.__setattr__(self, "key", "\xff".join(parts))

    @property
    def lane_key(self) -> str:
        """What its lane follows. Not the URL: series stay in order when that changes, as with a pod's new address."""
        return "\xff".join(chain.from_iterable(self.labels))

    @property
    def discovered_labels(self) -> Labels:
        """What relabelling began with; made anew each time, since only people ask for it."""
        return as_labels(discovered_labels(defaults(self.config), self.shared, self.found))


@dataclass(frozen=True, slots=True)
class Dropped:
    """A target that was found and is not read: `rule` is the index in relabel_configs of the rule that dropped it.

    Without a rule it cannot be read, because of its `flaw`; or, where it `is_elsewhere`, another agent reads it.
    """

    config: JobConfig
    rule: int | None
    flaw: str
    found: Mapping[str, str]
    shared: Mapping[str, str]
    is_elsewhere: bool = False

    @property
    def discovered_labels(self) -> Labels:
        """What relabelling began with."""
        defaults_ = defaults(self.config) if isinstance(self.config, ScrapeConfig) else {}
        return as_labels(discovered_labels(defaults_, self.shared, self.found))

    @property
    def reason(self) -> str:
        """Why it is not scraped, in a sentence."""
        if self.rule is None:
            return self.flaw
        return f"relabel_configs[{self.rule}]: {self.config.relabel_configs[self.rule]}"


def make_target(config: ScrapeConfig, rules: Rules, group: TargetGroup, found: Mapping[str, str]) -> Target | Dropped:
    """Return the target that `found` becomes under a job's defaults and rules, or why there is none."""
    return finish(config, rules, discovered_labels(defaults(config), group.labels, found), found, group.labels)


def finish(
    config: ScrapeConfig, rules: Rules, labels: dict[str, str], found: Mapping[str, str], shared: Mapping[str, str]
) -> Target | Dropped:
    """Do what `make_target` does, with the discovered labels made already; they are changed in place."""
    rule = run(rules, labels)
    if rule is not None:
        return Dropped(config, rule, "", found, shared)
    try:
        return _target(config, labels, found, shared)
    except ValueError as error:
        return Dropped(config, None, str(error), found, shared)


def discovered_labels(
    defaults_: Mapping[str, str], shared: Mapping[str, str], found: Mapping[str, str]
) -> dict[str, str]:
    """Return the labels that relabelling begins with: the target's, its group's, and the job's defaults."""
    labels = {name: value for name, value in {**shared, **found}.items() if value}
    return {**defaults_, **labels}


def _target(
    config: ScrapeConfig, labels: dict[str, str], found: Mapping[str, str], shared: Mapping[str, str]
) -> Target:
    address = labels.get(ADDRESS, "")
    if not address:
        raise ValueError("no address")
    if "/" in address:
        raise ValueError(f'"{address}" is not a valid hostname')
    if "__unix_socket__" in labels:
        raise ValueError("__unix_socket__ is not supported")
    interval_s, timeout_s = timing_s(labels)
    classic, native = histograms(config, labels)
    labels.setdefault("instance", address)
    final = final_labels(labels)
    url = url_of(config, address, labels)
    return Target(config, final, url, interval_s, timeout_s, "", classic, native, found, shared)


def final_labels(labels: Mapping[str, str]) -> Labels:
    """Return the labels that a target keeps: none that begins with `__`. Raises ValueError where one is no text."""
    final = tuple([_pair(name, labels[name]) for name in sorted(labels) if name[:2] != "__" and labels[name]])
    for name, value in final:
        if not (value.isascii() or _is_text(value)):
            raise ValueError(f"invalid label value for {name!r}: {value!r}")
    return final


def _pair(name: str, value: str) -> tuple[str, str]:
    """Return the same object for the same label: most labels of a target are those of a thousand others."""
    return _known_pair(name, value) if len(value) < _SHORT else (name, value)


@lru_cache(8192)
def _known_pair(name: str, value: str) -> tuple[str, str]:
    return name, value


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:  # Half of a surrogate pair: YAML and JSON can write one.
        return False
    return True
