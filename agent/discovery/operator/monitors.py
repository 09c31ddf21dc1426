"""ServiceMonitor and PodMonitor. Source: the operator's API reference, monitoring.coreos.com/v1."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from agent.config.label_selector import LabelSelector
from agent.config.operator import DiscoveryRole
from agent.discovery.operator.http import Http, Proxy, Scheme, TlsWithFiles
from agent.discovery.operator.part import Own
from agent.discovery.operator.parts import (
    AttachMetadata,
    Duration,
    NamespaceSelector,
    Params,
    Port,
    Rules,
    SizedLimits,
)

Mechanism = Literal["RelabelConfig", "RoleSelector"]


class AnyEndpoint(Http, Proxy):
    """What the endpoints of both kinds of monitor have."""

    port: Own[str] = ""
    """The name of the port; of a container in a PodMonitor, of the service in a ServiceMonitor."""
    target_port: Own[Port | None] = None
    """The name or number of a container's port, where there is no `port`."""
    metrics_path: str = Field(default="", alias="path")
    scheme: Scheme = "http"
    params: Params = Field(default_factory=dict)
    scrape_interval: Duration = Field(default=0.0, alias="interval")
    scrape_timeout: Duration = 0.0
    honor_labels: bool = False
    honor_timestamps: bool = True
    track_timestamps_staleness: bool = False
    relabelings: Own[Rules] = ()
    """Rules behind those that the other keys stand for."""
    metric_relabelings: Own[Rules] = ()
    """Rules for samples."""
    filter_running: Own[bool] = True
    """Leave out pods that have failed or succeeded."""


class Endpoint(AnyEndpoint):
    """One of a ServiceMonitor's `endpoints`."""

    bearer_token_file: Path | None = None
    tls_config: TlsWithFiles | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """The files of the agent's own file system that it names."""
        token = () if self.bearer_token_file is None else (self.bearer_token_file,)
        return token + (self.tls_config.files if self.tls_config else ())


class PodEndpoint(AnyEndpoint):
    """One of a PodMonitor's `podMetricsEndpoints`."""

    port_number: Own[Annotated[int, Field(ge=1, le=65535)] | None] = None
    """The number of a container's port, where there is no `port`."""


class AnyMonitor(SizedLimits):
    """What both kinds of monitor have."""

    job_label: Own[str] = ""
    """The label of the service (the pod) that `job` is taken from."""
    pod_target_labels: Own[tuple[str, ...]] = ()
    """Labels of the pod that its targets get."""
    selector: Own[LabelSelector]
    """Which services (pods), by their labels."""
    selector_mechanism: Own[Mechanism] = "RelabelConfig"
    """Whether our rules select them, or the API server."""
    namespace_selector: Own[NamespaceSelector] = NamespaceSelector()
    """Those of which namespaces: `any`, `matchNames`, or the resource's own."""
    attach_metadata: Own[AttachMetadata | None] = None
    """`node`: the labels of the pod's node, for rules to use."""


class ServiceMonitor(AnyMonitor):
    """`spec` of a ServiceMonitor."""

    endpoints: Own[tuple[Endpoint, ...]]
    """What is asked of each: see below. One job each."""
    target_labels: Own[tuple[str, ...]] = ()
    """Labels of the service that its targets get."""
    service_discovery_role: Own[DiscoveryRole | None] = None
    """`Endpoints` or `EndpointSlice`."""


class PodMonitor(AnyMonitor):
    """`spec` of a PodMonitor."""

    pod_metrics_endpoints: Own[tuple[PodEndpoint, ...]] = ()
    """What is asked of each: see below. One job each."""
