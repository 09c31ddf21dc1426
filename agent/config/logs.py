"""A job of logs: where its entries come from, and what becomes of them. Names and meanings are promtail's.

Source: grafana/loki, clients/pkg/promtail/scrapeconfig; promtail documentation, `scrape_configs`.
"""

from typing import Annotated, Any, Final, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from agent.config.discoveries import Discoveries, TargetRule
from agent.config.journal import JournalConfig
from agent.config.kafka import KafkaSourceConfig
from agent.config.kubernetes_events import KubernetesEventsConfig
from agent.config.loki_push import LokiPushConfig
from agent.config.stages import PipelineStages
from agent.config.syslog import SyslogConfig
from pipeline.go_duration import GoSeconds
from pipeline.http_config import NullableSection

INPUTS: Final = ("journal", "syslog", "loki_push_api", "kafka", "kubernetes_events")
"""The keys of a job that say where entries come from, other than discovery."""

Format = Literal["gz", "bz2", "z"]


def _format(value: object) -> object:
    known = get_args(Format)
    if value not in known:
        raise ValueError(f"unsupported compression {value!r}: one of {', '.join(known)}")
    return value


class DecompressionConfig(NullableSection):
    """`decompression`: files of the job that are compressed."""

    enabled: bool = False
    """Read files of `format` from their start to their end."""
    initial_delay: GoSeconds = 0.0
    """How long after its last change a file is first opened: who compresses it may not be done."""
    format: Annotated[Format, BeforeValidator(_format)] | None = None
    """How they are compressed."""

    @model_validator(mode="after")
    def _has_format(self) -> "DecompressionConfig":
        if self.enabled and self.format is None:
            raise ValueError("format is required where decompression is enabled")
        return self


def _job_name(name: str) -> str:
    if not name:
        raise ValueError("job_name is empty")
    return name


class LogScrapeConfig(Discoveries):
    """One of `logs.scrape_configs`: discovered files, or one other source."""

    job_name: Annotated[str, AfterValidator(_job_name), Field(default="", validate_default=True)]
    """The job's name, one of its own; unlike a scrape job's it becomes no label."""
    pipeline_stages: PipelineStages = ()
    """What every entry goes through, in order."""
    encoding: str = ""
    """What the files' text is encoded in, by its name at IANA; UTF-8 where left out."""
    decompression: DecompressionConfig = DecompressionConfig()
    """Which files are compressed; what logrotate has compressed is known without."""
    relabel_configs: tuple[TargetRule, ...] = ()
    """Rules that make sources of what was discovered (`__path__` names the files), or drop it."""
    journal: JournalConfig | None = None
    """Follow systemd's journal."""
    syslog: SyslogConfig | None = None
    """Listen for syslog."""
    loki_push_api: LokiPushConfig | None = None
    """Take what is pushed as to a Loki."""
    kafka: KafkaSourceConfig | None = None
    """Read topics of Kafka."""
    kubernetes_events: KubernetesEventsConfig | None = None
    """Read a cluster's events, by one agent of all."""

    @model_validator(mode="before")
    @classmethod
    def _local_targets(cls, value: Any) -> Any:
        """Give a static group without targets this machine, as promtail does."""
        if not isinstance(value, dict) or not isinstance(value.get("static_configs"), list):
            return value
        groups = [
            {**group, "targets": ["localhost"]} if isinstance(group, dict) and not group.get("targets") else group
            for group in value["static_configs"]
        ]
        return {**value, "static_configs": groups}

    @model_validator(mode="after")
    def _one_source(self) -> "LogScrapeConfig":
        sources = [name for name in INPUTS if getattr(self, name, None) is not None]
        if self.docker_sd_configs:
            sources.append("docker_sd_configs")
        if any(getattr(self, name) for name in Discoveries.model_fields if name != "docker_sd_configs"):
            sources.append("files that are discovered")
        if not sources:
            raise ValueError(f'no valid target scrape config defined for "{self.job_name}"')
        if len(sources) > 1:
            raise ValueError(f"a job has one source, not {' and '.join(sources)}: make jobs of them")
        if len(self.docker_sd_configs) > 1:
            raise ValueError("docker_sd_configs: a job reads one daemon's containers: make jobs of them")
        return self

    @property
    def input(self) -> str:
        """The key of its source; empty where files are discovered."""
        if self.docker_sd_configs:
            return "docker_sd_configs"
        return next((name for name in INPUTS if getattr(self, name, None) is not None), "")

    @property
    def pool(self) -> str:
        """Its name among all jobs: one of metrics may have the same name in the file."""
        return f"logs/{self.job_name}"

    # The rest of `agent.config.discoveries.JobConfig`: promtail knows no such limits.

    @property
    def legacy_names(self) -> bool:
        """Labels' names are free: what Loki does not take of them is left out."""
        return False

    @property
    def target_limit(self) -> int:
        """No limit."""
        return 0

    @property
    def keep_dropped_targets(self) -> int:
        """All are kept to be looked at."""
        return 0
