"""`operator`: which custom resources of the Prometheus operator an agent scrapes by, and what it holds them to.

Names and meanings are those of the operator's Prometheus resource (API reference, PrometheusSpec), in snake_case.
"""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator

from agent.config.kubernetes import KubernetesSdConfig
from agent.config.label_selector import LabelSelector
from agent.config.scrape import Count, Protocol, SizeLimit
from pipeline.config import FilePath
from pipeline.http_config import HttpClientConfig, NullableSection
from pipeline.relabel import RelabelConfig, is_label_name


class FileAccess(NullableSection):
    """`arbitrary_fs_access_through_sms`: whether resources may name files of the agent's own file system."""

    deny: bool = False
    """Refuse resources that name files: whoever may create one could else have any file sent to a target."""


class AttachMetadata(NullableSection):
    """`attach_metadata` of a scrape class."""

    node: bool = False
    """The labels and annotations of a pod's node."""


class ClassTls(NullableSection):
    """`tls_config` of a scrape class: files, for resources that name no certificates of their own."""

    ca_file: FilePath | None = None
    """The certificates to trust."""
    cert_file: FilePath | None = None
    """The client's certificate."""
    key_file: FilePath | None = None
    """The client's key."""


class ClassAuthorization(NullableSection):
    """`authorization` of a scrape class."""

    type: str = "Bearer"
    """What stands before the credentials."""
    credentials_file: FilePath
    """A file with the credentials."""


class ScrapeClass(NullableSection):
    """One of `scrape_classes`: what resources that name it (or none, for the default one) are given."""

    name: Annotated[str, Field(min_length=1)]
    """What resources name it by."""
    default: bool = False
    """It is also for resources that name none."""
    fallback_scrape_protocol: Protocol | None = None
    """The format of pages whose Content-Type names none."""
    tls_config: ClassTls | None = None
    authorization: ClassAuthorization | None = None
    """For resources without an authorization of their own."""
    relabelings: tuple[RelabelConfig, ...] = ()
    """Rules that stand before those of the resource, behind those that its fields stand for."""
    metric_relabelings: tuple[RelabelConfig, ...] = ()
    """Rules that stand before those of the resource."""
    attach_metadata: AttachMetadata | None = None
    """For resources that say nothing of it."""


def _label(name: str) -> str:
    if name and not is_label_name(name):
        raise ValueError(f'"{name}" is not a valid label name')
    return name


