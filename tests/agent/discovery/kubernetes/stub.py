"""A stand-in for an API server: holds what a real one would not admit, and answers as a real one only does when ill.

It lists in pages, watches from a resource version, and selects by equal labels and by `spec.nodeName`.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

from agent.discovery.kubernetes import Cluster, Resource
from pipeline.http_config import HttpClientConfig

Answer = Callable[[web.Request], Awaitable[web.StreamResponse | None]]


class StubApiServer:
    """Objects by resource and key, and all that ever happened to them."""

    def __init__(self) -> None:
        self.url = ""
        self.version = 1
        self.oldest = 0
        """Watches from before it are answered with 410."""
        self.requests: list[web.Request] = []
        self.answer: Answer | None = None
        """Asked first; what it returns is the answer, None leaves it to the stub."""
        self.open: set[asyncio.Task[Any]] = set()
        """Requests that are being answered; to cancel one cuts its connection."""
        self._objects: dict[tuple[str, str], dict[str, Any]] = {}
        self._happened: list[tuple[str, dict[str, Any]]] = []
        self._changed = asyncio.Condition()

    def cluster(self, namespace: str = "") -> Cluster:
        """Where it is."""
        return Cluster(self.url, HttpClientConfig(), namespace)

    async def put(self, resource: Resource, item: Mapping[str, Any]) -> None:
        """Create or replace an object."""
        key = str(resource), f"{item['metadata'].get('namespace', '')}/{item['metadata']['name']}"
        await self._happen("MODIFIED" if key in self._objects else "ADDED", key, item)
        self._objects[key] = self._happened[-1][1]

    async def remove(self, resource: Resource, name: str, namespace: str = "") -> None:
        """Delete an object."""
        key = str(resource), f"{namespace}/{name}"
        await self._happen("DELETED", key, self._objects.pop(key))

    async def _happen(self, kind: str, key: tuple[str, str], item: Mapping[str, Any]) -> None:
        self.version += 1
        metadata = {**item["metadata"], "resourceVersion": str(self.version)}
        async with self._changed:
            self._happened.append((kind, {**item, "metadata": metadata, "resource": key[0]}))
            self._changed.notify_all()

    def cut(self) -> None:
        """Forget what happened: who watches from before now must list again."""
        self.oldest = self.version

    def watches(self, plural: str) -> int:
        """How many watches of a resource were asked for."""
        return sum("watch" in request.query and request.path.endswith(plural) for request in self.requests)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer a list or a watch."""
        self.requests.append(request)
        task = asyncio.current_task()
        assert task is not None
        self.open.add(task)
        try:
            return await self._handle(request)
        finally:
            self.open.discard(task)
            async with self._changed:
                self._changed.notify_all()

    async def answered_all(self) -> None:
        """Wait until nobody asks or watches any more."""
        async with asyncio.timeout(10), self._changed:
            await self._changed.wait_for(lambda: not self.open)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if self.answer is not None and (answer := await self.answer(request)) is not None:
            return answer
        parts = request.path.strip("/").split("/")
        group = f".{parts[1]}" if parts[0] == "apis" else ""
        parts = parts[3:] if parts[0] == "apis" else parts[2:]
        namespace, plural = (parts[1], parts[2]) if len(parts) > 2 else ("", parts[0])
        resource = plural + group
        return await (self._watch if "watch" in request.query else self._list)(request, resource, namespace)

    async def _list(self, request: web.Request, resource: str, namespace: str) -> web.StreamResponse:
        found = [item for item in self._objects.values() if _selected(item, resource, namespace, request)]
        begin, limit = int(request.query.get("continue", 0)), int(request.query.get("limit", len(found) or 1))
        metadata = {"resourceVersion": str(self.version)}
        if begin + limit < len(found):
            metadata["continue"] = str(begin + limit)
        return web.json_response({"kind": "List", "metadata": metadata, "items": found[begin : begin + limit]})

    async def _watch(self, request: web.Request, resource: str, namespace: str) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        seen = int(request.query["resourceVersion"])
        if seen < self.oldest:
            await _send(response, "ERROR", {"kind": "Status", "code": 410, "message": "too old resource version"})
            return response
        while True:
            for kind, item in list(self._happened):
                if int(item["metadata"]["resourceVersion"]) > seen and _selected(item, resource, namespace, request):
                    await _send(response, kind, item)
            seen = self.version
            async with self._changed:
                await self._changed.wait_for(lambda seen=seen: self.version > seen)  # type: ignore[misc]


def _selected(item: Mapping[str, Any], resource: str, namespace: str, request: web.Request) -> bool:
    metadata = item["metadata"]
    labels, fields = metadata.get("labels") or {}, {"spec.nodeName": (item.get("spec") or {}).get("nodeName")}
    wanted = [(labels, request.query.get("labelSelector")), (fields, request.query.get("fieldSelector"))]
    return (
        item["resource"] == resource
        and namespace in ("", metadata.get("namespace"))
        and all(
            given.get(term.partition("=")[0]) == term.partition("=")[2]
            for given, selector in wanted
            for term in (selector or "").split(",")
            if term
        )
    )


async def _send(response: web.StreamResponse, kind: str, item: Mapping[str, Any]) -> None:
    await response.write(json.dumps({"type": kind, "object": item}).encode() + b"\n")


@asynccontextmanager
async def stub_api_server() -> AsyncIterator[StubApiServer]:
    """Serve one on a free loopback port."""
    stub = StubApiServer()
    app = web.Application()
    app.router.add_get("/{path:.*}", stub.handle)
    async with TestServer(app, host="127.0.0.1") as server:
        stub.url = str(server.make_url("")).rstrip("/")
        yield stub
