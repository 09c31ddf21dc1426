"""The agent's configuration, from its own file or from the `agent` section of one for `up`."""

import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from agent.config import Loaded, build, read_agent_file

EXPAND_ENV = click.option(
    "--expand-env", is_flag=True, help="Replace ${NAME} in the file by the environment's, as promtail's flag does."
)


def node_name(environment: Mapping[str, str]) -> str:
    """Return the name of the node that an agent runs on; HOSTNAME is what promtail's pods are given it by."""
    return environment.get("NODE_NAME") or environment.get("HOSTNAME") or socket.gethostname()


def kind_of(value: Any) -> str:
    """Tell whose file it is by its keys: agent, gateway, ingester, or up (a section for each of them)."""
    keys: dict[str, Any] = value if isinstance(value, dict) else {}
    names = ("agent", "gateway", "ingester", "store", "log_store", "console")
    sections = {name for name in names if isinstance(keys.get(name), dict)}
    # An agent's own file may have keys of two of these names: its own name, and the gateway's `url`.
    if sections - {"gateway"} or ("gateway" in sections and "url" not in keys["gateway"]):
        return "up"
    if "sinks" in keys:
        return "ingester"
    if "scrape_configs" not in keys and keys.keys() & {"listen", "clusters", "log"}:
        return "gateway"
    return "agent"


def load_agent(path: Path, environment: Mapping[str, str], *, expand_env: bool = False) -> Loaded:
    """Read what an agent would do with a file; raises ConfigError."""
    document = read_agent_file(path, environment, expand_env=expand_env)
    if kind_of(document.value) == "up":
        return build(document, environment, document.value.get("agent") or {}, ("agent",))
    return build(document, environment)
