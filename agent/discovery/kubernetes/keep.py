"""What is kept of each kind of object: a pod is some 10 KB of JSON, and what is kept of it a tenth."""

from collections.abc import Iterable
from functools import lru_cache

from agent.discovery.kubernetes import shapes
from agent.discovery.kubernetes.labels import (
    NAMESPACE,
    PREFIX,
    Labels,
    annotations_and_labels,
    meta_labels,
    present,
    sanitized,
)
from agent.discovery.kubernetes.objects import (
    Container,
    Endpoint,
    Endpoints,
    Ingress,
    Node,
    Pod,
    Port,
    Reference,
    Service,
    Subset,
)


def keep_pod(item: shapes.Pod) -> Pod:
    """Keep a pod."""
    metadata, spec, status = item.metadata, item.spec, item.status
    controller = keep_controller(item)
    labels = {NAMESPACE: metadata.namespace, **meta_labels("pod", metadata)}
    given = (
        ("pod_ip", status.ip),
        ("pod_ready", _condition(status.conditions, "Ready")),
        ("pod_phase", status.phase),
        ("pod_node_name", spec.node_name),
        ("pod_host_ip", status.host_ip),
        ("pod_uid", metadata.uid),
        ("pod_controller_kind", controller.kind if controller else None),
        ("pod_controller_name", controller.name if controller else None),
    )
    labels.update(present(given))
    containers = (
        *_containers(spec.containers, status.containers, is_init=False),
        *_containers(spec.init_containers, status.init_containers, is_init=True),
    )
    return Pod(metadata.namespace, status.ip, spec.node_name, controller, labels, containers)


def keep_node(item: shapes.Node) -> Node:
    """Keep a node."""
    own = present([("node_provider_id", item.spec.provider_id)])
    for condition in item.status.conditions or ():
        own[f"{PREFIX}node_condition_{sanitized(condition.type.lower())}"] = condition.status.lower()
    addresses = tuple((address.type, address.address) for address in item.status.addresses or ())
    labels = meta_labels("node", item.metadata)
    return Node(item.metadata.name, labels, own, addresses, item.status.daemons.kubelet.port)


def keep_namespace(item: shapes.Described) -> Labels:
    """Keep what a namespace lends to all that is in it: its labels and annotations."""
    return annotations_and_labels("namespace", item.metadata)


def keep_service(item: shapes.Service) -> Service:
    """Keep a service."""
    metadata, spec = item.metadata, item.spec
    labels = {NAMESPACE: metadata.namespace, **meta_labels("service", metadata)}
    balancer = item.status.load_balancer.ingress or ()
    ips = ",".join(entry.ip for entry in balancer if entry.ip) or spec.load_balancer_ip
    external = spec.type == "ExternalName"
    own = present(
        (
            ("service_type", spec.type),
            ("service_external_name", spec.external_name if external else None),
            ("service_cluster_ip", None if external else spec.cluster_ip),
            ("service_loadbalancer_ip", ips if spec.type == "LoadBalancer" else None),
        )
    )
    dual = spec.ip_family_policy in ("PreferDualStack", "RequireDualStack")
    families = tuple(spec.ip_families or ()) if dual else ()
    return Service(f"{metadata.name}.{metadata.namespace}.svc", labels, own, _ports(spec.ports), families)


def keep_endpoints(item: shapes.Endpoints) -> Endpoints:
    """Keep an Endpoints object."""
    subsets = []
    for subset in item.subsets or ():
        ready = [_endpoint(address, "true") for address in subset.addresses or ()]
        rest = [_endpoint(address, "false") for address in subset.not_ready or ()]
        subsets.append(Subset(_ports(subset.ports), (*ready, *rest)))
    metadata = item.metadata
    return Endpoints(metadata.namespace, metadata.name, meta_labels("endpoints", metadata), tuple(subsets))


def keep_endpoint_slice(item: shapes.EndpointSlice) -> Endpoints:
    """Keep an EndpointSlice."""
    metadata = item.metadata
    labels = meta_labels("endpointslice", metadata)
    labels.update(present([("endpointslice_address_type", item.address_type)]))
    endpoints = tuple(_slice_endpoint(endpoint) for endpoint in item.endpoints or ())
    service = (metadata.labels or {}).get("kubernetes.io/service-name", "")
    subset = Subset(_ports(item.ports), endpoints)
    return Endpoints(metadata.namespace, service, labels, (subset,), item.address_type)


