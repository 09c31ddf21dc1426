"""Pods, and the nodes that they run on."""

from msgspec import Struct, field

from agent.discovery.kubernetes.shapes.lists import Metadata


class Condition(Struct, gc=False):
    """An entry of a status' `conditions`."""

    type: str
    status: str


class ContainerPort(Struct, gc=False):
    """A port of a container."""

    number: int = field(name="containerPort")
    name: str = ""
    protocol: str = ""


class Container(Struct, gc=False):
    """A container of a pod."""

    name: str
    image: str = ""
    ports: list[ContainerPort] | None = None


class ContainerStatus(Struct, gc=False):
    """What became of a container."""

    name: str
    id: str = field(name="containerID", default="")


class PodSpec(Struct, gc=False):
    """What a pod is to be."""

    node_name: str = field(name="nodeName", default="")
    containers: list[Container] | None = None
    init_containers: list[Container] | None = field(name="initContainers", default=None)


class PodStatus(Struct, gc=False):
    """What became of a pod."""

    phase: str = ""
    ip: str = field(name="podIP", default="")
    host_ip: str = field(name="hostIP", default="")
    conditions: list[Condition] | None = None
    containers: list[ContainerStatus] | None = field(name="containerStatuses", default=None)
    init_containers: list[ContainerStatus] | None = field(name="initContainerStatuses", default=None)


class Pod(Struct, gc=False):
    """A pod."""

    metadata: Metadata
    spec: PodSpec = field(default_factory=PodSpec)
    status: PodStatus = field(default_factory=PodStatus)


class NodeSpec(Struct, gc=False):
    """What a node is to be."""

    provider_id: str = field(name="providerID", default="")


class NodeAddress(Struct, gc=False):
    """One of a node's addresses."""

    type: str
    address: str


class KubeletEndpoint(Struct, gc=False):
    """Where kubelet listens."""

    port: int = field(name="Port", default=0)


class DaemonEndpoints(Struct, gc=False):
    """Where a node's daemons listen."""

    kubelet: KubeletEndpoint = field(name="kubeletEndpoint", default_factory=KubeletEndpoint)


class NodeStatus(Struct, gc=False):
    """What became of a node."""

    conditions: list[Condition] | None = None
    addresses: list[NodeAddress] | None = None
    daemons: DaemonEndpoints = field(name="daemonEndpoints", default_factory=DaemonEndpoints)


class Node(Struct, gc=False):
    """A node."""

    metadata: Metadata
    spec: NodeSpec = field(default_factory=NodeSpec)
    status: NodeStatus = field(default_factory=NodeStatus)
