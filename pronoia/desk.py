"""Where the commands that look into an ingester ask: the running one, or the log itself where none runs."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import click
from prometheus_client import CollectorRegistry

from ingester.config import IngesterConfig
from ingester.desk import Desk
from ingester.sinks import Sink, remote_write
from pipeline import config as configuration
from pipeline.config import ConfigError
from pipeline.errors import PermanentError, TransientError
from pipeline.log.config import open_log
from pipeline.telemetry import LogMetrics


@dataclass(slots=True)
class RemoteDesk:
    """The desk of a running ingester."""

    session: aiohttp.ClientSession
    url: str

    async def get(self, path: str, **query: str) -> dict[str, Any]:
        """Ask for something; raises PermanentError or TransientError as the desk did."""
        async with self.session.get(self.url + path, params=query) as response:
            return await _content(response)

    async def post(self, path: str, content: dict[str, Any]) -> dict[str, Any]:
        """Have something done."""
        async with self.session.post(self.url + path, json=content) as response:
            return await _content(response)

    async def listing(self, sink: str = "") -> dict[str, Any]:
        """See `Redrive.listing`."""
        return await self.get("/api/v1/dead-letters", sink=sink)

    async def show(self, number: int) -> dict[str, Any]:
        """See `Redrive.show`."""
        return await self.get(f"/api/v1/dead-letters/{number}")

    async def redrive(self, number: int) -> dict[str, Any]:
        """See `Redrive.redrive`."""
        return await self.post(f"/api/v1/dead-letters/{number}/redrive", {})

    async def replay(self, sink: str, from_ms: int, to_ms: int, cluster: str) -> dict[str, Any]:
        """See `Desk.replay`."""
        asked = {"sink": sink, "from_ms": from_ms, "to_ms": to_ms, "cluster": cluster}
        return await self.post("/api/v1/replay", asked)


@dataclass(slots=True)
class LocalDesk:
    """A desk of our own on the log."""

    desk: Desk

    async def listing(self, sink: str = "") -> dict[str, Any]:
        """See `Redrive.listing`."""
        return await self.desk.letters.listing(sink=sink)

    async def show(self, number: int) -> dict[str, Any]:
        """See `Redrive.show`."""
        return await self.desk.letters.show(number)

    async def redrive(self, number: int) -> dict[str, Any]:
        """See `Redrive.redrive`."""
        return await self.desk.letters.redrive(number)

    async def replay(self, sink: str, from_ms: int, to_ms: int, cluster: str) -> dict[str, Any]:
        """See `Desk.replay`."""
        return await self.desk.replay(sink, from_ms, to_ms, cluster)


AnyDesk = RemoteDesk | LocalDesk


def load(file: Path) -> IngesterConfig:
    """Read an ingester's configuration, or the `ingester:` section of a file for `pronoia up`; raises ConfigError."""
    document = configuration.read(file)
    if isinstance(document.value, dict) and isinstance(document.value.get("ingester"), dict):
        return configuration.validate(document, IngesterConfig, document.value["ingester"], ("ingester",))
    return configuration.validate(document, IngesterConfig)


@asynccontextmanager
async def desk_of(config: IngesterConfig) -> AsyncIterator[AnyDesk]:
    """Ask the ingester that runs at the configured admin address; without one open the log."""
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)))
        url = f"http://{config.admin.host}:{config.admin.port}"
        if await _answers(session, url):
            yield RemoteDesk(session, url)
            return
        log = open_log(config.log, LogMetrics(CollectorRegistry()))
        await log.start()
        stack.push_async_callback(log.close)
        sinks: dict[str, Sink] = {}
        for sink in config.sinks:
            if sink.remote_write is not None:
                sinks[sink.name] = remote_write.build(sink)
                await sinks[sink.name].start()
                stack.push_async_callback(sinks[sink.name].close)
        desk = Desk(config, log, sinks, time.time)
        await desk.start()
        yield LocalDesk(desk)


async def _answers(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with asyncio.timeout(3.0), session.get(url + "/api/v1/dead-letters?limit=0") as response:
            return response.status == 200 and response.content_type == "application/json"
    except (aiohttp.ClientError, OSError, TimeoutError):
        return False


async def _content(response: aiohttp.ClientResponse) -> dict[str, Any]:
    content: dict[str, Any] = await response.json(content_type=None)
    if response.status >= 500:
        raise TransientError(str(content.get("error", response.status)))
    if response.status >= 400:
        raise PermanentError(str(content.get("error", response.status)))
    return content


def complain(error: Exception) -> click.ClickException:
    """Turn what went wrong into what the command line prints."""
    return click.ClickException(str(error))
