"""The sections of discovery, which jobs of metrics and of logs have in common."""

from collections.abc import Sequence
from typing import Annotated, Protocol

from agent.config.consul import ConsulSdConfig
from agent.config.dns import DnsSdConfig
from agent.config.docker import DockerSdConfig
from agent.config.ec2 import Ec2SdConfig
from agent.config.kubernetes import KubernetesSdConfig
from agent.config.lists import FileSdConfig, HttpSdConfig, StaticConfig
from pipeline.http_config import NullableSection
from pipeline.relabel import RelabelConfig, a_rule

_Static = Annotated[StaticConfig, a_rule("empty or null section in static_configs")]
_FileSd = Annotated[FileSdConfig, a_rule("empty or null section in file_sd_configs")]
_HttpSd = Annotated[HttpSdConfig, a_rule("empty or null section in http_sd_configs")]
_KubernetesSd = Annotated[KubernetesSdConfig, a_rule("empty or null section in kubernetes_sd_configs")]
_DnsSd = Annotated[DnsSdConfig, a_rule("empty or null section in dns_sd_configs")]
_ConsulSd = Annotated[ConsulSdConfig, a_rule("empty or null section in consul_sd_configs")]
_DockerSd = Annotated[DockerSdConfig, a_rule("empty or null section in docker_sd_configs")]
_Ec2Sd = Annotated[Ec2SdConfig, a_rule("empty or null section in ec2_sd_configs")]
TargetRule = Annotated[RelabelConfig, a_rule("empty or null target relabeling rule in scrape config")]


class Discoveries(NullableSection):
    """Where a job's targets are found: `agent.discovery.MECHANISMS` has a line for each of these keys."""

    static_configs: tuple[_Static, ...] = ()
    file_sd_configs: tuple[_FileSd, ...] = ()
    http_sd_configs: tuple[_HttpSd, ...] = ()
    dns_sd_configs: tuple[_DnsSd, ...] = ()
    consul_sd_configs: tuple[_ConsulSd, ...] = ()
    docker_sd_configs: tuple[_DockerSd, ...] = ()
    ec2_sd_configs: tuple[_Ec2Sd, ...] = ()
    kubernetes_sd_configs: tuple[_KubernetesSd, ...] = ()


class JobConfig(Protocol):
    """What finding a job's targets asks of its section, which also has the keys of `Discoveries`."""

    @property
    def job_name(self) -> str:
        """Its name in the file."""

    @property
    def pool(self) -> str:
        """Its name among all jobs, of metrics and of logs."""

    @property
    def relabel_configs(self) -> Sequence[RelabelConfig]:
        """The rules that make targets of what was discovered."""

    @property
    def legacy_names(self) -> bool:
        """Whether labels' names are bound to letters, digits and underscores."""

    @property
    def target_limit(self) -> int:
        """How many targets it may have; 0 is no limit."""

    @property
    def keep_dropped_targets(self) -> int:
        """How many dropped targets are kept to be looked at; 0 is no limit."""
