"""From one label set that discovery found to one page to scrape: defaults, relabelling, URL, or why there is none.

Source: Prometheus documentation, `<relabel_config>` and "Configuration"; prometheus/scrape/target.go.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final
from urllib.parse import quote, urlencode

from agent.config.scrape import ScrapeConfig
from agent.discovery.groups import ADDRESS, TargetGroup
from pipeline.config import format_duration, parse_duration_s
from pipeline.relabel import Rules, as_labels, run
from pipeline.wire.remote_write import Labels

INTERVAL: Final = "__scrape_interval__"
TIMEOUT: Final = "__scrape_timeout__"
_PARAM: Final = "__param_"


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
    found: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)
    shared: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)
    key: str = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        parts = (self.config.job_name, self.url, *(part for pair in self.labels for part in pair))
        object.__setattr__(self, "key", "\xff".join(parts))

    @property
    def discovered_labels(self) -> Labels:
        """What relabelling began with; made anew each time, since only people ask for it."""
        return as_labels(discovered_labels(self.config, self.shared, self.found))


@dataclass(frozen=True, slots=True)
class Dropped:
    """A target that was found and is not scraped: `rule` is the index in relabel_configs of the rule that dropped it.

    Without a rule it cannot be scraped, because of its `flaw`.
    """

    config: ScrapeConfig
    rule: int | None
    flaw: str
    found: Mapping[str, str]
    shared: Mapping[str, str]

    @property
    def discovered_labels(self) -> Labels:
        """What relabelling began with."""
        return as_labels(discovered_labels(self.config, self.shared, self.found))

    @property
    def reason(self) -> str:
        """Why it is not scraped, in a sentence."""
        return (
            self.flaw
            if self.rule is None
            else f"relabel_configs[{self.rule}]: {self.config.relabel_configs[self.rule]}"
        )


def make_target(config: ScrapeConfig, rules: Rules, group: TargetGroup, found: Mapping[str, str]) -> Target | Dropped:
    """Return the target that `found` becomes under a job's defaults and rules, or why there is none."""
    return finish(config, rules, discovered_labels(config, group.labels, found), found, group.labels)


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


def discovered_labels(config: ScrapeConfig, shared: Mapping[str, str], found: Mapping[str, str]) -> dict[str, str]:
    """Return the labels that relabelling begins with: the target's, its group's, and the job's defaults."""
    labels = {name: value for name, value in {**shared, **found}.items() if value}
    return {**defaults(config), **labels}


def defaults(config: ScrapeConfig) -> dict[str, str]:
    """Return the labels that a job gives to all its targets, where discovery gives none of these names."""
    return {
        "job": config.job_name,
        INTERVAL: format_duration(config.scrape_interval),
        TIMEOUT: format_duration(config.scrape_timeout),
        "__metrics_path__": config.metrics_path,
        "__scheme__": config.scheme,
        **{_PARAM + name: values[0] for name, values in config.params.items() if values},
    }


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
    interval_s = _positive_s(labels.get(INTERVAL, ""), "scrape interval")
    timeout_s = _positive_s(labels.get(TIMEOUT, ""), "scrape timeout")
    if timeout_s > interval_s:
        both = f'"{labels[TIMEOUT]}" > "{labels[INTERVAL]}"'
        raise ValueError(f"scrape timeout cannot be greater than scrape interval ({both})")
    labels.setdefault("instance", address)
    final = tuple([_pair(name, labels[name]) for name in sorted(labels) if name[:2] != "__" and labels[name]])
    for name, value in final:
        if not (value.isascii() or _is_text(value)):
            raise ValueError(f"invalid label value for {name!r}: {value!r}")
    return Target(config, final, _url(config, address, labels), interval_s, timeout_s, "", found, shared)


@lru_cache(8192)
def _pair(name: str, value: str) -> tuple[str, str]:
    """Return the same object for the same label: most labels of a target are those of a thousand others."""
    return name, value


@lru_cache(256)
def _positive_s(text: str, what: str) -> float:
    try:
        seconds = parse_duration_s(text)
    except ValueError as error:
        raise ValueError(f"error parsing {what}: {error}") from error
    if seconds <= 0:
        raise ValueError(f"{what} cannot be 0")
    return seconds


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:  # Half of a surrogate pair: YAML and JSON can write one.
        return False
    return True


def _url(config: ScrapeConfig, address: str, labels: Mapping[str, str]) -> str:
    return (
        f"{labels.get('__scheme__', '')}://{address}{_path(labels.get('__metrics_path__', ''))}{_query(config, labels)}"
    )


@lru_cache(256)
def _path(text: str) -> str:
    path = quote(text, safe="/$&+,:;=@")
    return path if path.startswith("/") or not path else "/" + path


def _query(config: ScrapeConfig, labels: Mapping[str, str]) -> str:
    of_labels = [name for name in labels if name.startswith(_PARAM)]
    if not of_labels and not config.params:
        return ""
    params = {name: list(values) for name, values in config.params.items()}
    for name in of_labels:
        params.setdefault(name.removeprefix(_PARAM), [""])[:1] = [labels[name]]
    query = urlencode(sorted(params.items()), doseq=True)
    return "?" + query if query else ""
