"""Reads a cluster's events until it is killed, and prints each line: `python -m tests.agent.inputs.reads_events …`."""

import asyncio
import sys

from agent.config.kubernetes_events import KubernetesEventsConfig
from agent.inputs.kubernetes_events import KubernetesEvents
from agent.logs.chunk import Take
from tests.agent.inputs.parts import Desk, Memory


class Printed(Memory):
    """A buffer whose disk is standard output."""

    async def put(self, take: Take) -> None:
        known = len(self.lines)
        await super().put(take)
        for line in self.lines[known:]:
            print(line.line, flush=True)


if __name__ == "__main__":
    config = KubernetesEventsConfig.model_validate_json(sys.argv[1])
    asyncio.run(KubernetesEvents(config, Desk(Printed()).tools()).run())
