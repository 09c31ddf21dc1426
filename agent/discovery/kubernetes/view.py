"""What sections see of a cluster: the groups that its objects become, and which of them a change concerns."""

import asyncio
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from functools import partial
from typing import Any, Final

from agent.config.kubernetes import AttachMetadata, KubernetesSdConfig
from agent.discovery.groups import TargetGroup
from agent.discovery.kubernetes import objects, resources
from agent.discovery.kubernetes.api import ApiServer
from agent.discovery.kubernetes.follow import Selection
from agent.discovery.kubernetes.labels import Labels
from agent.discovery.kubernetes.needs import KEPT, ROLES, Build, needed
from agent.discovery.kubernetes.resources import Resource
from agent.discovery.kubernetes.watches import Watch, Watches
from agent.discovery.tools import Place, Tools
from pipeline.errors import PipelineError

TURN_S: Final = 0.01
"""For so long groups are made before other tasks have their turn: one group may have a target, or a thousand."""


class View:
    """One namespace's objects (or all namespaces'), as sections that mean the same see them.

    `groups` are made once for all of them, and `version` is another one after each change of a group.
    """

    def __init__(self, config: KubernetesSdConfig, namespace: str, tools: Tools) -> None:
        assert config.role is not None
        self.attach: AttachMetadata = config.attach_metadata
        self.groups: dict[str, TargetGroup] = {}
        self.version = 0
        self._config = config
        self._namespace = namespace
        self._tools = tools
        self._users: dict[asyncio.Event, Place] = {}
        self._turn = asyncio.Lock()
        self._build: Build = ROLES[config.role][0]
        self._needed = needed(config.role, config.attach_metadata)
        self._watches: dict[Resource, Watch[Any]] = {}
        self._dirty: dict[str, None] = {}
        self._looked: dict[tuple[Resource, str], set[str]] = {}
        self._looks: dict[str, list[tuple[Resource, str]]] = {}
        self._building = ""

    @contextmanager
    def used(self, at: Place, wake: asyncio.Event) -> Iterator["View"]:
        """Tell a discovery of failures, and wake it when there is something to refresh, until the block ends."""
        self._users[wake] = at
        for resource, watch in self._watches.items():
            self._tell(self._selection(resource), watch.failure, {wake: at})
        if self.tried:
            wake.set()
        try:
            yield self
        finally:
            del self._users[wake]

    @property
    def is_used(self) -> bool:
        """Whether any discovery uses it."""
        return bool(self._users)

    async def begin(self, stack: AsyncExitStack, watches: Watches, server: ApiServer) -> None:
        """Watch what is needed until the stack ends."""
        for resource in self._needed:
            kept, selection = KEPT[resource], self._selection(resource)
            listener = partial(self._happened, resource, selection)
            watch = await stack.enter_async_context(watches.watch(server, selection, kept.keep, listener, kept.shape))
            assert watch.task is not None
            watch.task.add_done_callback(self._ended)
            stack.callback(watch.task.remove_done_callback, self._ended)
            self._watches[resource] = watch
            if watch.tried:  # Another has watched it for a while.
                self._happened(resource, selection, watch.objects, watch.failure)

    def _selection(self, resource: Resource) -> Selection:
        role = KEPT[resource].role
        by = self._config.selector(role) if role else None
        namespace = self._namespace if resource.namespaced else ""
        return Selection(resource, namespace, by.label if by else "", by.field if by else "")

    @property
    def tried(self) -> bool:
        """Whether each watch has listed its objects, or failed to."""
        return all(watch.tried for watch in self._watches.values())

    def _ended(self, _: object) -> None:
        for wake in self._users:
            wake.set()

    def _tell(self, what: Selection, failure: PipelineError | None, users: Mapping[asyncio.Event, Place]) -> None:
        for at in users.values():
            if failure is None:
                self._tools.succeeded(at, str(what))
            else:
                self._tools.failed(at, str(what), failure)

    def _happened(
        self, resource: Resource, what: Selection, keys: Collection[str], failure: PipelineError | None
    ) -> None:
        self._tell(what, failure, self._users)
        if resource is self._needed[0]:
            self._dirty.update(dict.fromkeys(keys))
        else:
            for key in keys:
                self._dirty.update(dict.fromkeys(self._looked.get((resource, key), ())))
        for wake in self._users:
            wake.set()

    async def refresh(self) -> None:
        """Make the groups anew that have changed.

        As in Prometheus there are none before everything that they need was listed once: half-labelled targets would
        be scraped under wrong names.
        """
        for watch in self._watches.values():
            if watch.task is not None and watch.task.done():
                watch.task.result()
        if not all(watch.listed for watch in self._watches.values()):
            return
        async with self._turn:  # None is to take over what another discovery has half made.
            while self._dirty:
                await self._make_dirty()

    async def _make_dirty(self) -> None:
        keys, self._dirty = deque(self._dirty), {}
        clock = asyncio.get_running_loop().time
        turn_ends_s = clock() + TURN_S
        try:
            while keys:
                self.version += self._make(keys.popleft())
                if clock() > turn_ends_s:
                    await asyncio.sleep(0)
                    turn_ends_s = clock() + TURN_S
        finally:  # A discovery that ends meanwhile leaves the rest to the others.
            self._dirty.update(dict.fromkeys(keys))

    def _make(self, key: str) -> bool:
        for looked in self._looks.pop(key, ()):
            users = self._looked[looked]
            users.discard(key)
            if not users:
                del self._looked[looked]
        item = self._watches[self._needed[0]].objects.get(key)
        self._building = key
        group = None if item is None else self._build(key, item, self)
        before = self.groups.get(key)
        if group is None:
            self.groups.pop(key, None)
        elif group != before:
            self.groups[key] = group
        return group != before

    def _look(self, resource: Resource, key: str) -> Any:
        """Return an object beside the one that is being built, and note that a change of it concerns that one."""
        watch = self._watches.get(resource)
        if watch is None:
            return None
        users = self._looked.setdefault((resource, key), set())
        if self._building not in users:
            users.add(self._building)
            self._looks.setdefault(self._building, []).append((resource, key))
        return watch.objects.get(key)

    def node(self, name: str) -> objects.Node | None:
        """Return a node."""
        found: objects.Node | None = self._look(resources.NODES, name)
        return found

    def namespace(self, name: str) -> Labels | None:
        """Return what a namespace lends."""
        found: Labels | None = self._look(resources.NAMESPACES, name)
        return found

    def pod(self, namespace: str, name: str) -> objects.Pod | None:
        """Return a pod."""
        found: objects.Pod | None = self._look(resources.PODS, f"{namespace}/{name}")
        return found

    def service(self, namespace: str, name: str) -> objects.Service | None:
        """Return a service."""
        found: objects.Service | None = self._look(resources.SERVICES, f"{namespace}/{name}")
        return found

    def replica_set(self, namespace: str, name: str) -> objects.Reference | None:
        """Return who controls a ReplicaSet."""
        found: objects.Reference | None = self._look(resources.REPLICA_SETS, f"{namespace}/{name}")
        return found

    def job(self, namespace: str, name: str) -> objects.Reference | None:
        """Return who controls a Job."""
        found: objects.Reference | None = self._look(resources.JOBS, f"{namespace}/{name}")
        return found
