"""`consul_sd_configs`: the instances of services in a Consul catalogue, followed by blocking queries.

Source: prometheus, discovery/consul/consul.go; Consul documentation, "Blocking Queries", Catalog, Health and Agent API.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from agent.config.consul import ConsulSdConfig
from agent.discovery.ask import open_session
from agent.discovery.consul_api import ConsulApi, unix_path
from agent.discovery.groups import TargetGroup
from agent.discovery.tools import Groups, Place, Tools
from pipeline.errors import PipelineError

RETRY_S: Final = 15.0
MAX_CONNECTIONS: Final = 160
"""Consul takes 200 of a client, unless told otherwise (`limits.http_max_conns_per_client`), and may have others."""
MAX_HELD: Final = 128
"""With more services than this their questions are not held back, but asked again every `refresh_interval`."""
CATALOG: Final = "catalog"

Ask = Callable[[int], Awaitable[int]]
"""Asks for what is newer than an index, keeps it, and returns its index."""


async def consul_groups(config: ConsulSdConfig, at: Place, tools: Tools) -> Groups:
    """Follow the services that are wanted, each with a query that Consul answers when something changes.

    As in Prometheus, but for many services, whose queries Consul would refuse (MAX_CONNECTIONS).
    """
    async with open_session(tools.session, unix_path(config.server), MAX_CONNECTIONS) as session:
        following = _Following(config, at, tools, ConsulApi(config, tools.clock, session))
        yielded: list[TargetGroup] | None = None
        try:
            following.start()
            while True:
                groups = await following.next_groups()
                if groups != yielded:
                    yielded = groups
                    yield groups
        finally:
            await following.stop()


class _Following:
    """What is known of each service, and a task for each that keeps it so."""

    def __init__(self, config: ConsulSdConfig, at: Place, tools: Tools, api: ConsulApi) -> None:
        self._config, self._at, self._tools, self._api = config, at, tools, api
        self._catalog: asyncio.Task[None] | None = None
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._groups: dict[str, TargetGroup] = {}
        self._tried: set[str] = set()
        self._changed = asyncio.Event()
        self._broken: BaseException | None = None

    def start(self) -> None:
        if self._config.follows_catalog:
            self._catalog = self._begin(self._ask_catalog, CATALOG)
        else:
            self._follow_services(set(self._config.services))

    async def next_groups(self) -> list[TargetGroup]:
        """Wait until something changed and everything was tried once; return all groups by the services' names."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            if self._broken is not None:
                raise self._broken
            expected = {*map(_told, self._tasks), *([CATALOG] if self._catalog else [])}
            if expected <= self._tried:
                return [self._groups[name] for name in sorted(self._groups)]

    async def stop(self) -> None:
        """End all queries."""
        tasks = [*self._tasks.values(), *([self._catalog] if self._catalog else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _follow(self, ask: Ask, what: str) -> None:
        """Ask for ever, not more often than `refresh_interval`; after a failure from the beginning, a while later."""
        index = 0
        while True:
            began_s = self._tools.clock()
            wait_s = RETRY_S
            try:
                found = await ask(index)
                # Consul's documentation: begin anew when the index goes backwards.
                index = found if found >= index else 0
                self._tools.succeeded(self._at, what)
                wait_s = max(self._config.refresh_interval - (self._tools.clock() - began_s), 0.0)
            except PipelineError as error:
                index = 0
                self._tools.failed(self._at, what, error)
            self._tried.add(what)
            self._changed.set()
            await self._tools.sleep(wait_s)

    async def _ask_catalog(self, index: int) -> int:
        index, services = await self._api.services(index)
        config = self._config
        self._follow_services(
            {
                name
                for name, tags in services.items()
                if (not config.services or name in config.services) and set(config.tags) <= set(tags or ())
            }
        )
        return index

    async def _ask_service(self, name: str, index: int) -> int:
        held = len(self._tasks) <= MAX_HELD
        index, self._groups[name] = await self._api.group(name, index if held else 0)
        return index

    def _follow_services(self, names: set[str]) -> None:
        for name in self._tasks.keys() - names:
            self._tasks.pop(name).cancel()
            self._groups.pop(name, None)
            self._tried.discard(_told(name))
            self._tools.succeeded(self._at, _told(name))
        for name in sorted(names - self._tasks.keys()):
            self._tasks[name] = self._begin(partial(self._ask_service, name), _told(name))

    def _begin(self, ask: Ask, what: str) -> asyncio.Task[None]:
        task = asyncio.create_task(self._follow(ask, what), name=f"discovery {self._at} {what}")
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Let a mistake of ours end the discovery, loudly: a task that is gone would leave its targets for ever."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self._broken = error
            self._changed.set()


def _told(name: str) -> str:
    return f"service {name}"