def keep_ingress(item: shapes.Ingress) -> Ingress:
    """Keep an ingress."""
    labels = meta_labels("ingress", item.metadata)
    labels.update(present([("ingress_class_name", item.spec.ingress_class_name)]))
    rules = []
    for rule in item.spec.rules or ():
        paths = ["/"] if rule.http is None else [path.path or "/" for path in rule.http.paths or ()]
        rules.append((rule.host, tuple(paths)))
    tls_hosts = tuple(host for tls in item.spec.tls or () for host in tls.hosts or ())
    return Ingress(item.metadata.namespace, labels, tuple(rules), tls_hosts)


def keep_controller(item: shapes.Described | shapes.Pod) -> Reference | None:
    """Keep of a ReplicaSet, a Job or a pod who controls it."""
    for owner in item.metadata.owners or ():
        if owner.controller:
            return Reference(owner.kind, owner.name)
    return None


def _condition(conditions: Iterable[shapes.Condition] | None, kind: str) -> str:
    for condition in conditions or ():
        if condition.type == kind:
            return condition.status.lower()
    return "unknown"


def _containers(
    given: Iterable[shapes.Container] | None, statuses: Iterable[shapes.ContainerStatus] | None, *, is_init: bool
) -> list[Container]:
    ids = {status.name: status.id for status in statuses or ()}
    return [
        Container(
            container.name,
            container.image,
            ids.get(container.name, ""),
            is_init,
            tuple(_port(port.name, port.number, port.protocol, "") for port in container.ports or ()),
        )
        for container in given or ()
    ]


def _ports(given: Iterable[shapes.NetworkPort] | None) -> tuple[Port, ...]:
    return tuple(
        _port(port.name or "", port.port, port.protocol or "", port.app_protocol or "") for port in given or ()
    )


@lru_cache(maxsize=4096)
def _port(name: str, number: int | None, protocol: str, app_protocol: str) -> Port:
    # Ten thousand pods have the same few ports: they share them.
    return Port(name, number, protocol, app_protocol)


def _reference(given: shapes.Target | None) -> Reference | None:
    return None if given is None else Reference(given.kind, given.name, given.namespace)


def _endpoint(address: shapes.EndpointAddress, ready: str) -> Endpoint:
    target, node_name = _reference(address.target), address.node_name or ""
    labels = present(
        (
            ("endpoint_ready", ready),
            ("endpoint_address_target_kind", target.kind if target else None),
            ("endpoint_address_target_name", target.name if target else None),
            ("endpoint_node_name", node_name),
            ("endpoint_hostname", address.hostname),
        )
    )
    return Endpoint((address.ip,), labels, node_name, target)


def _slice_endpoint(endpoint: shapes.SliceEndpoint) -> Endpoint:
    target, node_name, conditions = _reference(endpoint.target), endpoint.node_name or "", endpoint.conditions
    stem = "endpointslice_endpoint"
    labels = present(
        (
            ("endpointslice_address_target_kind", target.kind if target else None),
            ("endpointslice_address_target_name", target.name if target else None),
            (f"{stem}_hostname", endpoint.hostname),
            (f"{stem}_node_name", node_name),
            (f"{stem}_zone", endpoint.zone),
            (f"{stem}_conditions_ready", _flag(conditions.ready)),
            (f"{stem}_conditions_serving", _flag(conditions.serving)),
            (f"{stem}_conditions_terminating", _flag(conditions.terminating)),
        )
    )
    for key, value in (endpoint.topology or {}).items():
        labels[f"{PREFIX}{stem}_topology_{sanitized(key)}"] = value
        labels[f"{PREFIX}{stem}_topology_present_{sanitized(key)}"] = "true"
    return Endpoint(tuple(endpoint.addresses or ()), labels, node_name, target)


def _flag(value: bool | None) -> str:
    return "" if value is None else "true" if value else "false"
