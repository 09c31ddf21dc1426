"""`docker_sd_configs`. Source: Prometheus documentation, `<docker_sd_config>`."""

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from agent.config.sd import Filter, Interval, Port
from pipeline.http_config import HttpClientConfig

SCHEMES = ("unix", "tcp", "http", "https")


def _daemon(host: str) -> str:
    if not host:
        raise ValueError("host missing")
    parts = urlsplit(host)
    if parts.scheme not in SCHEMES:
        raise ValueError(f'"{host}" is not supported: a daemon is reached by {", ".join(SCHEMES)}')
    if not (parts.path if parts.scheme == "unix" else parts.hostname):
        raise ValueError(f'"{host}" names no daemon: write it like unix:///var/run/docker.sock')
    return host


class DockerSdConfig(HttpClientConfig):
    """One of `docker_sd_configs`: the containers of one Docker daemon."""

    host: Annotated[str, AfterValidator(_daemon), Field(default="", validate_default=True)]
    """Where the daemon is: `unix:///var/run/docker.sock`, or an address as `tcp://`, `http://` or `https://`."""
    port: Port = 80
    """The port of containers that expose none by TCP."""
    host_networking_host: str = "localhost"
    """The address of containers in the host's network."""
    match_first_network: bool = True
    """Of a container in several networks, take the first by name only."""
    filters: tuple[Filter, ...] = ()
    """The daemon's own filters of containers."""
    refresh_interval: Interval = 60.0
    """How often the daemon is asked, and how long an answer may take."""
