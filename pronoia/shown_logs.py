"""What the console shows of the logs that an agent reads."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agent.service import Agent
from agent.targets_page import Wanted
from console.sources import TargetsWanted
from pipeline.errors import PermanentError


@dataclass(frozen=True, slots=True)
class ShownLogs:
    """Answers what `console.sources.Sources` asks of logs; nothing where none are read."""

    agent: Agent

    async def page(self, wanted: TargetsWanted) -> dict[str, Any]:
        """Return the counts by job, and the first files, containers and inputs of those wanted."""
        if (logs := self.agent.logs) is None:
            return {"jobs": {}, "matching": 0, "rows": [], "trouble": None}
        return await logs.page(Wanted(wanted.job, wanted.states, wanted.words, wanted.limit))

    async def explain(self, job: str, labels: Mapping[str, str]) -> dict[str, Any]:
        """Return what a job makes of discovered labels; raises PermanentError if there is no such job."""
        known = self.agent.logs.jobs.get(job) if self.agent.logs is not None else None
        if known is None:
            raise PermanentError(f'no job of logs is named "{job}"')
        # Only who reads logs pays for what that takes.
        from agent.logs.api import describe_way

        return describe_way(known, labels)
