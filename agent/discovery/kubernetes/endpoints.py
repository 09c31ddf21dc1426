"""From Endpoints and EndpointSlices to target groups, as Prometheus makes them: a pure function.

Source: Prometheus documentation, `<kubernetes_sd_config>`; prometheus/discovery/kubernetes, endpoints*.go.
"""

from collections.abc import Iterable, Iterator

from agent.discovery.groups import ADDRESS, TargetGroup
from agent.discovery.kubernetes.labels import NAMESPACE, PREFIX, Labels, present
from agent.discovery.kubernetes.objects import Endpoint, Endpoints, Pod, Port
from agent.discovery.kubernetes.roles import Around, container_labels, joined, lent_by_namespace, pod_labels


def endpoints_group(key: str, endpoints: Endpoints, around: Around) -> TargetGroup:
    """Return the targets of an Endpoints object or an EndpointSlice, and those of its pods' other ports."""
    stem = "endpointslice" if endpoints.address_type else "endpoints"
    service = around.service(endpoints.namespace, endpoints.service) if endpoints.service else None
    labels = {NAMESPACE: endpoints.namespace, **(service.labels if service else {}), **endpoints.labels}
    labels.update(lent_by_namespace(endpoints.namespace, around))
    source = f"{stem}/{key}"
    if endpoints.address_type and service and service.families and service.families[0] != endpoints.address_type:
        return TargetGroup(source, (), labels)  # The same pods as in the primary family's slice.
    targets: list[Labels] = []
    seen: dict[tuple[str, str], tuple[Pod, set[int | None]]] = {}
    for subset in endpoints.subsets:
        for endpoint, port in _pairs(subset.endpoints, subset.ports, by_port=not endpoints.address_type):
            pod = _pod_of(endpoint, around)
            base = {**endpoint.labels, **_endpoint_port_labels(port, stem), **_lent_by_node(endpoint, stem, around)}
            if pod is not None:
                base.update(_lent_by_pod(pod, around))
                base.update(_matching_port(pod, port, stem))
                seen.setdefault((pod.namespace, pod.labels[f"{PREFIX}pod_name"]), (pod, set()))[1].add(port.number)
            targets += ({ADDRESS: joined(address, port.number), **base} for address in endpoint.addresses)
    for pod, ports in seen.values():
        targets += _other_ports(pod, ports, around)
    return TargetGroup(source, tuple(targets), labels)


def _pairs(endpoints: Iterable[Endpoint], ports: Iterable[Port], *, by_port: bool) -> Iterator[tuple[Endpoint, Port]]:
    if by_port:
        return ((endpoint, port) for port in ports for endpoint in endpoints)
    return ((endpoint, port) for endpoint in endpoints for port in ports)


def _pod_of(endpoint: Endpoint, around: Around) -> Pod | None:
    target = endpoint.target
    return around.pod(target.namespace, target.name) if target and target.kind == "Pod" else None


def _lent_by_pod(pod: Pod, around: Around) -> Labels:
    # The namespace is the group's: its endpoints'.
    return {name: value for name, value in pod_labels(pod, around).items() if name != NAMESPACE}


def _lent_by_node(endpoint: Endpoint, stem: str, around: Around) -> Labels:
    if not around.attach.node:
        return {}
    named = endpoint.target.name if endpoint.target and endpoint.target.kind == "Node" else ""
    # Endpoints go by the node's name first, slices by what the target is.
    name = (endpoint.node_name or named) if stem == "endpoints" else (named or endpoint.node_name)
    node = around.node(name) if name else None
    return node.meta if node else {}


def _endpoint_port_labels(port: Port, stem: str) -> Labels:
    if stem == "endpoints":
        return present((("endpoint_port_name", port.name), ("endpoint_port_protocol", port.protocol)))
    given = (
        (f"{stem}_port_name", port.name),
        (f"{stem}_port_protocol", port.protocol),
        (f"{stem}_port", str(port.number) if port.number is not None else None),
        (f"{stem}_port_app_protocol", port.app_protocol),
    )
    return present(given)


def _matching_port(pod: Pod, port: Port, stem: str) -> Labels:
    """Return the labels of the container that has an endpoint's port; the last one's where several have."""
    found: Labels = {}
    for container in pod.containers:
        for own in container.ports:
            if port.number is not None and own.number == port.number:
                protocol = port.protocol if stem == "endpoints" else own.protocol
                found = container_labels(container, own, protocol)
                break
    return found


def _other_ports(pod: Pod, taken: set[int | None], around: Around) -> Iterator[Labels]:
    """Yield targets for a pod's ports that its service has not."""
    for container in pod.containers if pod.ip else ():
        for port in container.ports:
            if port.number not in taken:
                labels = container_labels(container, port, port.protocol)
                yield {ADDRESS: joined(pod.ip, port.number or 0), **labels, **_lent_by_pod(pod, around)}
