"""The jobs of all resources that are selected, while resources, namespaces and Secrets change."""

import asyncio
import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from typing import Final

from agent.config.operator import OperatorConfig
from agent.config.scrape import GlobalConfig, ScrapeConfig
from agent.discovery.kubernetes.discovery import server_of
from agent.discovery.kubernetes.watches import Watches
from agent.discovery.operator.convert import Kind, Parsed, RefusedError, convert
from agent.discovery.operator.part import Values
from agent.discovery.operator.secrets import AGAIN_S, Secrets
from agent.discovery.operator.views import Item, View, open_views, own_namespace
from agent.discovery.tools import Place, Tools
from pipeline.errors import PipelineError, TransientError
from pipeline.telemetry import OperatorMetrics

logger = logging.getLogger(__name__)

SETTLE_S: Final = 0.25
RETRY_S: Final = 30.0

Jobs = tuple[ScrapeConfig, ...]


@dataclass(frozen=True, slots=True)
class Refused:
    """A resource that is selected and not used, and why."""

    kind: str
    key: str
    reason: str

    def described(self) -> dict[str, str]:
        """Return it as APIs and commands show it."""
        return {"kind": self.kind, "resource": self.key, "reason": self.reason}

    def __str__(self) -> str:
        return f"{self.kind} {self.key}: {self.reason}"


@dataclass(frozen=True, slots=True)
class _Made:
    """What came of a resource, and of what it was made."""

    item: Item
    values: Values
    jobs: Jobs
    reason: str = ""


class OperatorJobs:
    """The jobs of the resources that a section selects. Run `run` as a task.

    `changed` is called each time that `jobs` are others than before; `before` are those of a predecessor, which stay
    for as long as a kind could not be listed. Names of jobs that are `reserved` are the file's own.
    """

    def __init__(
        self,
        settings: OperatorConfig,
        given: GlobalConfig,
        tools: Tools,
        metrics: OperatorMetrics,
        changed: Callable[[], None] = lambda: None,
        *,
        before: Jobs = (),
        reserved: Collection[str] = (),
        secrets_s: float = AGAIN_S,
    ) -> None:
        self._settings = settings
        self._given = given
        self.tools = tools
        self._metrics = metrics
        self._changed = changed
        self._reserved = frozenset(reserved)
        self._secrets_s = secrets_s
        self._server = server_of(settings.access, Watches.of(tools))
        self._wake = asyncio.Event()
        self._made: dict[tuple[str, str], _Made] = {}
        self.jobs: Jobs = before
        self.refused: tuple[Refused, ...] = ()

    async def run(self) -> None:
        """Follow everything, until cancelled."""
        while (namespace := self._own_namespace()) is None:
            await self.tools.sleep(RETRY_S)
        async with AsyncExitStack() as stack:
            views, secrets = await self._open(stack, namespace)
            while True:
                await self._wait(secrets.due_in_s)
                if all(view.tried for view in views):
                    await self._update(views, secrets)

    async def find(self) -> None:
        """Try everything once: `jobs` and `refused` then say what came of it."""
        if (namespace := self._own_namespace()) is None:
            return
        async with AsyncExitStack() as stack:
            views, secrets = await self._open(stack, namespace)
            while not all(view.tried for view in views):
                await self._wake.wait()
                self._wake.clear()
            await self._update(views, secrets)

    def _own_namespace(self) -> str | None:
        """Return the agent's own namespace, or None after telling why it is not known."""
        place = Place("operator", "namespace", 0)
        try:
            namespace = own_namespace(self._settings, self._server)
        except PipelineError as error:
            self.tools.failed(place, "namespace", error)
            return None
        self.tools.succeeded(place, "namespace")
        return namespace

    async def _open(self, stack: AsyncExitStack, namespace: str) -> tuple[list[View], Secrets]:
        views = await open_views(stack, self._settings, namespace, self._server, self.tools, self._wake)
        return views, Secrets(self._server, self.tools.clock, self._secrets_s)

    async def _wait(self, seconds: float) -> None:
        """Wait for a change, but no longer than that; what comes close is taken together."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()
                await self.tools.sleep(SETTLE_S)
        self._wake.clear()

    async def _update(self, views: Sequence[View], secrets: Secrets) -> None:
        found = [(view.kind, key, item) for view in views if view.listed for key, item in view.selected()]
        needed = {
            (item.namespace, reference)
            for _, _, item in found
            if isinstance(item, Parsed)
            for _, reference in item.needs
        }
        await secrets.read(needed)
        # A thousand resources take longer than the loop may be held (ARCHITECTURE 11).
        self._made = await asyncio.to_thread(lambda: dict(self._make(found, secrets)))
        self._tell_refused(
            tuple(Refused(kind, key, made.reason) for (kind, key), made in self._made.items() if made.reason)
        )
        self._count(views)
        missing = tuple(f"{view.kind.prefix}/" for view in views if not view.listed)
        kept = [job for job in self.jobs if job.job_name.startswith(missing)]
        jobs = (*kept, *(job for made in self._made.values() for job in made.jobs))
        if jobs != self.jobs:
            self.jobs = jobs
            self._changed()

    def _make(
        self, found: Sequence[tuple[Kind, str, Item]], secrets: Secrets
    ) -> Iterator[tuple[tuple[str, str], _Made]]:
        """Yield what comes of each resource: what it was before, where nothing has changed."""
        for kind, key, item in found:
            place, known = (kind.name, key), self._made.get((kind.name, key))
            values: Values = {}
            if isinstance(item, Parsed):
                values = secrets.values(item.namespace, [reference for _, reference in item.needs])
            if known is None or known.item is not item or not _same(known.values, values):
                known = self._convert(f"{kind.prefix}/{key}", item, values)
            yield place, known

    def _convert(self, name: str, item: Item, values: Values) -> _Made:
        try:
            if isinstance(item, RefusedError):
                raise item
            jobs = convert(item, self._settings, self._given, values)
            if taken := sorted({job.job_name for job in jobs} & self._reserved):
                raise RefusedError(f'the configuration file has a job named "{taken[0]}" already')
        except RefusedError as error:
            # What a Secret holds is not known for want of an answer: what it held before may still be right.
            stays = isinstance(error.__cause__, TransientError)
            known = tuple(job for job in self.jobs if stays and f"{job.job_name}/".startswith(f"{name}/"))
            return _Made(item, values, known, str(error))
        return _Made(item, values, jobs)

    def _tell_refused(self, refused: tuple[Refused, ...]) -> None:
        for each in sorted(set(refused) - set(self.refused), key=str):
            extra = {"kind": each.kind, "resource": each.key, "reason": each.reason}
            logger.error("a custom resource is refused", extra=extra)
        self.refused = refused

    def _count(self, views: Sequence[View]) -> None:
        for view in views:
            of_kind = [made for (kind, _), made in self._made.items() if kind == view.kind.name]
            refused = sum(1 for made in of_kind if made.reason)
            self._metrics.resources.labels(view.kind.name, "used").set(len(of_kind) - refused)
            self._metrics.resources.labels(view.kind.name, "refused").set(refused)


def _same(one: Values, other: Values) -> bool:
    """Tell whether references hold the same; errors are compared by what they say."""
    return {key: str(value) for key, value in one.items()} == {key: str(value) for key, value in other.items()}
