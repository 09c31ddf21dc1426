"""A small cluster for the cases: pods, services with Endpoints and slices, a node, an ingress."""

from typing import Any

from tests.servers.kubernetes import Kubernetes

_PODS: tuple[tuple[str, str, dict[str, str], tuple[tuple[str, int], ...], str], ...] = (
    ("shop", "cart-0", {"app": "cart", "version": "v2", "team": "x"}, (("http", 8080), ("admin", 9090)), "Running"),
    ("shop", "cart-1", {"app": "cart"}, (("http", 8080), ("admin", 9090)), "Succeeded"),
    ("other", "cart-2", {"app": "cart"}, (("http", 8080),), "Running"),
    ("batch", "sweep-x", {"app": "sweep", "team": "ops"}, (("metrics", 7000),), "Running"),
    ("batch", "sweep-y", {"app": "broom"}, (("metrics", 7000), ("other", 7001)), "Failed"),
)
_SERVICES: tuple[tuple[str, str, dict[str, str], tuple[str, ...]], ...] = (
    ("shop", "cart", {"app": "cart", "tier": "gold", "app.kubernetes.io/name": "cart-svc"}, ("cart-0", "cart-1")),
    ("other", "cart", {"app": "cart", "team": "x"}, ("cart-2",)),
    ("kube-system", "kubelet", {"app": "kubelet"}, ()),
)
_IP = {name: f"10.1.0.{number}" for number, (_, name, *_) in enumerate(_PODS, 1)}


async def build(server: Kubernetes) -> None:
    """Create everything."""
    node = {"addresses": [{"type": "InternalIP", "address": "10.9.0.1"}]}
    await server.apply({"kind": "Node", "metadata": {"name": "node-1", "labels": {"zone": "a"}}, "status": node})
    for namespace, name, labels, ports, phase in _PODS:
        container = {"name": "app", "image": "i", "ports": [{"name": n, "containerPort": p} for n, p in ports]}
        await server.apply(
            {
                "kind": "Pod",
                "metadata": {"namespace": namespace, "name": name, "labels": labels},
                "spec": {"nodeName": "node-1", "containers": [container]},
                "status": {"phase": phase, "podIP": _IP[name], "podIPs": [{"ip": _IP[name]}]},
            }
        )
    for namespace, name, labels, pods in _SERVICES:
        await _service(server, namespace, name, labels, pods)
    backend = {"service": {"name": "cart", "port": {"number": 80}}}
    path = {"path": "/cart", "pathType": "Prefix", "backend": backend}
    rule = {"host": "shop.example.org", "http": {"paths": [path]}}
    await server.apply(
        {
            "kind": "Ingress",
            "metadata": {"namespace": "shop", "name": "front", "labels": {"app": "front"}},
            "spec": {"tls": [{"hosts": ["shop.example.org"]}], "rules": [rule]},
        }
    )


async def _service(
    server: Kubernetes, namespace: str, name: str, labels: dict[str, str], pods: tuple[str, ...]
) -> None:
    metadata: dict[str, Any] = {"namespace": namespace, "name": name, "labels": labels}
    spec = {"ports": [{"name": "web", "port": 80}]}
    await server.apply({"kind": "Service", "metadata": metadata, "spec": spec})
    behind = [(_IP[pod], {"kind": "Pod", "namespace": namespace, "name": pod}) for pod in pods]
    behind = behind or [("10.9.0.1", {"kind": "Node", "name": "node-1"})]
    ports = [{"name": "web", "port": 8080}, {"name": "admin", "port": 9090}]
    addresses = [{"ip": ip, "targetRef": target, "nodeName": "node-1"} for ip, target in behind]
    subset = {"addresses": addresses, "ports": ports}
    await server.apply({"kind": "Endpoints", "metadata": metadata, "subsets": [subset]})
    endpoints = [
        {"addresses": [ip], "conditions": {"ready": True}, "targetRef": target, "nodeName": "node-1"}
        for ip, target in behind
    ]
    of_service = {**labels, "kubernetes.io/service-name": name}
    await server.apply(
        {
            "kind": "EndpointSlice",
            "metadata": {"namespace": namespace, "name": f"{name}-1", "labels": of_service},
            "addressType": "IPv4",
            "ports": ports,
            "endpoints": endpoints,
        }
    )
