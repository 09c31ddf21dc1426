"""Watches that are shared: however many jobs look at the same objects, the API server is asked once."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any, Final, Generic, TypeVar

import aiohttp

from agent.discovery.kubernetes.api import TIMING, ApiServer, Timing
from agent.discovery.kubernetes.cluster import Find, in_cluster
from agent.discovery.kubernetes.follow import Failed, Selection, follow, merged
from agent.discovery.tools import Tools
from pipeline.errors import PipelineError

T = TypeVar("T")

TURN_OBJECTS: Final = 5_000
"""So many objects are taken in before other tasks have their turn."""

Listener = Callable[[Collection[str], PipelineError | None], None]
"""Called with the keys of objects that came, changed or went, and the failure if the last try was one; to be quick."""


class Watch(Generic[T]):
    """What is known of a selection of objects. `listed`: a list was complete at least once. `tried`: or failed."""

    def __init__(self, selection: Selection) -> None:
        self.selection: Final = selection
        self.objects: dict[str, T] = {}
        self.listed = False
        self.failure: PipelineError | None = None
        self.task: asyncio.Task[None] | None = None
        self.listeners: list[Listener] = []

    @property
    def tried(self) -> bool:
        """Whether something is known by now, be it a failure."""
        return self.listed or self.failure is not None

    async def run(self, server: ApiServer, keep: Callable[[Any], T], shape: Any) -> None:
        """Follow the objects until cancelled."""
        async with aclosing(follow(server, self.selection, keep, shape)) as stream:
            async for happened in stream:
                if isinstance(happened, Failed):
                    self.failure = happened.error
                    self._tell(())
                    continue
                differing: dict[str, T | None] = dict(merged(self.objects, happened))
                await self._take_in(differing)
                self.failure, self.listed = None, self.listed or happened.whole
                self._tell(differing)

    async def _take_in(self, differing: Mapping[str, T | None]) -> None:
        for number, (key, item) in enumerate(differing.items(), 1):
            if item is None:
                self.objects.pop(key, None)
            else:
                self.objects[key] = item
            if number % TURN_OBJECTS == 0:
                await asyncio.sleep(0)

    def _tell(self, keys: Collection[str]) -> None:
        for listener in self.listeners:
            listener(keys, self.failure)


class Watches:
    """All watches of one process. `Watches.of(tools)` are those that its discoveries share.

    `own_cluster` says where the API server of the cluster is that this process runs in.
    """

    def __init__(self, session: aiohttp.ClientSession, timing: Timing = TIMING, own_cluster: Find = in_cluster) -> None:
        self.timing = timing
        self.own_cluster = own_cluster
        self._session = session
        self._servers: list[tuple[object, ApiServer]] = []
        self._open: dict[object, Watch[Any]] = {}

    @classmethod
    def of(cls, tools: Tools) -> "Watches":
        """Return those that all discoveries with these tools share."""
        made: Watches = tools.shared.setdefault(cls, cls(tools.session))
        return made

    def server(self, source: object, find: Find) -> ApiServer:
        """Return the API server of an equal source, one that `find` finds where there is none."""
        for known, server in self._servers:
            if known == source:
                return server
        server = ApiServer(find, self._session, self.timing)
        self._servers.append((source, server))
        return server

    @asynccontextmanager
    async def watch(
        self,
        server: ApiServer,
        selection: Selection,
        keep: Callable[[Any], T],
        listener: Listener,
        shape: Any = Any,
    ) -> AsyncIterator[Watch[T]]:
        """Give the watch of these objects, and tell the listener of what happens from now on; else as `follow`.

        The last one to leave ends it.
        """
        key = server, selection, keep
        watch: Watch[T] | None = self._open.get(key)
        if watch is None:
            watch = self._open[key] = Watch(selection)
            watch.task = asyncio.create_task(watch.run(server, keep, shape), name=f"watch {selection}")
        watch.listeners.append(listener)
        try:
            yield watch
        finally:
            watch.listeners.remove(listener)
            if not watch.listeners:
                del self._open[key]
                self._servers = [(source, one) for source, one in self._servers if one is not server or self._uses(one)]
                assert watch.task is not None
                watch.task.cancel()
                await asyncio.gather(watch.task, return_exceptions=True)

    def _uses(self, server: ApiServer) -> bool:
        return any(isinstance(key, tuple) and key[0] is server for key in self._open)
