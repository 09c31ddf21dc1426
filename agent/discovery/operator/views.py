"""What the agent sees of each kind of custom resource: those selected by label, in the namespaces that are selected."""

import asyncio
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

from agent.config.operator import OperatorConfig
from agent.discovery.kubernetes.api import ApiServer
from agent.discovery.kubernetes.follow import Selection
from agent.discovery.kubernetes.resources import NAMESPACES
from agent.discovery.kubernetes.watches import Watch, Watches
from agent.discovery.operator.convert import KINDS, Kind, Parsed, RefusedError, parse
from agent.discovery.tools import Place, Tools
from pipeline.errors import PermanentError, PipelineError

Item = Parsed | RefusedError


@dataclass(frozen=True, slots=True)
class View:
    """One kind's resources; `namespaces` are those that a selector with parts selects."""

    kind: Kind
    resources: Watch[Item]
    namespaces: Watch[bool] | None

    @property
    def tried(self) -> bool:
        """Whether something is known by now, be it a failure."""
        return self.resources.tried and (self.namespaces is None or self.namespaces.tried)

    @property
    def listed(self) -> bool:
        """Whether everything that is selected was seen at least once."""
        return self.resources.listed and (self.namespaces is None or self.namespaces.listed)

    def selected(self) -> Iterator[tuple[str, Item]]:
        """Yield each resource by `namespace/name`, in that order."""
        for key, item in sorted(self.resources.objects.items(), key=lambda pair: pair[0]):
            if self.namespaces is None or key.partition("/")[0] in self.namespaces.objects:
                yield key, item


def own_namespace(settings: OperatorConfig, server: ApiServer) -> str:
    """Return the namespace that kinds without a namespace selector are looked for in; raises PipelineError."""
    if namespace := settings.namespace or server.cluster.namespace:
        return namespace
    kinds = [name for name, selector, within in settings.selectors() if selector is not None and within is None]
    if kinds:
        missing = ", ".join(f"{name}_namespace_selector" for name in kinds)
        raise PermanentError(f"the agent's own namespace is not known: set operator.namespace, or {missing}")
    return ""


async def open_views(
    stack: AsyncExitStack,
    settings: OperatorConfig,
    namespace: str,
    server: ApiServer,
    tools: Tools,
    wake: asyncio.Event,
) -> list[View]:
    """Begin to watch every kind that is selected, until the stack is closed; each change sets `wake`."""
    watches = Watches.of(tools)

    async def watch(selection: Selection, keep: Callable[[Mapping[str, Any]], Any]) -> Watch[Any]:
        heard = partial(_heard, selection, tools, wake)
        return await stack.enter_async_context(watches.watch(server, selection, keep, heard))

    views = []
    kinds = {kind.setting: kind for kind in KINDS}
    for name, selector, within in settings.selectors():
        if selector is None:
            continue
        kind = kinds[name]
        selection = Selection(kind.resource, namespace if within is None else "", selector.text)
        resources = await watch(selection, partial(_read, kind))
        narrowed = within.text if within is not None else ""
        namespaces = await watch(Selection(NAMESPACES, label_selector=narrowed), _is_there) if narrowed else None
        views.append(View(kind, resources, namespaces))
    return views


def _heard(
    selection: Selection, tools: Tools, wake: asyncio.Event, keys: Collection[str], failure: PipelineError | None
) -> None:
    place, what = Place("operator", selection.resource.plural, 0), str(selection)
    if failure is None:
        tools.succeeded(place, what)
    else:
        tools.failed(place, what, failure)
    wake.set()


def _read(kind: Kind, resource: Mapping[str, Any]) -> Item:
    try:
        return parse(kind, resource)
    except RefusedError as error:
        return error


def _is_there(namespace: Mapping[str, Any]) -> bool:
    return True  # Its name is all that is needed of a namespace, and that is its key.
