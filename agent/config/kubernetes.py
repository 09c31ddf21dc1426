"""`kubernetes_sd_configs`: which objects of a cluster are targets. Names, meanings and limits are Prometheus' own.

Source: Prometheus documentation, `<kubernetes_sd_config>`; prometheus/discovery/kubernetes/kubernetes.go.
"""

from typing import Annotated, Any, Final, Literal, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, model_validator

from agent.config.selectors import check_field_selector, check_label_selector
from pipeline.config import FilePath
from pipeline.http_config import HttpClientConfig, NullableSection

Role = Literal["node", "pod", "service", "endpoints", "endpointslice", "ingress"]
ROLES: Final[tuple[Role, ...]] = get_args(Role)

SELECTABLE: Final[dict[Role, tuple[Role, ...]]] = {
    "pod": ("pod", "node"),
    "service": ("service",),
    "endpointslice": ("pod", "service", "endpointslice"),
    "endpoints": ("pod", "service", "endpoints"),
    "node": ("node",),
    "ingress": ("ingress",),
}
"""By which objects' selectors each role's targets can be chosen."""


def _known_role(value: object) -> object:
    if isinstance(value, str) and value not in ROLES:
        raise ValueError(f'unknown Kubernetes SD role "{value}"')
    return value


class NamespaceDiscovery(NullableSection):
    """`namespaces`: where to look; everywhere if it names none."""

    own_namespace: bool = False
    """Look in the namespace that the agent runs in."""
    names: tuple[str, ...] = ()
    """The namespaces to look in."""


class SelectorConfig(NullableSection):
    """One of `selectors`: which objects of a kind the API server sends at all."""

    role: Annotated[Role, BeforeValidator(_known_role)]
    """Which objects are chosen."""
    label: Annotated[str, AfterValidator(check_label_selector)] = ""
    """A selector of labels."""
    field: Annotated[str, AfterValidator(check_field_selector)] = ""
    """A selector of fields."""


class AttachMetadata(NullableSection):
    """`attach_metadata`: what a target takes over from objects beside it."""

    node: bool = False
    """The labels and annotations of a pod's node."""
    namespace: bool = False
    """The labels and annotations of a target's namespace."""
    deployment: bool = False
    """The name of the Deployment that a pod belongs to."""
    job: bool = False
    """The name of the Job that a pod belongs to."""
    cronjob: bool = False
    """The name of the CronJob that a pod belongs to."""


def _server_url(text: str) -> str:
    parts = urlsplit(text)
    if text and (parts.scheme not in ("http", "https") or not parts.hostname):
        raise ValueError(f'"{text}" is no URL of http or https')
    return text.rstrip("/")


_PLAIN: Final = HttpClientConfig()


class KubernetesSdConfig(HttpClientConfig):
    """One of `kubernetes_sd_configs`: nodes, pods, services, endpoints or ingresses of a Kubernetes cluster.

    Without `api_server` and `kubeconfig_file` it is the cluster that the agent runs in.
    """

    role: Annotated[Role | None, BeforeValidator(_known_role)] = None
    """Which objects are targets."""
    api_server: Annotated[str, AfterValidator(_server_url)] = ""
    """The URL of the API server."""
    kubeconfig_file: FilePath | None = None
    """A kubeconfig that says where the API server is and how to talk to it."""
    namespaces: NamespaceDiscovery = NamespaceDiscovery()
    """Where to look; everywhere where left out."""
    selectors: tuple[SelectorConfig, ...] = ()
    """Which objects the API server sends at all."""
    attach_metadata: AttachMetadata = AttachMetadata()
    """What a target takes over from objects beside it."""

    @model_validator(mode="after")
    def _consistent(self) -> "KubernetesSdConfig":
        if self.role is None:
            raise ValueError("role missing (one of: pod, service, endpoints, endpointslice, node, ingress)")
        if self.api_server and self.kubeconfig_file:
            raise ValueError("cannot use 'kubeconfig_file' and 'api_server' simultaneously")
        if self.http != _PLAIN:
            if self.kubeconfig_file:
                raise ValueError("cannot use a custom HTTP client configuration together with 'kubeconfig_file'")
            if not self.api_server:
                raise ValueError(
                    "to use custom HTTP client configuration please provide the 'api_server' URL explicitly"
                )
        if self.namespaces.own_namespace:
            for name in ("api_server", "kubeconfig_file"):
                if getattr(self, name):
                    raise ValueError(f"cannot use '{name}' and 'namespaces.own_namespace' simultaneously")
        self._check_selectors(self.role)
        return self

    def _check_selectors(self, role: Role) -> None:
        seen = set[str]()
        for selector in self.selectors:
            if selector.role in seen:
                raise ValueError(f"duplicated selector role: {selector.role}")
            seen.add(selector.role)
            if selector.role not in SELECTABLE[role]:
                raise ValueError(f"{role} role supports only {', '.join(SELECTABLE[role])} selectors")

    @property
    def http(self) -> HttpClientConfig:
        """The part that says how to talk to `api_server`."""
        given: dict[str, Any] = {name: getattr(self, name) for name in HttpClientConfig.model_fields}
        return HttpClientConfig.model_construct(**given)

    def selector(self, role: str) -> SelectorConfig | None:
        """Return what was selected of a kind of objects, if anything was."""
        return next((selector for selector in self.selectors if selector.role == role), None)
