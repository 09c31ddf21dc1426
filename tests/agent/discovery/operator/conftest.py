"""An API server that knows the operator's kinds: its own definitions, from its Go module."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest_asyncio

from agent.discovery.operator.convert import KINDS
from tests.agent.discovery.operator.cluster import Cluster
from tests.servers.kubernetes import Kubernetes, RefusedError
from tests.servers.operator import operator_definition


async def serve_kinds(server: Kubernetes) -> None:
    """Let an API server serve the operator's kinds."""
    for kind in KINDS:
        definition = await asyncio.to_thread(operator_definition, kind.resource.plural)
        try:
            await server.request("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition)
        except RefusedError as error:
            if error.status != 409:
                raise
    async with asyncio.timeout(60):
        for kind in KINDS:
            while True:
                try:
                    await server.request("GET", kind.resource.path())
                    break
                except (RefusedError, aiohttp.ContentTypeError):  # It is not served yet.
                    await asyncio.sleep(0.05)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def operator_kinds(kubernetes: Kubernetes) -> None:
    """Let the API server of all tests serve the operator's kinds."""
    await serve_kinds(kubernetes)


@pytest_asyncio.fixture(loop_scope="session")
async def cluster(kubernetes: Kubernetes, operator_kinds: None) -> AsyncIterator[Cluster]:
    """A namespace of the test's own, in which its objects are."""
    yield await Cluster.make(kubernetes)
