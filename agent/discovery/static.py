"""`static_configs`: targets that the file itself names."""

from agent.config.lists import StaticConfig
from agent.discovery.groups import group_of
from agent.discovery.tools import Groups, Place, Tools


async def static_groups(config: StaticConfig, at: Place, tools: Tools) -> Groups:
    """Give the one group once, and then nothing new for ever."""
    yield [group_of(config, str(at), {})]
    while True:
        await tools.sleep(86_400.0)
