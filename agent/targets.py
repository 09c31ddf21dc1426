"""From what discovery found to what is scraped: labels, relabelling, URLs, and what was dropped with its reason.

Source: Prometheus documentation, `<relabel_config>` and "Configuration"; prometheus/scrape/target.go.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import quote, urlencode

from agent.config.scrape import ScrapeConfig
from agent.discovery import Groups, Place, TargetGroup, Tools, discover
from agent.discovery.groups import ADDRESS
from pipeline.config import format_duration, parse_duration_s
from pipeline.relabel import Rules, as_labels, compile_rules, run
from pipeline.wire.remote_write import Labels

logger = logging.getLogger(__name__)

INTERVAL: Final = "__scrape_interval__"
TIMEOUT: Final = "__scrape_timeout__"
_PARAM: Final = "__param_"


@dataclass(frozen=True, slots=True)
class Target:
    """One page to scrape.

    `labels` are what every series of the page gets (job, instance, …; none begins with `__`); `discovered_labels` are
    what relabelling began with. Interval and timeout may differ from the job's, since relabelling can set them.
    A target that is `refused` is not asked: each of its scrapes fails with that reason (its job is beyond its limit).
    """

    config: ScrapeConfig
    discovered_labels: Labels
    labels: Labels
    url: str
    interval_s: float
    timeout_s: float
    refused: str = ""

    @property
    def key(self) -> str:
        """A stable identity: the same target keeps it across restarts, reloads and agents."""
        return "\xff".join((self.config.job_name, self.url, *(part for pair in self.labels for part in pair)))


@dataclass(frozen=True, slots=True)
class Dropped:
    """A target that was found and is not scraped: `rule` is the index in relabel_configs of the rule that dropped it.

    Without a rule it cannot be scraped, for the reason given.
    """

    config: ScrapeConfig
    discovered_labels: Labels
    reason: str
    rule: int | None = None


@dataclass(frozen=True, slots=True)
class JobTargets:
    """All targets of one job; of those dropped not more than its keep_dropped_targets, and their whole number."""

    active: tuple[Target, ...] = ()
    dropped: tuple[Dropped, ...] = ()
    dropped_count: int = 0


class Job:
    """A job with its rules ready to run."""

    def __init__(self, config: ScrapeConfig) -> None:
        self.config = config
        self.rules = compile_rules(config.relabel_configs, config.legacy_names)

    def targets(self, groups: Iterable[TargetGroup]) -> JobTargets:
        """Return what comes of the groups; a target that was found twice counts once."""
        config, active, dropped, dropped_count = self.config, dict[str, Target](), list[Dropped](), 0
        for group in groups:
            for found in group.targets:
                made = make_target(config, self.rules, group, found)
                if isinstance(made, Target):
                    active.setdefault(made.key, made)
                    continue
                dropped_count += 1
                if not config.keep_dropped_targets or len(dropped) < config.keep_dropped_targets:
                    dropped.append(made)
        targets: Iterable[Target] = active.values()
        if config.target_limit and len(active) > config.target_limit:
            reason = f"target_limit exceeded (number of targets: {len(active)}, limit: {config.target_limit})"
            targets = (replace(target, refused=reason) for target in targets)
        return JobTargets(tuple(targets), tuple(dropped), dropped_count)


def make_target(config: ScrapeConfig, rules: Rules, group: TargetGroup, found: Mapping[str, str]) -> Target | Dropped:
    """Return the target that `found` becomes under a job's defaults and rules, or why there is none."""
    labels = discovered_labels(config, group, found)
    discovered = as_labels(labels)
    rule = run(rules, labels)
    if rule is not None:
        return Dropped(config, discovered, f"relabel_configs[{rule}]: {rules.configs[rule]}", rule)
    try:
        return _target(config, discovered, labels)
    except ValueError as error:
        return Dropped(config, discovered, str(error))


def discovered_labels(config: ScrapeConfig, group: TargetGroup, found: Mapping[str, str]) -> dict[str, str]:
    """Return the labels that relabelling begins with: the target's, its group's, and the job's defaults."""
    labels = {name: value for name, value in {**group.labels, **found}.items() if value}
    defaults = {
        "job": config.job_name,
        INTERVAL: format_duration(config.scrape_interval),
        TIMEOUT: format_duration(config.scrape_timeout),
        "__metrics_path__": config.metrics_path,
        "__scheme__": config.scheme,
        **{_PARAM + name: values[0] for name, values in config.params.items() if values},
    }
    return {**defaults, **labels}


def _target(config: ScrapeConfig, discovered: Labels, labels: dict[str, str]) -> Target:
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
    final = as_labels({name: value for name, value in labels.items() if not name.startswith("__")})
    for name, value in final:
        if not _is_text(value):
            raise ValueError(f"invalid label value for {name!r}: {value!r}")
    return Target(config, discovered, final, _url(config, address, labels), interval_s, timeout_s)


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
    params = {name: list(values) for name, values in config.params.items()}
    for name, value in labels.items():
        if name.startswith(_PARAM):
            params.setdefault(name.removeprefix(_PARAM), [""])[:1] = [value]
    path = quote(labels.get("__metrics_path__", ""), safe="/$&+,:;=@")
    if path and not path.startswith("/"):
        path = "/" + path
    query = urlencode(sorted(params.items()), doseq=True)
    return f"{labels.get('__scheme__', '')}://{address}{path}{'?' + query if query else ''}"


