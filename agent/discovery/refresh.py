"""What most discoveries do alike: look, tell what was found where that is something else, wait, and look again."""

from collections.abc import Awaitable, Callable

from agent.discovery.groups import TargetGroup
from agent.discovery.tools import Groups, Place, Tools
from pipeline.errors import PipelineError


async def refreshed(
    find: Callable[[], Awaitable[list[TargetGroup]]], what: str, interval_s: float, at: Place, tools: Tools
) -> Groups:
    """Give what `find` finds each time that it is something else; a PipelineError of it leaves what was found before.

    `what` names where it looks, for log lines.
    """
    yielded: list[TargetGroup] | None = None
    while True:
        groups = yielded or []
        try:
            groups = await find()
            tools.succeeded(at, what)
        except PipelineError as error:
            tools.failed(at, what, error)
        if groups != yielded:
            yielded = groups
            yield groups
        await tools.sleep(interval_s)
