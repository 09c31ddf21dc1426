"""A namespace of one test in a real API server: objects, and an exporter that pods stand for."""

import base64
import itertools
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import yaml
from aiohttp import web

from agent.discovery.kubernetes.resources import Resource
from agent.discovery.operator.convert import KINDS
from tests.servers.kubernetes import ADMIN_TOKEN, Kubernetes, RefusedError

_RESOURCES = {kind.name: kind.resource for kind in KINDS} | {
    "ConfigMap": Resource("", "v1", "configmaps"),
    "Secret": Resource("", "v1", "secrets"),
    "Namespace": Resource("", "v1", "namespaces", namespaced=False),
}
_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class Cluster:
    """The API server, and the namespace `name` in it."""

    server: Kubernetes
    name: str

    @classmethod
    async def make(cls, server: Kubernetes) -> "Cluster":
        """Make a new namespace, which carries its own name as label `of`."""
        name = f"operator-{next(_numbers)}"
        await server.request("POST", "/api/v1/namespaces", {"metadata": {"name": name, "labels": {"of": name}}})
        return cls(server, name)

    def section(self, token: str = ADMIN_TOKEN, **settings: Any) -> dict[str, Any]:
        """Return an `operator` section that reaches the API server."""
        reach = {"api_server": self.server.url, "bearer_token": token, "namespace": self.name}
        return {**reach, "tls_config": {"ca_file": str(self.server.ca_file)}, **settings}

    def kubeconfig(self, token: str = ADMIN_TOKEN) -> dict[str, Any]:
        """Return a kubeconfig that reaches the API server, with the namespace as its own."""
        cluster = {"server": self.server.url, "certificate-authority": str(self.server.ca_file)}
        return {
            "current-context": "test",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": "test", "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test", "namespace": self.name}}],
        }

    async def put(self, text: str, namespace: str = "") -> None:
        """Create what the YAML says, or replace it."""
        item = yaml.safe_load(text)
        resource = _RESOURCES[item["kind"]]
        namespace = namespace or self.name
        version = f"{resource.group}/{resource.version}" if resource.group else resource.version
        item = {"apiVersion": version, **item, "metadata": {**item["metadata"], "namespace": namespace}}
        try:
            await self.server.request("POST", resource.path(namespace), item)
        except RefusedError as error:
            if error.status != 409:
                raise
            path = resource.path(namespace, item["metadata"]["name"])
            known = await self.server.request("GET", path)
            item["metadata"]["resourceVersion"] = known["metadata"]["resourceVersion"]
            await self.server.request("PUT", path, item)

    async def secret(self, name: str, data: Mapping[str, str]) -> None:
        """Create a Secret, or replace it."""
        encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
        await self.put(yaml.safe_dump({"kind": "Secret", "metadata": {"name": name}, "data": encoded}))

    async def delete(self, kind: str, name: str) -> None:
        """Delete an object."""
        await self.server.request("DELETE", _RESOURCES[kind].path(self.name, name))

    async def pod(self, name: str, port: int, **labels: str) -> None:
        """Create a pod that runs on a loopback address, with one port named `web`."""
        container = {"name": "app", "image": "app", "ports": [{"name": "web", "containerPort": port}]}
        await self.server.apply(
            {
                "kind": "Pod",
                "metadata": {"name": name, "namespace": self.name, "labels": labels},
                "spec": {"containers": [container]},
                "status": {"phase": "Running", "podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}]},
            }
        )

    async def service(self, name: str, pod: str, port: int, **labels: str) -> None:
        """Create a service with one pod behind it. Slices take no loopback address: the pod's has to be used."""
        metadata = {"name": name, "namespace": self.name, "labels": labels}
        ports = [{"name": "web", "port": port}]
        await self.server.apply({"kind": "Service", "metadata": metadata, "spec": {"ports": ports}})
        target = {"kind": "Pod", "namespace": self.name, "name": pod}
        await self.server.apply(
            {
                "kind": "EndpointSlice",
                "metadata": {**metadata, "labels": {**labels, "kubernetes.io/service-name": name}},
                "addressType": "IPv4",
                "ports": ports,
                "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": True}, "targetRef": target}],
            }
        )


@dataclass
class Exporter:
    """A page behind a password (none, where it is empty); counts who was let in."""

    password: str = ""
    port: int = 0
    served: int = 0
    refused: int = 0
    paths: set[str] = field(default_factory=set)

    async def page(self, request: web.Request) -> web.Response:
        """Serve one scrape."""
        wanted = "Basic " + base64.b64encode(f"me:{self.password}".encode()).decode()
        if self.password and request.headers.get("Authorization") != wanted:
            self.refused += 1
            return web.Response(status=401)
        self.served += 1
        self.paths.add(request.path)
        return web.Response(text="answer 42\n")


@asynccontextmanager
async def exporter(password: str = "") -> AsyncIterator[Exporter]:
    """Give a page that is served on a loopback port."""
    one = Exporter(password)
    app = web.Application()
    app.router.add_get("/{path:.*}", one.page)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        one.port = runner.addresses[0][1]
        yield one
    finally:
        await runner.cleanup()
