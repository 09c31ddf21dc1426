"""The first groups of a discovery are those of all its namespaces."""

import asyncio

from agent.config.kubernetes import KubernetesSdConfig
from agent.discovery import TargetGroup, Tools
from agent.discovery.kubernetes.discovery import paced
from agent.discovery.kubernetes.view import View
from tests.agent.discovery.kubernetes.following import tools_for


class Scripted(View):
    """A view without watches: listed when told so, with one group then; may tell another while it has its turn."""

    def __init__(self, name: str, tools: Tools, wake: asyncio.Event, tells: "Scripted | None" = None) -> None:
        super().__init__(KubernetesSdConfig(role="pod"), name, tools)
        self.is_listed = False
        self.name = name
        self.wake = wake
        self.tells = tells

    @property
    def tried(self) -> bool:
        return self.is_listed

    async def refresh(self) -> None:
        if self.tells is not None and not self.is_listed:
            self.is_listed = self.tells.is_listed = True
            self.wake.set()
        if self.is_listed:
            self.groups = {self.name: TargetGroup(self.name, (), {})}
            self.version = 1


async def test_a_namespace_that_is_listed_during_anothers_turn_is_waited_for() -> None:
    wake = asyncio.Event()
    wake.set()
    async with tools_for() as tools:
        late = Scripted("late", tools, wake)
        views: list[View] = [late, Scripted("early", tools, wake, tells=late)]
        first = await anext(paced(views, wake, lambda: asyncio.sleep(0)))
    assert [group.source for group in first] == ["late", "early"]
