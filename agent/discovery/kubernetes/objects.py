"""What is kept of a cluster's objects: the `__meta_kubernetes_*` labels they give, and what links them to others."""

from msgspec import Struct

from agent.discovery.kubernetes.labels import Labels


class Reference(Struct, frozen=True, gc=False):
    """Another object: an endpoint's pod, the controller of a pod."""

    kind: str
    name: str
    namespace: str = ""


class Port(Struct, frozen=True, gc=False):
    """A port of a container, a service, an endpoint or a slice; what is not said is empty, or None."""

    name: str
    number: int | None
    protocol: str
    app_protocol: str = ""


class Container(Struct, frozen=True, gc=False):
    """A container of a pod."""

    name: str
    image: str
    id: str
    is_init: bool
    ports: tuple[Port, ...]


class Pod(Struct, frozen=True, gc=False):
    """A pod; `labels` are all that it gives without looking at other objects."""

    namespace: str
    ip: str
    node_name: str
    controller: Reference | None
    labels: Labels
    containers: tuple[Container, ...]


class Node(Struct, frozen=True, gc=False):
    """A node; `meta` is what it lends to pods and endpoints (its name, labels, annotations), `own` the rest."""

    name: str
    meta: Labels
    own: Labels
    addresses: tuple[tuple[str, str], ...]
    kubelet_port: int


class Service(Struct, frozen=True, gc=False):
    """A service; `labels` are what it lends to its endpoints. `families`: its IP families if it is dual-stack."""

    host: str
    labels: Labels
    own: Labels
    ports: tuple[Port, ...]
    families: tuple[str, ...]


class Endpoint(Struct, frozen=True, gc=False):
    """Addresses that lead to one thing; `labels` are those of the endpoint itself."""

    addresses: tuple[str, ...]
    labels: Labels
    node_name: str
    target: Reference | None


class Subset(Struct, frozen=True, gc=False):
    """Endpoints that share ports: a subset of Endpoints, or all of an EndpointSlice."""

    ports: tuple[Port, ...]
    endpoints: tuple[Endpoint, ...]


class Endpoints(Struct, frozen=True, gc=False):
    """An Endpoints object, or an EndpointSlice, which alone has an `address_type` (IPv4, IPv6, FQDN)."""

    namespace: str
    service: str
    labels: Labels
    subsets: tuple[Subset, ...]
    address_type: str = ""


class Ingress(Struct, frozen=True, gc=False):
    """An ingress: its rules as (host, paths), and the hosts that have TLS."""

    namespace: str
    labels: Labels
    rules: tuple[tuple[str, tuple[str, ...]], ...]
    tls_hosts: tuple[str, ...]
