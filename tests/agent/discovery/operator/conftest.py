"""An API server that knows the operator's kinds: its own definitions, from its Go module."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
import yaml

from agent.discovery.operator.convert import KINDS
from tests.agent.discovery.operator.cluster import Cluster
from tests.servers.kubernetes import Kubernetes, RefusedError
from tests.servers.processes import MissingServerError, run_tool

MODULE = "github.com/prometheus-operator/prometheus-operator@v0.93.0"


def definitions() -> list[dict[str, object]]:
    """Return the CustomResourceDefinitions of our kinds; raises MissingServerError where there is no Go."""
    if shutil.which("go") is None:
        raise MissingServerError("the operator's definitions need Go (no `go` on the PATH)")
    folder = Path(json.loads(run_tool("go", "mod", "download", "-json", MODULE))["Dir"])
    names = [f"monitoring.coreos.com_{kind.resource.plural}.yaml" for kind in KINDS]
    return [yaml.safe_load((folder / "example/prometheus-operator-crd" / name).read_text()) for name in names]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def operator_kinds(kubernetes: Kubernetes) -> None:
    """Let the API server of all tests serve the operator's kinds."""
    for definition in await asyncio.to_thread(definitions):
        try:
            await kubernetes.request("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition)
        except RefusedError as error:
            if error.status != 409:
                raise
    async with asyncio.timeout(60):
        for kind in KINDS:
            while True:
                try:
                    await kubernetes.request("GET", kind.resource.path())
                    break
                except RefusedError:
                    await asyncio.sleep(0.05)


@pytest_asyncio.fixture(loop_scope="session")
async def cluster(kubernetes: Kubernetes, operator_kinds: None) -> AsyncIterator[Cluster]:
    """A namespace of the test's own, in which its objects are."""
    yield await Cluster.make(kubernetes)
