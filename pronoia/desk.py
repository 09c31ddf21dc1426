"""Where the commands that look into an ingester ask: the running one, or the log itself where none runs."""

import asyncio
import importlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import click
from prometheus_client import CollectorRegistry

from ingester.config import IngesterConfig
from ingester.desk import Desk
from ingester.sinks import Sink
from ingester.sinks.kinds import KINDS, SinkTools
from pipeline import config as configuration
from pipeline.config import Address
from pipeline.errors import PermanentError, TransientError
from pipeline.log.open import open_log
from pipeline.telemetry import IngesterMetrics, LogMetrics
from pronoia.agent_file import kind_of
from pronoia.component import log_within
from pronoia.status import USUAL_URLS


@dataclass(slots=True)
class RemoteDesk:
    """The desk of a running ingester."""

    session: aiohttp.ClientSession
    url: str

    async def get(self, path: str, **query: str) -> dict[str, Any]:
        """Ask for something; raises PermanentError or TransientError as the desk did."""
        return await self._request("GET", path, params=query)

    async def post(self, path: str, content: dict[str, Any]) -> dict[str, Any]:
        """Have something done."""
        return await self._request("POST", path, json=content)

    async def _request(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        try:
            async with self.session.request(method, self.url + path, **options) as response:
                return await _content(response)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise TransientError(f"{self.url}: {error or type(error).__name__}") from error

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


CommandT = TypeVar("CommandT", bound=Callable[..., Any])


def where_to_ask(command: CommandT) -> CommandT:
    """Add --config and --url, of which one has to be given, and --data."""
    for option in (
        click.option(
            "--data",
            type=click.Path(path_type=Path, file_okay=False),
            default=Path("data"),
            show_default=True,
            help="The folder that the ingester keeps its log in.",
        ),
        click.option("--url", help="The admin address of a running ingester, or of `pronoia up`."),
        click.option("--config", "file", type=click.Path(path_type=Path), help="The ingester's configuration."),
    ):
        command = option(command)
    return command


@asynccontextmanager
async def desk_of(file: Path | None, url: str | None, data: Path) -> AsyncIterator[AnyDesk]:
    """Ask the ingester that runs, at `url`, where the configuration says, or at a usual address; else open the log.

    Raises PipelineError.
    """
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)))
        if url is not None:
            yield RemoteDesk(session, url.rstrip("/"))
            return
        config, admins = (None, list(USUAL_URLS)) if file is None else _load(file, data)
        for admin in admins:
            if await _answers(session, admin):
                yield RemoteDesk(session, admin)
                return
        if config is None:
            raise PermanentError(f"no ingester answers at {' or '.join(USUAL_URLS)}: give --url, or --config")
        log = open_log(log_within(data, config.log), LogMetrics(CollectorRegistry()))
        await log.start()
        stack.push_async_callback(log.close)
        sinks: dict[str, Sink] = {}
        tools = SinkTools(IngesterMetrics(CollectorRegistry()))
        for sink in config.sinks:
            if sink.kind in KINDS:
                sinks[sink.name] = KINDS[sink.kind](sink, tools)
                await sinks[sink.name].start()
                stack.push_async_callback(sinks[sink.name].close)
        desk = Desk(config, log, sinks, time.time)
        await desk.start()
        yield LocalDesk(desk)


def where_served(file: Path, data: Path = Path("data")) -> list[str]:
    """Return the URLs where the ingester of a configuration may be served; raises ConfigError."""
    return _load(file, data)[1]


def _load(file: Path, data: Path) -> tuple[IngesterConfig, list[str]]:
    """Read an ingester's configuration, or that of `pronoia up`; return it, and the URLs where it may be served."""
    document = configuration.read(file)
    if kind_of(document.value) == "up":
        plan = importlib.import_module("pronoia.plan").make_plan(file, data, Address(host="127.0.0.1", port=9100))
        admins = [plan.gateway.listen.admin, plan.ingester.admin]
        return plan.ingester, [f"http://{admin.host}:{admin.port}" for admin in admins]
    config = configuration.validate(document, IngesterConfig)
    return config, [f"http://{config.admin.host}:{config.admin.port}"]


async def _answers(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with asyncio.timeout(3.0), session.get(url + "/api/v1/dead-letters?limit=0") as response:
            return response.status == 200 and response.content_type == "application/json"
    except (aiohttp.ClientError, OSError, TimeoutError):
        return False  # then the log is asked itself


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
