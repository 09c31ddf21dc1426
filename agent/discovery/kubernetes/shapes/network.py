"""Services, what is behind them, and the ingresses before them."""

from msgspec import Struct, field

from agent.discovery.kubernetes.shapes.lists import Metadata


class NetworkPort(Struct, gc=False):
    """A port of a service, of endpoints, or of a slice."""

    name: str | None = None
    port: int | None = None
    protocol: str | None = None
    app_protocol: str | None = field(name="appProtocol", default=None)


class ServiceSpec(Struct, gc=False):
    """What a service is to be."""

    type: str = ""
    ports: list[NetworkPort] | None = None
    cluster_ip: str = field(name="clusterIP", default="")
    external_name: str = field(name="externalName", default="")
    load_balancer_ip: str = field(name="loadBalancerIP", default="")
    ip_family_policy: str | None = field(name="ipFamilyPolicy", default=None)
    ip_families: list[str] | None = field(name="ipFamilies", default=None)


class BalancerAddress(Struct, gc=False):
    """Where a load balancer is."""

    ip: str = ""


class LoadBalancer(Struct, gc=False):
    """Where a service's load balancer is."""

    ingress: list[BalancerAddress] | None = None


class ServiceStatus(Struct, gc=False):
    """What became of a service."""

    load_balancer: LoadBalancer = field(name="loadBalancer", default_factory=LoadBalancer)


class Service(Struct, gc=False):
    """A service."""

    metadata: Metadata
    spec: ServiceSpec = field(default_factory=ServiceSpec)
    status: ServiceStatus = field(default_factory=ServiceStatus)


class Target(Struct, gc=False):
    """A `targetRef`."""

    kind: str = ""
    name: str = ""
    namespace: str = ""


class EndpointAddress(Struct, gc=False):
    """An address of Endpoints."""

    ip: str
    hostname: str = ""
    node_name: str | None = field(name="nodeName", default=None)
    target: Target | None = field(name="targetRef", default=None)


class EndpointSubset(Struct, gc=False):
    """A subset of Endpoints."""

    ports: list[NetworkPort] | None = None
    addresses: list[EndpointAddress] | None = None
    not_ready: list[EndpointAddress] | None = field(name="notReadyAddresses", default=None)


class Endpoints(Struct, gc=False):
    """An Endpoints object."""

    metadata: Metadata
    subsets: list[EndpointSubset] | None = None


class EndpointConditions(Struct, gc=False):
    """How an endpoint of a slice is."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class SliceEndpoint(Struct, gc=False):
    """An endpoint of a slice."""

    addresses: list[str] | None = None
    conditions: EndpointConditions = field(default_factory=EndpointConditions)
    hostname: str | None = None
    node_name: str | None = field(name="nodeName", default=None)
    zone: str | None = None
    target: Target | None = field(name="targetRef", default=None)
    topology: dict[str, str] | None = field(name="deprecatedTopology", default=None)


class EndpointSlice(Struct, gc=False):
    """An EndpointSlice."""

    metadata: Metadata
    address_type: str = field(name="addressType", default="")
    ports: list[NetworkPort] | None = None
    endpoints: list[SliceEndpoint] | None = None


class IngressPath(Struct, gc=False):
    """A path of an ingress' rule."""

    path: str = ""


class IngressHttp(Struct, gc=False):
    """The paths of an ingress' rule."""

    paths: list[IngressPath] | None = None


class IngressRule(Struct, gc=False):
    """A rule of an ingress."""

    host: str = ""
    http: IngressHttp | None = None


class IngressTls(Struct, gc=False):
    """Hosts that have TLS."""

    hosts: list[str] | None = None


class IngressSpec(Struct, gc=False):
    """What an ingress is to be."""

    ingress_class_name: str | None = field(name="ingressClassName", default=None)
    rules: list[IngressRule] | None = None
    tls: list[IngressTls] | None = None


class Ingress(Struct, gc=False):
    """An ingress."""

    metadata: Metadata
    spec: IngressSpec = field(default_factory=IngressSpec)
