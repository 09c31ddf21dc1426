"""What the console shows of an agent's targets. Thousands take longer than the loop may be held (ARCHITECTURE 11)."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agent.explain import explain, looking
from agent.explain_api import describe_explanation
from agent.service import Agent
from agent.targets_api import response
from agent.targets_page import Wanted, page
from console.sources import TargetsWanted
from pipeline.errors import PermanentError


@dataclass(frozen=True, slots=True)
class ShownTargets:
    """Answers what `console.sources.Sources` asks of targets; `host` is the name by which others reach this machine."""

    agent: Agent
    host: str

    async def targets(self, state: str, pool: str) -> dict[str, Any]:
        """Return the `data` of Prometheus' /api/v1/targets."""
        found, health_of = dict(self.agent.targets.by_job), self.agent.pool.health
        return await asyncio.to_thread(response, found, health_of, self.host, state=state, pool=pool)

    async def page(self, wanted: TargetsWanted) -> dict[str, Any]:
        """Return the counts by job and state, and the first targets of those wanted."""
        asked = Wanted(wanted.job, wanted.states, wanted.words, wanted.limit)
        found, health_of = dict(self.agent.targets.by_job), self.agent.pool.health
        return await asyncio.to_thread(page, found, health_of, self.host, asked)

    async def explain(self, job: str, labels: Mapping[str, str]) -> dict[str, Any]:
        """Return what a job makes of a target's discovered labels; raises PermanentError if there is no such job."""
        if (known := self.agent.targets.jobs.get(job)) is None:
            raise PermanentError(f'scrape pool "{job}" not found')
        alike = looking(dict(self.agent.targets.by_job))
        return describe_explanation(await asyncio.to_thread(explain, known, labels, alike))