class Targets:
    """All jobs' targets while discovery goes on. Run `run` as a task, and follow `changes` in one other."""

    def __init__(self, jobs: Sequence[ScrapeConfig], tools: Tools, settle_s: float = 0.25) -> None:
        self._jobs = {config.job_name: Job(config) for config in jobs}
        self._tools = tools
        self._settle_s = settle_s
        self._group: asyncio.TaskGroup | None = None
        self._following: dict[Place, tuple[object, asyncio.Task[None]]] = {}
        self._groups: dict[Place, list[TargetGroup]] = {}
        self._changed: set[str] = set()
        self._wake = asyncio.Event()
        self.by_job: dict[str, JobTargets] = {name: JobTargets() for name in self._jobs}

    async def run(self) -> None:
        """Let every discovery go on, each in a task of its own; returns only by cancellation."""
        async with asyncio.TaskGroup() as self._group:
            self._follow_all()
            await asyncio.Event().wait()

    def reload(self, jobs: Sequence[ScrapeConfig]) -> None:
        """Follow these jobs from now on.

        A discovery whose section is as it was goes on. What another one found stays until its successor has looked.
        """
        before, self._jobs = self._jobs, {}
        for config in jobs:
            known = before.get(config.job_name)
            # The same object where nothing changed: what has it in hand need not compare.
            unchanged = known is not None and known.config == config
            self._jobs[config.job_name] = known if known is not None and unchanged else Job(config)
            if not unchanged:
                self._changed.add(config.job_name)
        self.by_job = {name: self.by_job.get(name, JobTargets()) for name in self._jobs}
        for name in before.keys() - self._jobs.keys():
            self._tools.metrics.forget(name, {place.kind for place in self._following if place.job == name})
        if self._group is not None:
            self._follow_all()
        self._wake.set()

    def _follow_all(self) -> None:
        """Begin the discoveries that are new or changed, and end those that are gone."""
        assert self._group is not None
        left, self._following = self._following, {}
        for job in self._jobs.values():
            for place, stream in discover(job.config, self._tools).items():
                section, known = getattr(job.config, place.kind)[place.index], left.pop(place, None)
                if known is not None and known[0] == section:
                    self._following[place] = known
                    continue
                if known is not None:
                    self._end(place, known[1])
                self._tools.metrics.failures.labels(place.job, place.kind)  # From the start, at 0.
                begun = self._group.create_task(self._follow(place, stream), name=f"discovery {place}")
                self._following[place] = section, begun
        for place, (_, task) in left.items():
            self._end(place, task)
            self._groups.pop(place, None)

    def _end(self, place: Place, task: asyncio.Task[None]) -> None:
        task.cancel()
        self._tools.forget(place)

    async def _follow(self, place: Place, stream: Groups) -> None:
        async for groups in stream:
            if not groups and self._groups.get(place) and self._tools.has_failed(place):
                continue  # A successor that could not look: what its predecessor found stays.
            self._groups[place] = groups
            self._changed.add(place.job)
            self._wake.set()

    async def changes(self) -> AsyncIterator[list[Target]]:
        """Yield all targets of all jobs, each time that some came, went or changed; what comes close is joined."""
        while True:
            await self._wake.wait()
            await self._tools.sleep(self._settle_s)
            self._wake.clear()
            changed, self._changed = self._changed, set()
            for name in sorted(changed):
                await self._rebuild(name)
            yield [target for targets in self.by_job.values() for target in targets.active]

    async def _rebuild(self, name: str) -> None:
        groups = [group for place, found in self._groups.items() if place.job == name for group in found]
        # Thousands of targets take longer than the loop may be held (ARCHITECTURE 11).
        large = sum(len(group.targets) for group in groups) > 200
        job = self._jobs.get(name)
        if job is None:
            return
        now = await asyncio.to_thread(job.targets, groups) if large else job.targets(groups)
        if self._jobs.get(name) is not job:
            return  # Reloaded meanwhile: what is new comes next.
        before, self.by_job[name] = self.by_job[name], now
        self._tools.metrics.targets.labels(name).set(len(now.active))
        self._tools.metrics.dropped_targets.labels(name).set(now.dropped_count)
        for dropped in now.dropped:
            if dropped.rule is None and dropped not in before.dropped:
                address = dict(dropped.discovered_labels).get(ADDRESS, "")
                extra = {"job": name, "address": address, "reason": dropped.reason}
                logger.error("a target that was found cannot be scraped", extra=extra)


async def find_once(jobs: Sequence[ScrapeConfig], tools: Tools) -> dict[str, JobTargets]:
    """Try every discovery once and return what comes of it; what failed is in `tools.failures`."""
    streams = {place: stream for job in jobs for place, stream in discover(job, tools).items()}
    found = await asyncio.gather(*(_first(stream) for stream in streams.values()))
    groups = dict(zip(streams, found, strict=True))
    return {
        config.job_name: Job(config).targets(
            group for place, found in groups.items() if place.job == config.job_name for group in found
        )
        for config in jobs
    }


async def _first(stream: Groups) -> list[TargetGroup]:
    async for groups in stream:
        return groups
    return []
