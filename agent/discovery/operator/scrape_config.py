"""ScrapeConfig, the custom resource. Source: the operator's API reference, monitoring.coreos.com/v1alpha1."""

from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field

from agent.config.lists import LabelMap
from agent.config.unsupported import REASONS
from agent.discovery.operator.http import Authorization, BasicAuth, OAuth2, Proxy, Scheme, SdHttp, Tls
from agent.discovery.operator.part import Own, Part, SecretRef
from agent.discovery.operator.parts import Duration, Params, Rules, SizedLimits


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _escaping(value: Any) -> Any:
    return "allow-utf-8" if value == "AllowUTF8" else _lower(value)


class StaticSd(Part):
    """One of `staticConfigs`."""

    targets: tuple[str, ...]
    labels: LabelMap = Field(default_factory=dict)


class FileSd(Part):
    """One of `fileSDConfigs`: files where the agent runs."""

    files: tuple[str, ...]
    refresh_interval: Duration = 0.0


class HttpSd(SdHttp):
    """One of `httpSDConfigs`."""

    url: str
    refresh_interval: Duration = 0.0


Role = Annotated[
    Literal["pod", "endpoints", "ingress", "service", "node", "endpointslice"],
    BeforeValidator(_lower),
]


class Namespaces(Part):
    """`namespaces` of a Kubernetes discovery."""

    names: tuple[str, ...] = ()
    own_namespace: bool = False


class RoleSelector(Part):
    """One of `selectors` of a Kubernetes discovery."""

    role: Role
    label: str = ""
    field: str = ""


class SdMetadata(Part):
    """`attachMetadata` of a Kubernetes discovery."""

    node: bool = False


class KubernetesSd(SdHttp):
    """One of `kubernetesSDConfigs`."""

    role: Role
    api_server: str = ""
    namespaces: Namespaces | None = None
    selectors: tuple[RoleSelector, ...] = ()
    attach_metadata: SdMetadata | None = None


class ConsulSd(SdHttp):
    """One of `consulSDConfigs`."""

    server: str
    path_prefix: str = ""
    token: SecretRef = Field(default=None, alias="tokenRef")
    datacenter: str = ""
    namespace: str = ""
    partition: str = ""
    scheme: Scheme = "http"
    services: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    tag_separator: str = ","
    node_meta: dict[str, str] = Field(default_factory=dict)
    filter: str = ""
    health_filter: str = ""
    allow_stale: bool = True
    refresh_interval: Duration = 0.0


class DnsSd(Part):
    """One of `dnsSDConfigs`."""

    names: tuple[str, ...]
    type: str = "SRV"
    port: int = 0
    refresh_interval: Duration = 0.0


class Filter(Part):
    """One of the `filters` of a discovery."""

    name: str
    values: tuple[str, ...]


class Ec2Sd(Proxy):
    """One of `ec2SDConfigs`."""

    region: str = ""
    access_key: SecretRef = None
    secret_key: SecretRef = None
    role_arn: str = Field(default="", alias="roleARN")
    port: int = 80
    refresh_interval: Duration = 0.0
    filters: tuple[Filter, ...] = ()
    tls_config: Tls | None = None
    follow_redirects: bool = True
    enable_http2: bool = Field(default=True, alias="enableHTTP2")


class DockerSd(SdHttp):
    """One of `dockerSDConfigs`."""

    host: str
    port: int = 80
    host_networking_host: str = ""
    match_first_network: bool = True
    filters: tuple[Filter, ...] = ()
    refresh_interval: Duration = 0.0


OTHER_DISCOVERIES: Final = {
    f"{name}SDConfigs": REASONS[f"{name.lower()}_sd_configs"]
    for name in (
        *("azure", "digitalOcean", "dockerSwarm", "eureka", "gce", "hetzner", "ionos", "kuma", "lightSail", "linode"),
        *("nomad", "openstack", "ovhcloud", "puppetDB", "scaleway"),
    )
}
"""Discoveries of the resource that no agent has, and why."""


class ScrapeConfigResource(Proxy, SizedLimits):
    """`spec` of a ScrapeConfig. Discoveries that Prometheus has and we have not are refused by name."""

    job_name: Own[str] = ""
    """The label `job`, in place of the job's name."""
    static_configs: tuple[StaticSd, ...] = ()
    file_sd_configs: tuple[FileSd, ...] = Field(default=(), alias="fileSDConfigs")
    http_sd_configs: tuple[HttpSd, ...] = Field(default=(), alias="httpSDConfigs")
    kubernetes_sd_configs: tuple[KubernetesSd, ...] = Field(default=(), alias="kubernetesSDConfigs")
    consul_sd_configs: tuple[ConsulSd, ...] = Field(default=(), alias="consulSDConfigs")
    dns_sd_configs: tuple[DnsSd, ...] = Field(default=(), alias="dnsSDConfigs")
    ec2_sd_configs: tuple[Ec2Sd, ...] = Field(default=(), alias="ec2SDConfigs")
    docker_sd_configs: tuple[DockerSd, ...] = Field(default=(), alias="dockerSDConfigs")
    relabelings: Own[Rules] = ()
    """Rules behind that for `job`."""
    metric_relabelings: Own[Rules] = ()
    """Rules for samples."""
    metrics_path: str = ""
    scrape_interval: Duration = 0.0
    scrape_timeout: Duration = 0.0
    honor_timestamps: bool = True
    track_timestamps_staleness: bool = False
    honor_labels: bool = False
    params: Params = Field(default_factory=dict)
    scheme: Scheme = "http"
    enable_compression: bool = True
    enable_http2: bool = Field(default=True, alias="enableHTTP2")
    basic_auth: BasicAuth | None = None
    authorization: Authorization | None = None
    oauth2: OAuth2 | None = None
    tls_config: Tls | None = None
    metric_name_validation_scheme: Annotated[str, BeforeValidator(_lower)] = Field(
        default="", alias="nameValidationScheme"
    )
    metric_name_escaping_scheme: Annotated[str, BeforeValidator(_escaping)] = Field(
        default="", alias="nameEscapingScheme"
    )
