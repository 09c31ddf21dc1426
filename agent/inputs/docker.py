"""The logs of containers by a Docker daemon's API: each container that discovery finds is followed by a task.

Source: Docker Engine API, ContainerInspect and ContainerLogs; promtail, clients/pkg/promtail/targets/docker.
"""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import Final
from urllib.parse import urlsplit

import aiohttp

from agent.config.docker import DockerSdConfig
from agent.inputs.docker_container import CONTAINER_ID, Container, Daemon
from agent.logs.input import Following, InputTools, Source
from agent.logs.parts import Parts
from pipeline.http_client import HttpAccess

logger = logging.getLogger(__name__)

CONNECT_S: Final = 10.0


class DockerLogs:
    """A `Following`: the containers of one daemon."""

    def __init__(self, config: DockerSdConfig, tools: InputTools) -> None:
        self._config = config
        self._tools = tools
        self._wanted: dict[str, Source] = {}
        self._changed = asyncio.Event()
        self._containers: dict[str, tuple[Container, asyncio.Task[None]]] = {}

    def follow(self, sources: Sequence[Source], /) -> None:
        """Read these containers. One that is in several networks is found several times, and read once."""
        found: dict[str, Source] = {}
        for source in sources:
            found.setdefault(source.found.get(CONTAINER_ID, ""), source)
        found.pop("", None)
        self._wanted = found
        self._changed.set()

    def trouble(self) -> str | None:
        """Return why one of the containers cannot be read, or None."""
        return next((said for one, _ in self._containers.values() if (said := one.trouble()) is not None), None)

    def parts(self) -> Parts:
        """Return what gives each container as it is now."""
        now = [container.part() for container, _ in self._containers.values()]
        return lambda: now

    async def run(self) -> None:
        """Read until cancelled."""
        parts = urlsplit(self._config.host)
        is_unix = parts.scheme == "unix"
        # Each container that is followed holds a connection.
        connector = aiohttp.UnixConnector(parts.path, limit=0) if is_unix else aiohttp.TCPConnector(limit=0)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S)
        scheme = "http" if parts.scheme == "tcp" else parts.scheme
        base = "http://docker" if is_unix else f"{scheme}://{parts.netloc}{parts.path.rstrip('/')}"
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            daemon = Daemon(session, HttpAccess(self._config, asyncio.get_running_loop().time), base)
            try:
                while True:
                    await self._changed.wait()
                    self._changed.clear()
                    self._sync(daemon)
            finally:
                await self._stop()

    def _sync(self, daemon: Daemon) -> None:
        for identity, (container, task) in list(self._containers.items()):
            container.set_wanted(self._wanted.get(identity))
            if task.done():
                del self._containers[identity]
                if not task.cancelled() and (error := task.exception()) is not None:
                    raise error
        for identity, source in self._wanted.items():
            if identity not in self._containers:
                container = Container(identity, source, self._tools, daemon)
                task = asyncio.create_task(container.run(), name=f"docker: {identity[:12]}")
                task.add_done_callback(lambda _: self._changed.set())
                self._containers[identity] = (container, task)

    async def _stop(self) -> None:
        tasks = [task for _, task in self._containers.values()]
        for task in tasks:
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)


def docker_input(config: DockerSdConfig, tools: InputTools) -> Following:
    """Return what reads the containers of the daemon that the section names."""
    return DockerLogs(config, tools)
