"""`kubernetes_sd_configs` at work: shared watches in, target groups out.

Source: Prometheus documentation, `<kubernetes_sd_config>`.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Final

from agent.config.kubernetes import KubernetesSdConfig
from agent.discovery.kubernetes.api import ApiServer
from agent.discovery.kubernetes.cluster import Cluster, Find, Kubeconfig
from agent.discovery.kubernetes.view import View
from agent.discovery.kubernetes.watches import Watches
from agent.discovery.tools import Groups, Place, Tools
from pipeline.errors import PermanentError, PipelineError

RETRY_S: Final = 30.0


async def kubernetes_groups(config: KubernetesSdConfig, at: Place, tools: Tools) -> Groups:
    """Give the groups of all objects of a role, each time that some changed."""
    watches = Watches.of(tools)
    server = server_of(config, watches)
    while True:
        try:
            namespaces = _namespaces(config, server)
            tools.succeeded(at, "namespaces")
            break
        except PipelineError as error:
            tools.failed(at, "namespaces", error)
            yield []
            await tools.sleep(RETRY_S)
    wake = asyncio.Event()
    async with AsyncExitStack() as stack:
        shared = Views.of(tools)
        views = [
            await stack.enter_async_context(shared.view(config, namespace, server, at, wake, tools))
            for namespace in namespaces
        ]
        async for groups in paced(views, wake, partial(tools.sleep, watches.timing.pace_s)):
            yield groups


async def paced(views: list[View], wake: asyncio.Event, pause: Callable[[], Awaitable[None]]) -> Groups:
    """Give the groups of all views, first when each was listed or has failed, then as they change, with pauses."""
    given: list[int] | None = None
    while True:
        await wake.wait()
        wake.clear()
        # Asked before: what is listed while the views take their turns is not among their groups yet.
        tried = all(view.tried for view in views)
        for view in views:
            await view.refresh()
        versions = [view.version for view in views]
        if (tried or given is not None) and versions != given:
            given = versions
            yield [group for view in views for group in view.groups.values()]
            await pause()


class Views:
    """The views of all discoveries with the same tools: sections that mean the same share one, and its groups."""

    def __init__(self) -> None:
        self._open: dict[object, tuple[View, AsyncExitStack]] = {}

    @classmethod
    def of(cls, tools: Tools) -> "Views":
        """Return those that all discoveries with these tools share."""
        made: Views = tools.shared.setdefault(cls, cls())
        return made

    @property
    def open_count(self) -> int:
        """How many there are."""
        return len(self._open)

    @asynccontextmanager
    async def view(
        self,
        config: KubernetesSdConfig,
        namespace: str,
        server: ApiServer,
        at: Place,
        wake: asyncio.Event,
        tools: Tools,
    ) -> AsyncIterator[View]:
        """Give the view of one namespace (of all, if empty) that the section means; the last to leave ends it."""
        key = server, namespace, config.role, config.selectors, config.attach_metadata
        if key not in self._open:
            view, stack = self._open[key] = View(config, namespace, tools), AsyncExitStack()
            await view.begin(stack, Watches.of(tools), server)
        view, stack = self._open[key]
        try:
            with view.used(at, wake):
                yield view
        finally:
            if not view.is_used and self._open.pop(key, None) is not None:
                await stack.aclose()


def server_of(config: KubernetesSdConfig, watches: Watches) -> ApiServer:
    """Return the API server that a section means, as the identity that it means: one for all that mean the same."""
    find: Find = watches.own_cluster
    if config.kubeconfig_file:
        find = Kubeconfig(config.kubeconfig_file)
    elif config.api_server:
        named = Cluster(config.api_server, config.http)
        find = partial(_same, named)
    return watches.server((config.kubeconfig_file, config.api_server, config.http), find)


def _same(cluster: Cluster) -> Cluster:
    return cluster


def _namespaces(config: KubernetesSdConfig, server: ApiServer) -> list[str]:
    """Return the namespaces to look at, the empty name for all; raises PipelineError."""
    names = list(dict.fromkeys(config.namespaces.names))
    if config.role == "node":
        return [""]
    if config.namespaces.own_namespace:
        own = server.cluster.namespace
        if not own:
            raise PermanentError("could not determine the pod's own namespace: the service account has none")
        names += [own] if own not in names else []
    return names or [""]
