"""Which kinds of objects each role needs, and what of them."""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from agent.config.kubernetes import AttachMetadata, Role
from agent.discovery.groups import TargetGroup
from agent.discovery.kubernetes import keep, resources, roles, shapes
from agent.discovery.kubernetes.endpoints import endpoints_group
from agent.discovery.kubernetes.resources import Resource


class Kept(NamedTuple):
    """A kind of objects: under which role's selectors it is watched, what is read of it, and what of that is kept."""

    role: str
    shape: Any
    keep: Callable[[Any], Any]


KEPT: Final[dict[Resource, Kept]] = {
    resources.NODES: Kept("node", shapes.Node, keep.keep_node),
    resources.PODS: Kept("pod", shapes.Pod, keep.keep_pod),
    resources.SERVICES: Kept("service", shapes.Service, keep.keep_service),
    resources.ENDPOINTS: Kept("endpoints", shapes.Endpoints, keep.keep_endpoints),
    resources.ENDPOINT_SLICES: Kept("endpointslice", shapes.EndpointSlice, keep.keep_endpoint_slice),
    resources.INGRESSES: Kept("ingress", shapes.Ingress, keep.keep_ingress),
    resources.NAMESPACES: Kept("", shapes.Described, keep.keep_namespace),
    resources.REPLICA_SETS: Kept("", shapes.Described, keep.keep_controller),
    resources.JOBS: Kept("", shapes.Described, keep.keep_controller),
}

Build = Callable[[str, Any, roles.Around], TargetGroup | None]

ROLES: Final[dict[Role, tuple[Build, tuple[Resource, ...]]]] = {
    "node": (roles.node_group, (resources.NODES,)),
    "pod": (roles.pod_group, (resources.PODS,)),
    "service": (roles.service_group, (resources.SERVICES,)),
    "endpoints": (endpoints_group, (resources.ENDPOINTS, resources.SERVICES, resources.PODS)),
    "endpointslice": (endpoints_group, (resources.ENDPOINT_SLICES, resources.SERVICES, resources.PODS)),
    "ingress": (roles.ingress_group, (resources.INGRESSES,)),
}
"""Each role's function, and what it watches: first the objects that become groups."""


def needed(role: Role, attach: AttachMetadata) -> tuple[Resource, ...]:
    """Return what a role watches: also what an identity must be allowed to list and watch."""
    out = dict.fromkeys(ROLES[role][1])
    if role == "node":
        return tuple(out)
    with_pods = resources.PODS in out
    asked = (
        (resources.NODES, attach.node and with_pods),
        (resources.NAMESPACES, attach.namespace),
        (resources.REPLICA_SETS, attach.deployment and with_pods),
        (resources.JOBS, (attach.job or attach.cronjob) and with_pods),
    )
    return (*out, *(resource for resource, wanted in asked if wanted))
