"""A cluster's events, read by one agent of all.

Position is the resource version up to which events are in the buffer: it grows with everything that happens to events,
and means the same to every agent. It is kept with the entries, as every position, and noted in the cluster for whoever
takes over. Lists (at the start, and after a gap in watching) say what is behind it, whoever read before.
"""

import asyncio
import logging
from collections.abc import Iterable, Iterator
from contextlib import aclosing
from typing import Final

import aiohttp

from agent.config.kubernetes_events import KubernetesEventsConfig
from agent.discovery.kubernetes import ApiServer, Changes, Failed, Kubeconfig, Selection, follow, in_cluster
from agent.discovery.kubernetes.resources import EVENTS
from agent.inputs.attempts import Attempts
from agent.inputs.elected import Elected, group_name
from agent.inputs.feed import Feed
from agent.inputs.kubernetes_event import KubernetesEvent, labels_of, line_of
from agent.inputs.shared_position import SharedPositions
from agent.logs.entry import Entry
from agent.logs.input import BY_RULES, Input, InputTools
from agent.sharing.tenure import Tenure
from pipeline.errors import PipelineError, TransientError

logger = logging.getLogger(__name__)

NOTE_S: Final = 5.0
TOGETHER: Final = 500
ALL: Final = "_all"


class KubernetesEvents:
    """An `Input`: the events of a cluster, or of some of its namespaces."""

    def __init__(self, config: KubernetesEventsConfig, tools: InputTools) -> None:
        self._config = config
        self._tools = tools
        self._attempts = Attempts(tools, "kubernetes_events")
        self._feeds = {name or ALL: Feed(tools, "events", name or ALL) for name in config.namespaces or ("",)}
        self._positions = {name: int(feed.position or b"0") for name, feed in self._feeds.items()}
        self._shared: SharedPositions | None = None

    def trouble(self) -> str | None:
        """Return None while it reads, or another agent may."""
        return self._attempts.trouble

    async def run(self) -> None:
        """Read until cancelled, as long as it is this agent's turn."""
        async with asyncio.TaskGroup() as tasks:
            for feed in self._feeds.values():
                tasks.create_task(feed.run(), name="events: what is held back")
            await self._attempts.run(self._take_part)

    async def _take_part(self) -> None:
        config = self._config
        find = Kubeconfig(config.kubeconfig_file) if config.kubeconfig_file else in_cluster
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            server = ApiServer(find, session)
            if not config.elected:
                await self._read(server, None)
                return
            namespace = config.lease_namespace or server.cluster.namespace
            group = group_name("events", self._tools.job)
            self._shared = SharedPositions(server, namespace, group)

            async def work(turn: Tenure) -> None:
                await self._read(server, turn)

            elected = Elected(group, server, namespace, config.lease_duration, work)
            self._attempts.works()
            await elected.run()

    async def _read(self, server: ApiServer, turn: Tenure | None) -> None:
        if self._shared is not None:
            for name, position in (await self._shared.read()).items():
                self._positions[name] = max(position, self._positions.get(name, 0))
        try:
            async with asyncio.TaskGroup() as tasks:
                for name in self._feeds:
                    tasks.create_task(self._follow(server, name, turn), name=f"events: {name}")
                if self._shared is not None:
                    tasks.create_task(self._note(self._shared), name="events: notes")
        except ExceptionGroup as group:
            known, unknown = group.split(PipelineError)
            if known is None or unknown is not None:
                raise
            raise TransientError(str(known.exceptions[0])) from group

    async def _follow(self, server: ApiServer, name: str, turn: Tenure | None) -> None:
        selection = Selection(EVENTS, "" if name == ALL else name)
        async with aclosing(follow(server, selection, _same, KubernetesEvent)) as happening:
            async for happened in happening:
                if isinstance(happened, Failed):
                    self._attempts.failed(happened.error)
                    continue
                self._attempts.works()
                if turn is not None and not turn.may_keep():
                    return  # Another agent reads by now; the election will end this, too.
                await self._take(name, happened)

    async def _take(self, name: str, changes: Changes[KubernetesEvent]) -> None:
        events = [event for event in changes.objects.values() if event is not None]
        newest = max((event.version for event in events), default=0)
        if changes.whole and not changes.unread and newest < self._positions[name]:
            # Nothing later is known: either those are gone, or the cluster was restored from a backup, where versions
            # begin anew. In both cases everything behind this is new.
            self._positions[name] = newest
        new = sorted((event for event in events if event.version > self._positions[name]), key=_version)
        for begin in range(0, len(new), TOGETHER):
            some, is_last = new[begin : begin + TOGETHER], begin + TOGETHER >= len(new)
            # Of one source what was put first is on disk first.
            await self._feeds[name].put(self._entries(some), str(some[-1].version).encode(), durable=is_last)
        if new:
            self._positions[name] = newest

    def _entries(self, events: Iterable[KubernetesEvent]) -> Iterator[Entry]:
        for event in events:
            found = {**labels_of(event), "job": self._tools.job, **self._config.labels}
            labels = self._tools.relabel(found)
            if labels is None:
                self._tools.drop(BY_RULES)
                continue
            yield Entry(dict(labels), event.time_ns, line_of(event, self._config.log_format))

    async def _note(self, shared: SharedPositions) -> None:
        """Write down how far this agent has come, now and then, and when its turn ends."""
        noted: dict[str, int] = {}
        try:
            while True:
                await asyncio.sleep(NOTE_S)
                if noted != self._positions:
                    noted = await self._write(shared)
        finally:
            if noted != self._positions:
                await self._write(shared)

    async def _write(self, shared: SharedPositions) -> dict[str, int]:
        positions = dict(self._positions)
        try:
            async with asyncio.timeout(NOTE_S):
                await shared.write(positions)
        except (PipelineError, TimeoutError) as error:
            logger.warning("events: how far they are read cannot be noted in the cluster: %s", error)
            return {}
        return positions


def _same(event: KubernetesEvent) -> KubernetesEvent:
    return event


def _version(event: KubernetesEvent) -> int:
    return event.version


def kubernetes_events_input(config: KubernetesEventsConfig, tools: InputTools) -> Input:
    """Return what reads the events that the section names."""
    return KubernetesEvents(config, tools)
