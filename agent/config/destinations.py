"""Whether a configuration says where everything goes that it has read."""

from agent.config.agent import AgentConfig
from pipeline.config import ConfigError, Mistake


def require_destination(config: AgentConfig, file: str) -> None:
    """Refuse a configuration that sends nowhere, where an agent is to run by itself; raises ConfigError."""
    if reasons := without_destination(config):
        raise ConfigError([Mistake(file, 1, "", reason) for reason in reasons])


def without_destination(config: AgentConfig) -> list[str]:
    """Return which signals go nowhere, each in a sentence."""
    if config.gateway is not None:
        return []
    reads = config.logs is not None and config.logs.reads
    scrapes = bool(config.scrape_configs or config.scrape_config_files) or config.operator is not None
    reasons = []
    if not config.remote_write and (scrapes or not reads):
        reasons.append("names no destination: an agent needs gateway or remote_write")
    if config.logs is not None and reads and not config.logs.all_clients:
        reasons.append("names no destination for logs: they need gateway or clients (a Loki)")
    return reasons
