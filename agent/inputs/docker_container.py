"""One container's logs, from where they were read to last, to its end and through its restarts."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import aiohttp

from agent.inputs.attempts import Attempts
from agent.inputs.docker_position import Position
from agent.inputs.feed import Feed
from agent.inputs.labels import Labels
from agent.logs.entry import Entry
from agent.logs.input import BY_RULES, InputTools, Source
from agent.logs.job import LOG_STREAM
from agent.logs.parts import Part
from pipeline.errors import PermanentError, PipelineError, TransientError
from pipeline.http_client import HttpAccess
from pipeline.wire.docker_logs import ContainerLines, Line
from pipeline.wire.errors import MalformedError

logger = logging.getLogger(__name__)

CONTAINER_ID: Final = "__meta_docker_container_id"
CONTAINER_NAME: Final = "__meta_docker_container_name"
MAX_LINE_BYTES: Final = 256 * 1024
READ_BYTES: Final = 64 * 1024
ANSWER_S: Final = 30.0
LOOK_S: Final = 5.0
"""How often a container that has ended is looked at: it may be started again."""


class GoneError(PermanentError):
    """The daemon has no such container (any more)."""


@dataclass(frozen=True, slots=True)
class Daemon:
    """A Docker daemon's API. Raises TransientError, and GoneError where there is no such container."""

    session: aiohttp.ClientSession
    access: HttpAccess
    base: str

    async def inspect(self, identity: str) -> Any:
        """Return what the daemon knows of a container."""
        async with asyncio.timeout(ANSWER_S), self.answer(f"/containers/{identity}/json", {}) as response:
            return await response.json()

    @asynccontextmanager
    async def answer(self, path: str, params: dict[str, str]) -> AsyncIterator[aiohttp.ClientResponse]:
        """Give a successful answer."""
        url = self.base + path
        try:
            arguments = await self.access.arguments(self.session, url)
            async with self.session.get(url, params=params, **arguments) as response:
                if response.status == 404:
                    raise GoneError(f"{url}: there is no such container")
                if response.status != 200:
                    said = (await response.text())[:200].strip()
                    raise TransientError(f"{url}: answered {response.status}: {said}")
                yield response
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise TransientError(f"{url}: {error or type(error).__name__}") from error


class Container:
    """Reads one container; `run` ends when it is gone, or is not wanted any more and read to its end."""

    def __init__(self, identity: str, source: Source, tools: InputTools, daemon: Daemon) -> None:
        self._identity = identity
        self._tools = tools
        self._daemon = daemon
        self._feed = Feed(tools, "docker", identity)
        self._position = Position.read(self._feed.position)
        self._attempts = Attempts(tools, "docker")
        self._source = source
        self._labels = Labels(tools.relabel, source.found)
        self._is_wanted = True
        self._looked_s = 0.0

    def trouble(self) -> str | None:
        """Return None while it can be read."""
        return self._attempts.trouble

    def part(self) -> Part:
        """Return what is told of it."""
        name = self._source.found.get(CONTAINER_NAME, "").removeprefix("/") or self._identity[:12]
        return Part(name, self._source.key, self._source.labels, self.trouble() or "")

    def set_wanted(self, source: Source | None) -> None:
        """Note what discovery says of it now; None: nothing any more."""
        self._is_wanted = source is not None
        if source is not None and source.found != self._source.found:
            self._source = source
            self._labels = Labels(self._tools.relabel, source.found)

    async def run(self) -> None:
        """Read until it is gone, or has ended and is not wanted any more, or until cancelled."""
        flushing = asyncio.create_task(self._feed.run(), name="docker: what is held back")
        try:
            while True:
                if not await self._read_once():
                    break
                await asyncio.sleep(self._attempts.wait_s() or LOOK_S)
            await self._feed.end()
        except GoneError:
            await self._feed.forget()
        finally:
            flushing.cancel()
            await asyncio.gather(flushing, return_exceptions=True)

    async def _read_once(self) -> bool:
        """Read as long as the daemon answers; return whether there is anything to come."""
        try:
            known = await self._daemon.inspect(self._identity)
            lines = ContainerLines(is_tty=bool(known["Config"]["Tty"]), max_line_bytes=MAX_LINE_BYTES)
            await self._follow(lines)
            # Where only the connection has ended, what was begun comes again, whole.
            if not await self._is_running():
                await self._take(lines.end(), lines, 0)
        except GoneError:
            raise
        except MalformedError as error:
            self._attempts.failed(TransientError(f"{self._identity[:12]}: {error}"))
        except (KeyError, TypeError) as error:
            self._attempts.failed(TransientError(f"{self._identity[:12]}: no description of a container: {error!r}"))
        except PipelineError as error:
            self._attempts.failed(error)
        else:
            return self._is_wanted
        return True

    def _may_look(self) -> bool:
        return asyncio.get_running_loop().time() > self._looked_s + LOOK_S

    async def _is_running(self) -> bool:
        self._looked_s = asyncio.get_running_loop().time()
        return bool((await self._daemon.inspect(self._identity))["State"]["Running"])

    async def _follow(self, lines: ContainerLines) -> None:
        """Take what there is and what comes, until the answer ends, or nobody wants it."""
        self._position = Position.read(self._feed.position)
        since = self._position.begin()
        params = {"stdout": "true", "stderr": "true", "timestamps": "true", "follow": "true", "since": since}
        async with self._daemon.answer(f"/containers/{self._identity}/logs", params) as response:
            self._attempts.works()
            while (data := await self._next(response.content)) is not None:
                if data:
                    await self._take(lines.feed(data), lines, len(data))
                # Not wanted because it has ended, it is read to its end; else the configuration does not want it.
                if not self._is_wanted and self._may_look() and await self._is_running():
                    return

    async def _next(self, content: aiohttp.StreamReader) -> bytes | None:
        """Return what has come, nothing after a while of silence, None at the end."""
        try:
            async with asyncio.timeout(LOOK_S):
                return await content.readany() or None
        except TimeoutError:
            return b""

    async def _take(self, found: Iterable[Line], lines: ContainerLines, size: int) -> None:
        new = [line for line in found if self._position.is_new(line)]
        self._tools.cut(lines.cut)
        lines.cut = 0
        if new:
            await self._feed.put(self._entries(new), self._position.write(), read_bytes=size)

    def _entries(self, lines: Iterable[Line]) -> Iterator[Entry]:
        for line in lines:
            labels = self._labels.of({LOG_STREAM: line.stream})
            if labels is None:
                self._tools.drop(BY_RULES)
                continue
            yield Entry(labels, line.time_ns, line.text.decode(errors="replace"))
