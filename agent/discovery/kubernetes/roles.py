"""From kept objects to target groups, as Prometheus makes them: a pure function for each role.

Source: Prometheus documentation, `<kubernetes_sd_config>`; prometheus/discovery/kubernetes (node.go, pod.go, …).
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Final, Protocol

from agent.config.kubernetes import AttachMetadata
from agent.discovery.groups import ADDRESS, TargetGroup
from agent.discovery.kubernetes.labels import NAMESPACE, PREFIX, Labels, present, sanitized
from agent.discovery.kubernetes.objects import (
    Container,
    Ingress,
    Node,
    Pod,
    Port,
    Reference,
    Service,
)

_NODE_ADDRESSES: Final = ("InternalIP", "InternalDNS", "ExternalIP", "ExternalDNS", "LegacyHostIP", "Hostname")
"""Which of a node's addresses is its target's, best first."""


class Around(Protocol):
    """The objects around the one that a group is made of; what was not asked for in the configuration is not there."""

    attach: AttachMetadata

    def node(self, name: str) -> Node | None:
        """Return a node."""

    def namespace(self, name: str) -> Labels | None:
        """Return what a namespace lends."""

    def pod(self, namespace: str, name: str) -> Pod | None:
        """Return a pod."""

    def service(self, namespace: str, name: str) -> Service | None:
        """Return a service."""

    def replica_set(self, namespace: str, name: str) -> Reference | None:
        """Return who controls a ReplicaSet."""

    def job(self, namespace: str, name: str) -> Reference | None:
        """Return who controls a Job."""


def node_group(key: str, node: Node, _: Around) -> TargetGroup | None:
    """Return a node's kubelet as a target; None for a node without an address."""
    addresses: dict[str, str] = {}
    for kind, address in node.addresses:
        addresses.setdefault(kind, address)
    chosen = next((addresses[kind] for kind in _NODE_ADDRESSES if kind in addresses), None)
    if chosen is None:
        return None
    target = {ADDRESS: joined(chosen, node.kubelet_port), "instance": node.name}
    target.update((sanitized(f"{PREFIX}node_address_{kind}"), address) for kind, address in addresses.items())
    return TargetGroup(f"node/{key}", (target,), {**node.meta, **node.own})


def pod_group(key: str, pod: Pod, around: Around) -> TargetGroup | None:
    """Return a target for each port of each container, one for a container without ports; None without an address."""
    if not pod.ip:
        return None
    labels = pod_labels(pod, around)
    if around.attach.node:
        node = around.node(pod.node_name)
        if node is None:  # Its node is not among those that were selected.
            return None
        labels = {**labels, **node.meta}
    if around.attach.namespace:
        labels = {**labels, **lent_by_namespace(pod.namespace, around)}
    return TargetGroup(f"pod/{key}", tuple(_pod_targets(pod)), labels)


def _pod_targets(pod: Pod) -> Iterator[Labels]:
    for container in pod.containers:
        own = present([("pod_container_id", container.id)])
        if not container.ports:
            yield {ADDRESS: pod.ip, **container_labels(container), **own}
        for port in container.ports:
            yield {
                ADDRESS: joined(pod.ip, port.number or 0),
                **container_labels(container, port, port.protocol),
                **own,
            }


def pod_labels(pod: Pod, around: Around) -> Labels:
    """Return a pod's labels, with the names of what is behind its controller where those are asked for."""
    owner, attach = pod.controller, around.attach
    if owner is None or not (attach.deployment or attach.job or attach.cronjob):
        return pod.labels
    given: list[tuple[str, str | None]] = []
    if owner.kind == "ReplicaSet" and attach.deployment:
        behind = around.replica_set(pod.namespace, owner.name)
        given.append(("pod_deployment_name", behind.name if behind and behind.kind == "Deployment" else None))
    if owner.kind == "Job" and attach.job:
        given.append(("pod_job_name", owner.name))
    if owner.kind == "Job" and attach.cronjob:
        behind = around.job(pod.namespace, owner.name)
        given.append(("pod_cronjob_name", behind.name if behind and behind.kind == "CronJob" else None))
    return {**pod.labels, **present(given)}


def service_group(key: str, service: Service, around: Around) -> TargetGroup:
    """Return a target for each port of a service, by its name in the cluster's DNS."""
    targets = []
    for port in service.ports:
        number = str(port.number or 0)
        named = (
            ("service_port_name", port.name),
            ("service_port_number", number),
            ("service_port_protocol", port.protocol),
        )
        targets.append({ADDRESS: f"{service.host}:{number}", **present(named), **service.own})
    labels = {**service.labels, **lent_by_namespace(service.labels[NAMESPACE], around)}
    return TargetGroup(f"svc/{key}", tuple(targets), labels)


def ingress_group(key: str, ingress: Ingress, around: Around) -> TargetGroup:
    """Return a target for each path of each rule."""
    targets = []
    for host, paths in ingress.rules:
        scheme = "https" if any(_is_host(pattern, host) for pattern in ingress.tls_hosts) else "http"
        for path in paths:
            given = (("ingress_scheme", scheme), ("ingress_host", host), ("ingress_path", path))
            targets.append({ADDRESS: host, **present(given)})
    labels = {**ingress.labels, NAMESPACE: ingress.namespace, **lent_by_namespace(ingress.namespace, around)}
    return TargetGroup(f"ingress/{key}", tuple(targets), labels)


def lent_by_namespace(name: str, around: Around) -> Labels:
    """Return what a namespace lends to what is in it, where that is asked for."""
    return (around.namespace(name) or {}) if around.attach.namespace else {}


def container_labels(container: Container, port: Port | None = None, protocol: str = "") -> Labels:
    """Return a container's labels, and those of one of its ports."""
    labels = _of_container(container.name, container.image, container.is_init)
    return labels if port is None else {**labels, **_of_port(port, protocol)}


# Ten thousand pods have the same few containers and ports. Nobody changes what these return.
@lru_cache(maxsize=4096)
def _of_container(name: str, image: str, is_init: bool) -> Labels:
    given = (
        ("pod_container_name", name),
        ("pod_container_image", image),
        ("pod_container_init", "true" if is_init else "false"),
    )
    return present(given)


@lru_cache(maxsize=4096)
def _of_port(port: Port, protocol: str) -> Labels:
    given = (
        ("pod_container_port_name", port.name),
        ("pod_container_port_number", str(port.number or 0)),
        ("pod_container_port_protocol", protocol),
    )
    return present(given)


def joined(host: str, port: int | None) -> str:
    """Return `host:port`, an IPv6 address in brackets; the host alone where there is no port."""
    if port is None:
        return host
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _is_host(pattern: str, host: str) -> bool:
    """Tell whether a TLS host, which may begin with `*.`, names this one."""
    if pattern == host:
        return True
    first, *rest = pattern.split(".")
    return first == "*" and rest == host.split(".")[1:]
