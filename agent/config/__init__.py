"""The agent's configuration: Prometheus' own file, unchanged, and what Pronoia adds to it."""

from agent.config.agent import AgentConfig, BufferConfig, GatewayClientConfig
from agent.config.destinations import require_destination, without_destination
from agent.config.lists import FileSdConfig, HttpSdConfig, StaticConfig
from agent.config.load import Loaded, build, included, load, read_agent_file
from agent.config.scrape import GlobalConfig, ScrapeConfig
from agent.config.secret_files import secret_files

__all__ = [
    "AgentConfig",
    "BufferConfig",
    "FileSdConfig",
    "GatewayClientConfig",
    "GlobalConfig",
    "HttpSdConfig",
    "Loaded",
    "ScrapeConfig",
    "StaticConfig",
    "build",
    "included",
    "load",
    "read_agent_file",
    "require_destination",
    "secret_files",
    "without_destination",
]
