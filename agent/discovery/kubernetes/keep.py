"""What is kept of each kind of object: a pod is some 10 KB of JSON, and what is kept of it a tenth.

Each function takes an object as the API server sends it. Source: Kubernetes API reference.
"""

from typing import Any

from agent.discovery.kubernetes.labels import (
    NAMESPACE,
    PREFIX,
    Labels,
    Object,
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


def keep_pod(item: Object) -> Pod:
    """Keep a pod."""
    metadata, spec, status = item["metadata"], item.get("spec") or {}, item.get("status") or {}
    controller = keep_controller(item)
    labels = {NAMESPACE: metadata.get("namespace", ""), **meta_labels("pod", metadata)}
    given = (
        ("pod_ip", status.get("podIP")),
        ("pod_ready", _condition(status, "Ready")),
        ("pod_phase", status.get("phase")),
        ("pod_node_name", spec.get("nodeName")),
        ("pod_host_ip", status.get("hostIP")),
        ("pod_uid", metadata.get("uid")),
        ("pod_controller_kind", controller and controller.kind),
        ("pod_controller_name", controller and controller.name),
    )
    labels.update(present(given))
    containers = (
        *_containers(spec.get("containers"), status.get("containerStatuses"), is_init=False),
        *_containers(spec.get("initContainers"), status.get("initContainerStatuses"), is_init=True),
    )
    ip, node_name = status.get("podIP") or "", spec.get("nodeName") or ""
    return Pod(metadata.get("namespace", ""), ip, node_name, controller, labels, containers)


def keep_node(item: Object) -> Node:
    """Keep a node."""
    metadata, spec, status = item["metadata"], item.get("spec") or {}, item.get("status") or {}
    own = present([("node_provider_id", spec.get("providerID"))])
    for condition in status.get("conditions") or ():
        own[f"{PREFIX}node_condition_{sanitized(condition['type'].lower())}"] = condition["status"].lower()
    addresses = tuple((address["type"], address["address"]) for address in status.get("addresses") or ())
    kubelet = (status.get("daemonEndpoints") or {}).get("kubeletEndpoint") or {}
    return Node(metadata["name"], meta_labels("node", metadata), own, addresses, kubelet.get("Port") or 0)


def keep_namespace(item: Object) -> Labels:
    """Keep what a namespace lends to all that is in it: its labels and annotations."""
    return annotations_and_labels("namespace", item["metadata"])


def keep_service(item: Object) -> Service:
    """Keep a service."""
    metadata, spec, status = item["metadata"], item.get("spec") or {}, item.get("status") or {}
    namespace, kind = metadata.get("namespace", ""), spec.get("type")
    labels = {NAMESPACE: namespace, **meta_labels("service", metadata)}
    balancer = (status.get("loadBalancer") or {}).get("ingress") or ()
    ips = ",".join(entry["ip"] for entry in balancer if entry.get("ip")) or spec.get("loadBalancerIP")
    external = kind == "ExternalName"
    own = present(
        (
            ("service_type", kind),
            ("service_external_name", spec.get("externalName") if external else None),
            ("service_cluster_ip", None if external else spec.get("clusterIP")),
            ("service_loadbalancer_ip", ips if kind == "LoadBalancer" else None),
        )
    )
    dual = spec.get("ipFamilyPolicy") in ("PreferDualStack", "RequireDualStack")
    ports = tuple(_port(port, "port") for port in spec.get("ports") or ())
    families = tuple(spec.get("ipFamilies") or ()) if dual else ()
    return Service(f"{metadata['name']}.{namespace}.svc", labels, own, ports, families)


def keep_endpoints(item: Object) -> Endpoints:
    """Keep an Endpoints object."""
    metadata = item["metadata"]
    subsets = []
    for subset in item.get("subsets") or ():
        ports = tuple(_port(port, "port") for port in subset.get("ports") or ())
        ready = [_endpoint(address, "true") for address in subset.get("addresses") or ()]
        rest = [_endpoint(address, "false") for address in subset.get("notReadyAddresses") or ()]
        subsets.append(Subset(ports, (*ready, *rest)))
    labels = meta_labels("endpoints", metadata)
    return Endpoints(metadata.get("namespace", ""), metadata["name"], labels, tuple(subsets))


def keep_endpoint_slice(item: Object) -> Endpoints:
    """Keep an EndpointSlice."""
    metadata, kind = item["metadata"], item.get("addressType") or ""
    labels = meta_labels("endpointslice", metadata)
    labels.update(present([("endpointslice_address_type", kind)]))
    ports = tuple(_port(port, "port") for port in item.get("ports") or ())
    endpoints = tuple(_slice_endpoint(endpoint) for endpoint in item.get("endpoints") or ())
    service = (metadata.get("labels") or {}).get("kubernetes.io/service-name", "")
    return Endpoints(metadata.get("namespace", ""), service, labels, (Subset(ports, endpoints),), kind)


def keep_ingress(item: Object) -> Ingress:
    """Keep an ingress."""
    metadata, spec = item["metadata"], item.get("spec") or {}
    labels = {**meta_labels("ingress", metadata), **present([("ingress_class_name", spec.get("ingressClassName"))])}
    rules = []
    for rule in spec.get("rules") or ():
        http = rule.get("http")
        paths = ["/"] if http is None else [path.get("path") or "/" for path in http.get("paths") or ()]
        rules.append((rule.get("host") or "", tuple(paths)))
    tls_hosts = tuple(host for tls in spec.get("tls") or () for host in tls.get("hosts") or ())
    return Ingress(metadata.get("namespace", ""), labels, tuple(rules), tls_hosts)


def keep_controller(item: Object) -> Reference | None:
    """Keep of a ReplicaSet or a Job who controls it; raises KeyError for half an object."""
    for owner in item["metadata"].get("ownerReferences") or ():
        if owner.get("controller"):
            return Reference(owner.get("kind") or "", owner.get("name") or "")
    return None


def _condition(status: Object, kind: str) -> str:
    for condition in status.get("conditions") or ():
        if condition["type"] == kind:
            return str(condition["status"]).lower()
    return "unknown"


def _containers(given: Any, statuses: Any, *, is_init: bool) -> list[Container]:
    ids = {status["name"]: status.get("containerID") or "" for status in statuses or ()}
    return [
        Container(
            container["name"],
            container.get("image") or "",
            ids.get(container["name"], ""),
            is_init,
            tuple(_port(port, "containerPort") for port in container.get("ports") or ()),
        )
        for container in given or ()
    ]


def _port(port: Object, number: str) -> Port:
    value = port.get(number)
    if value is not None and not isinstance(value, int):
        raise TypeError(f"{number} is no number")
    return Port(port.get("name") or "", value, port.get("protocol") or "", port.get("appProtocol") or "")


def _reference(given: Object | None) -> Reference | None:
    if given is None:
        return None
    return Reference(given.get("kind") or "", given.get("name") or "", given.get("namespace") or "")


def _endpoint(address: Object, ready: str) -> Endpoint:
    target, node_name = _reference(address.get("targetRef")), address.get("nodeName") or ""
    labels = present(
        (
            ("endpoint_ready", ready),
            ("endpoint_address_target_kind", target and target.kind),
            ("endpoint_address_target_name", target and target.name),
            ("endpoint_node_name", node_name),
            ("endpoint_hostname", address.get("hostname")),
        )
    )
    return Endpoint((address["ip"],), labels, node_name, target)


def _slice_endpoint(endpoint: Object) -> Endpoint:
    target, node_name = _reference(endpoint.get("targetRef")), endpoint.get("nodeName") or ""
    stem = "endpointslice_endpoint"
    labels = present(
        (
            ("endpointslice_address_target_kind", target and target.kind),
            ("endpointslice_address_target_name", target and target.name),
            (f"{stem}_hostname", endpoint.get("hostname")),
            (f"{stem}_node_name", node_name),
            (f"{stem}_zone", endpoint.get("zone")),
        )
    )
    conditions = endpoint.get("conditions") or {}
    for name in ("ready", "serving", "terminating"):
        if conditions.get(name) is not None:
            labels[f"{PREFIX}{stem}_conditions_{name}"] = "true" if conditions[name] else "false"
    for key, value in (endpoint.get("deprecatedTopology") or {}).items():
        labels[f"{PREFIX}{stem}_topology_{sanitized(key)}"] = value
        labels[f"{PREFIX}{stem}_topology_present_{sanitized(key)}"] = "true"
    return Endpoint(tuple(endpoint.get("addresses") or ()), labels, node_name, target)
