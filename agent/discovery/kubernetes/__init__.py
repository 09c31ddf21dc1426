"""A thin client of the Kubernetes API: requests, errors as types, and objects that are followed.

    server = ApiServer(in_cluster, session)                      # or Kubeconfig(path), or lambda: Cluster(url, http)
    lease = await server.request("GET", LEASES.path("monitoring", "shard-0"))
    async for happened in follow(server, Selection(PODS, field_selector="spec.nodeName=n1"), keep):
        match happened:
            case Changes(objects, whole): ...                    # by key; None: gone; whole: all that there are
            case Failed(error): ...                              # told, and tried again by itself

Discoveries share their watches through `watches.Watches`.
"""

from agent.discovery.kubernetes.api import ApiServer, Timing
from agent.discovery.kubernetes.cluster import Cluster, Find, Kubeconfig, in_cluster
from agent.discovery.kubernetes.errors import (
    ConflictError,
    ForbiddenError,
    GoneError,
    InvalidError,
    NotFoundError,
    UnauthorizedError,
    UnavailableError,
)
from agent.discovery.kubernetes.follow import Changes, Failed, Selection, follow
from agent.discovery.kubernetes.resources import Resource

__all__ = [
    "ApiServer",
    "Changes",
    "Cluster",
    "ConflictError",
    "Failed",
    "Find",
    "ForbiddenError",
    "GoneError",
    "InvalidError",
    "Kubeconfig",
    "NotFoundError",
    "Resource",
    "Selection",
    "Timing",
    "UnauthorizedError",
    "UnavailableError",
    "follow",
    "in_cluster",
]
