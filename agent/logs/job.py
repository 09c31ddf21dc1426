"""A job of logs, and what discovery and relabelling make of it: files to follow, or containers to read.

Source: promtail, clients/pkg/promtail/targets/file/filetargetmanager.go.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Final

from agent.config.logs import LogScrapeConfig
from agent.job import AnyJob
from agent.logs.input import Source
from agent.tail.glob import Pattern
from agent.target import Dropped, discovered_labels, final_labels
from pipeline.relabel import as_labels, run
from pipeline.wire.remote_write import Labels

PATH: Final = "__path__"
EXCLUDE: Final = "__path_exclude__"
HOST: Final = "__host__"
LOG_STREAM: Final = "__meta_docker_container_log_stream"
STREAMS: Final = ("stdout", "stderr")


@dataclass(frozen=True, slots=True)
class LogTarget:
    """One source of a job: `labels` are what its streams begin with, `path` and `exclude` are file patterns.

    `found` is what discovery found of it, `shared` what it found of its whole group, `relabelled` what the rules made.
    """

    config: LogScrapeConfig
    labels: Labels
    path: str
    exclude: str
    relabelled: Mapping[str, str] = field(compare=False, repr=False)
    found: Mapping[str, str] = field(compare=False, repr=False)
    shared: Mapping[str, str] = field(compare=False, repr=False)
    key: str = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        # Containers of Docker have no path, and may have no labels either: what discovery found tells them apart.
        found = () if self.path else chain.from_iterable(sorted(self.found.items()))
        parts = (self.config.job_name, self.path, self.exclude, *chain.from_iterable(self.labels), *found)
        object.__setattr__(self, "key", "\xff".join(parts))

    @property
    def discovered_labels(self) -> Labels:
        """What relabelling began with."""
        return as_labels(discovered_labels({}, self.shared, self.found))

    @property
    def source(self) -> Source:
        """What an input is told of it."""
        return Source(dict(self.labels), self.relabelled, self.path, self.exclude, self.key)


class LogJob(AnyJob[LogTarget]):
    """A job whose sources are discovered; `host` is the node that this agent reads on."""

    config: LogScrapeConfig

    def __init__(self, config: LogScrapeConfig, host: str) -> None:
        super().__init__(config)
        self.host = host

    def defaults(self) -> dict[str, str]:
        """Return nothing: promtail gives its targets no labels of its own, not even `job`."""
        return {}

    def finish(
        self, labels: dict[str, str], found: Mapping[str, str], shared: Mapping[str, str]
    ) -> LogTarget | Dropped:
        """Return what is to be read, or why nothing is."""
        if self.config.docker_sd_configs:
            return self._container(labels, found, shared)
        rule = run(self.rules, labels)
        if rule is not None:
            return Dropped(self.config, rule, "", found, shared)
        host = labels.get(HOST, "")
        if host and host != self.host:
            reason = f"{HOST} is {host}: that node's agent reads it (this one's node is {self.host})"
            return Dropped(self.config, None, reason, found, shared, is_elsewhere=True)
        path = labels.get(PATH, "")
        if not path:
            return Dropped(self.config, None, f"no {PATH}", found, shared)
        if flaw := _flaw(labels):
            return Dropped(self.config, None, flaw, found, shared)
        try:
            final = final_labels(labels)
        except ValueError as error:
            return Dropped(self.config, None, str(error), found, shared)
        return LogTarget(self.config, final, path, labels.get(EXCLUDE, ""), labels, found, shared)

    def _container(
        self, labels: dict[str, str], found: Mapping[str, str], shared: Mapping[str, str]
    ) -> LogTarget | Dropped:
        """Return a container of whose streams the rules keep one; its input relabels each stream by itself."""
        rule = None
        for stream in STREAMS:
            tried = {**labels, LOG_STREAM: stream}
            rule = run(self.rules, tried)
            if rule is None:
                try:
                    final = final_labels(tried)
                except ValueError as error:
                    return Dropped(self.config, None, str(error), found, shared)
                return LogTarget(self.config, final, "", "", labels, found, shared)
        return Dropped(self.config, rule, "", found, shared)


def _flaw(labels: Mapping[str, str]) -> str:
    """Return which pattern cannot be read, and why; rules may have made it of what somebody wrote on a pod."""
    for name in (PATH, EXCLUDE):
        try:
            Pattern(labels.get(name, ""))
        except ValueError as error:
            return f"{name} {labels[name]}: {error}"
    return ""
