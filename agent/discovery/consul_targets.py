"""What Consul says of a service's instances, and the targets that they are. Source: prometheus, discovery/consul."""

from collections.abc import Iterable, Mapping
from typing import Final

from pydantic import Field

from agent.discovery.ask import Shape
from agent.discovery.groups import ADDRESS, TargetGroup
from agent.discovery.labels import host_port, label_part, separated

_META: Final = "__meta_consul_"
_STATUS: Final = ("critical", "warning", "passing")
"""A check's states, worst first."""


class Node(Shape):
    """The node that an instance is registered with."""

    node: str = ""
    address: str = ""
    meta: dict[str, str] | None = None
    tagged_addresses: dict[str, str] | None = None


class Service(Shape):
    """One instance of a service."""

    id: str = Field("", alias="ID")
    address: str = ""
    port: int = 0
    tags: list[str] | None = None
    meta: dict[str, str] | None = None
    namespace: str = ""
    partition: str = ""


class Check(Shape):
    """One check of an instance or its node."""

    check_id: str = Field("", alias="CheckID")
    status: str = ""


class Instance(Shape):
    """An instance with its node and its checks."""

    node: Node
    service: Service
    checks: list[Check] | None = None


def group_of_instances(name: str, datacenter: str, separator: str, instances: Iterable[Instance]) -> TargetGroup:
    """Return a service's targets."""
    targets = tuple(_target(instance, separator) for instance in instances)
    return TargetGroup(name, targets, {f"{_META}service": name, f"{_META}dc": datacenter})


def health_of(checks: Iterable[Check]) -> str:
    """Return the worst of all checks; `maintenance` is worse than any, and a state nobody knows is none."""
    found = set()
    for check in checks:
        if check.check_id == "_node_maintenance" or check.check_id.startswith("_service_maintenance:"):
            found.add("maintenance")
        elif check.status in _STATUS:
            found.add(check.status)
        else:
            return ""
    return next((status for status in ("maintenance", *_STATUS) if status in found), "passing")


def _target(instance: Instance, separator: str) -> Mapping[str, str]:
    node, service = instance.node, instance.service
    labels = {
        "address": node.address,
        "node": node.node,
        "namespace": service.namespace,
        "partition": service.partition,
        "tags": separated(service.tags or [], separator),
        "service_address": service.address,
        "service_port": str(service.port),
        "service_id": service.id,
        "health": health_of(instance.checks or ()),
        **_named("metadata_", node.meta),
        **_named("service_metadata_", service.meta),
        **_named("tagged_address_", node.tagged_addresses),
    }
    # A service may be registered by a node that it does not run on.
    address = host_port(service.address or node.address, service.port)
    return {ADDRESS: address, **{_META + name: value for name, value in labels.items() if value}}


def _named(prefix: str, values: Mapping[str, str] | None) -> dict[str, str]:
    return {prefix + label_part(name): value for name, value in (values or {}).items()}
