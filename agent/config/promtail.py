"""`logs`: what a promtail's file says, which is read as it is. Names, meanings and defaults are promtail's.

Source: grafana/loki, clients/pkg/promtail/config, limit, positions and targets/file.
"""

from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from agent.config.logs import LogScrapeConfig
from agent.config.promtail_server import ServerConfig
from pipeline.config import parse_bytes
from pipeline.go_duration import GoSeconds
from pipeline.http_config import NullableSection, off
from pipeline.relabel import a_rule
from pipeline.send.loki.config import LokiConfig


def _size(value: object) -> int:
    return parse_bytes(value.upper() if isinstance(value, str) else value)


GoBytes = Annotated[int, BeforeValidator(_size)]
"""A size as promtail reads it: `256kb` is 256 times 1024 bytes."""


class FileWatchConfig(NullableSection):
    """`file_watch_config`: how often files are looked at where nothing tells that they have grown."""

    min_poll_frequency: Annotated[GoSeconds, Field(gt=0)] = 0.25
    """How often a file is looked at."""
    max_poll_frequency: Annotated[GoSeconds, Field(gt=0)] = 0.25
    """Read and of no effect: files that do not grow cost next to nothing, since inotify tells of those that do."""


class LogsGlobal(NullableSection):
    """`global` of a promtail's file."""

    file_watch_config: FileWatchConfig = FileWatchConfig()
    """How often files are looked at."""


class PositionsConfig(NullableSection):
    """`positions`: where promtail kept how far it had read. It is read once and never written: the buffer has them."""

    filename: Path = Path("/var/log/positions.yaml")
    """The file; what it says of a file or a journal counts until we have read there ourselves."""
    sync_period: GoSeconds = 10.0
    """Read and of no effect: a position is kept with the lines that were read up to it, in one transaction."""
    ignore_invalid_yaml: bool = False
    """Begin as if there were no file where it is damaged; else that is an error."""


class LimitsConfig(NullableSection):
    """`limits_config`: what bounds reading."""

    readline_rate: float = 10_000.0
    """Read and of no effect: it counts where `readline_rate_enabled` is on."""
    readline_burst: int = 10_000
    """Read and of no effect, as `readline_rate`."""
    readline_rate_enabled: Annotated[
        bool, off("is not supported: it drops lines, or holds all jobs back; the stage `limit` does either by job")
    ] = False
    """Bound how many lines a second are read."""
    readline_rate_drop: bool = True
    """Read and of no effect: it counts where `readline_rate_enabled` is on."""
    max_streams: int = 0
    """How many streams may be active: 0, which is no bound."""
    max_line_size: GoBytes = 0
    """An entry that is longer as stages leave it is dropped, or cut; 0 is no limit, but that of a file's line, 1MiB."""
    max_line_size_truncate: bool = False
    """Cut longer entries at the limit instead of dropping them."""

    @model_validator(mode="after")
    def _no_bound_of_streams(self) -> "LimitsConfig":
        if self.max_streams:
            raise ValueError(
                "max_streams is not supported: it drops the lines of further streams; the gateway bounds streams by "
                "cluster and keeps what it refuses as dead letters, and Loki has max_global_streams_per_user"
            )
        return self


class TargetConfig(NullableSection):
    """`target_config`: how files are looked for."""

    sync_period: Annotated[GoSeconds, Field(gt=0)] = 10.0
    """How often folders are looked through even where nothing was noticed."""
    stdin: bool = False
    """Read standard input through the first job's stages, and nothing else."""


class LogsTracing(NullableSection):
    """`tracing` of a promtail's file."""

    enabled: bool = False
    """Read and of no effect: the agent's own `tracing` traces."""


class WalConfig(NullableSection):
    """`wal`: promtail's own buffer of what it reads."""

    enabled: bool = False
    """Read and of no effect, as is the rest of the section: the buffer is always on disk."""
    dir: str = ""
    """Read and of no effect."""
    cleanSegmentsOlderThan: str = ""  # noqa: N815 (promtail's name)
    """Read and of no effect."""
    watchConfig: dict[str, Any] = Field(default_factory=dict)  # noqa: N815
    """Read and of no effect."""


class OptionsConfig(NullableSection):
    """`options` of a promtail's file."""

    stream_lag_labels: str = ""
    """Read and of no effect: how far a destination is behind is told by destination."""


_Job = Annotated[LogScrapeConfig, a_rule("empty or null scrape config section")]
_Client = Annotated[LokiConfig, a_rule("empty or null client section")]


def _names_differ(clients: tuple[LokiConfig, ...]) -> tuple[LokiConfig, ...]:
    names = [client.name or client.url for client in clients]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"two clients are {name}: give each a name of its own")
    return clients


class LogsConfig(NullableSection):
    """`logs`: what is read on this machine, with the keys of a promtail's file."""

    global_config: LogsGlobal = Field(default=LogsGlobal(), alias="global")
    """How often files are looked at."""
    server: ServerConfig = ServerConfig()
    """promtail's own HTTP server, whose place the admin port takes."""
    client: _Client | None = None
    """One more of `clients`, as older files have it."""
    clients: Annotated[tuple[_Client, ...], AfterValidator(_names_differ)] = ()
    """Lokis that logs are pushed to straight, besides the gateway if there is one."""
    positions: PositionsConfig | None = None
    """Where promtail kept how far it had read: read once."""
    scrape_configs: tuple[_Job, ...] = ()
    """Where entries come from, and what becomes of them."""
    limits_config: LimitsConfig = LimitsConfig()
    """What bounds reading."""
    target_config: TargetConfig = TargetConfig()
    """How files are looked for."""
    options: OptionsConfig = OptionsConfig()
    """What is left of promtail's options."""
    tracing: LogsTracing = LogsTracing()
    """Read and of no effect: the agent's own `tracing` traces."""
    wal: WalConfig = WalConfig()
    """Read and of no effect: the buffer is always on disk."""

    @model_validator(mode="after")
    def _job_names_differ(self) -> "LogsConfig":
        names = [job.job_name for job in self.scrape_configs]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f'found multiple scrape configs with job name "{name}"')
        return self

    @property
    def all_clients(self) -> tuple[LokiConfig, ...]:
        """Every Loki that is pushed to."""
        return self.clients if self.client is None else (*self.clients, self.client)

    @property
    def reads(self) -> bool:
        """Whether it reads anything."""
        return bool(self.scrape_configs) or self.target_config.stdin


def of_no_effect(logs: LogsConfig) -> list[tuple[str, ...]]:
    """Return the keys that the section has and that are of no effect."""
    limits, watch = logs.limits_config, logs.global_config.file_watch_config
    found: list[tuple[str, ...]] = [("server", name) for name in logs.server.ignored]
    rates = ("readline_rate", "readline_burst", "readline_rate_drop")
    found += [("limits_config", name) for name in rates if name in limits.model_fields_set]
    if "max_poll_frequency" in watch.model_fields_set:
        found.append(("global", "file_watch_config", "max_poll_frequency"))
    if logs.positions is not None and "sync_period" in logs.positions.model_fields_set:
        found.append(("positions", "sync_period"))
    if logs.tracing.enabled:
        found.append(("tracing", "enabled"))
    if logs.wal.enabled:
        found.append(("wal", "enabled"))
    if logs.options.stream_lag_labels:
        found.append(("options", "stream_lag_labels"))
    return found