def _role(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


DiscoveryRole = Annotated[Literal["endpoints", "endpointslice"], BeforeValidator(_role)]


class OperatorConfig(HttpClientConfig):
    """The section. A selector that is left out selects nothing; one without parts (`{}`) selects everything.

    A namespace selector that is left out means the agent's own namespace. How the API server is reached is said as
    in `kubernetes_sd_configs`, and the jobs' discovery reaches it the same way.
    """

    service_monitor_selector: LabelSelector | None = None
    """Which ServiceMonitors, by their labels; `{}` is all of them, left out none."""
    service_monitor_namespace_selector: LabelSelector | None = None
    """Those of which namespaces, by the namespaces' labels; `{}` is all of them, left out the agent's own."""
    pod_monitor_selector: LabelSelector | None = None
    """Which PodMonitors."""
    pod_monitor_namespace_selector: LabelSelector | None = None
    """Those of which namespaces."""
    probe_selector: LabelSelector | None = None
    """Which Probes."""
    probe_namespace_selector: LabelSelector | None = None
    """Those of which namespaces."""
    scrape_config_selector: LabelSelector | None = None
    """Which ScrapeConfigs."""
    scrape_config_namespace_selector: LabelSelector | None = None
    """Those of which namespaces."""
    api_server: str = ""
    """As in `kubernetes_sd_configs`."""
    kubeconfig_file: FilePath | None = None
    """As in `kubernetes_sd_configs`."""
    namespace: str = ""
    """The agent's own; left out, the pod's, or the kubeconfig's."""

    service_discovery_role: DiscoveryRole = "endpoints"
    """How the endpoints of a ServiceMonitor's services are found."""
    pod_target_labels: tuple[str, ...] = ()
    """Labels of pods that their targets get."""
    ignore_namespace_selectors: bool = False
    """Let resources look into their own namespace only."""
    override_honor_labels: bool = False
    """A target's labels win over those of its page, whatever resources say."""
    override_honor_timestamps: bool = False
    """The time of the scrape counts, not a page's own timestamps, whatever resources say."""
    arbitrary_fs_access_through_sms: FileAccess = FileAccess()
    """Whether resources may name files of the agent's own."""
    enforced_namespace_label: Annotated[str, AfterValidator(_label)] = ""
    """The name of a label that every series of a resource gets: the resource's namespace."""
    enforced_sample_limit: Count = 0
    """The highest that a resource may set, and what holds where it sets none."""
    enforced_target_limit: Count = 0
    """The highest that a resource may set, and what holds where it sets none."""
    enforced_label_limit: Count = 0
    """The highest that a resource may set, and what holds where it sets none."""
    enforced_label_name_length_limit: Count = 0
    """The highest that a resource may set, and what holds where it sets none."""
    enforced_label_value_length_limit: Count = 0
    """The highest that a resource may set, and what holds where it sets none."""
    enforced_keep_dropped_targets: Count = 0
    """The highest that a resource may set, and what holds where it sets none."""
    enforced_body_size_limit: SizeLimit = 0
    """The largest that a resource may set, and what holds where it sets none."""
    scrape_classes: tuple[ScrapeClass, ...] = ()
    """What resources may name to be given."""

    @property
    def reach(self) -> dict[str, Any]:
        """How the API server is reached: the keys that a `kubernetes_sd_configs` section has for that, where given."""
        names = {*HttpClientConfig.model_fields, "api_server", "kubeconfig_file"} & self.model_fields_set
        return {name: getattr(self, name) for name in sorted(names)}

    @property
    def access(self) -> KubernetesSdConfig:
        """The same as such a section, whose role says nothing."""
        return KubernetesSdConfig.model_validate({"role": "service", **self.reach})

    @model_validator(mode="after")
    def _reachable(self) -> "OperatorConfig":
        try:
            _ = self.access
        except ValidationError as error:
            raise ValueError(str(error.errors()[0]["msg"]).removeprefix("Value error, ")) from error
        return self

    @model_validator(mode="after")
    def _selects(self) -> "OperatorConfig":
        if not any(selector is not None for _, selector, _ in self.selectors()):
            raise ValueError(
                "selects nothing: give at least one of service_monitor_selector, pod_monitor_selector, probe_selector "
                "and scrape_config_selector; {} selects every resource"
            )
        for name in ("service_monitor", "pod_monitor", "probe", "scrape_config"):
            if getattr(self, f"{name}_namespace_selector") is not None and getattr(self, f"{name}_selector") is None:
                raise ValueError(f"{name}_namespace_selector needs {name}_selector: {{}} selects every resource")
        return self

    @model_validator(mode="after")
    def _classes_differ(self) -> "OperatorConfig":
        names = [each.name for each in self.scrape_classes]
        if len(set(names)) < len(names):
            raise ValueError("scrape_classes: two have the same name")
        if sum(each.default for each in self.scrape_classes) > 1:
            raise ValueError("scrape_classes: more than one is the default")
        return self

    def selectors(self) -> Iterator[tuple[str, LabelSelector | None, LabelSelector | None]]:
        """Yield each kind's name in this section, its resources' selector and its namespaces' selector."""
        for name in ("service_monitor", "pod_monitor", "probe", "scrape_config"):
            yield name, getattr(self, f"{name}_selector"), getattr(self, f"{name}_namespace_selector")

    def scrape_class(self, name: str | None) -> ScrapeClass | None:
        """Return the class that a resource names, or the default one; raises ValueError for a name that is none."""
        for each in self.scrape_classes:
            if each.name == name or (name is None and each.default):
                return each
        if name is not None:
            raise ValueError(f'"{name}" is none of the scrape_classes')
        return None
