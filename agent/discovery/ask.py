"""Asking an HTTP API: one request, bounded in time and size, and what is wrong with its answer."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import aiohttp
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic.alias_generators import to_pascal

from pipeline.errors import PermanentError, TransientError
from pipeline.http_client import HttpAccess

MAX_BODY_BYTES: Final = 64 * 1024 * 1024
LARGE_BYTES: Final = 128 * 1024
_REASON_CHARS = 200

T = TypeVar("T")
Params = Sequence[tuple[str, str]]


class Shape(BaseModel):
    """Part of an answer in JSON, as Go writes it (`NetworkMode`); what is not named here is left out."""

    model_config = ConfigDict(frozen=True, alias_generator=to_pascal, populate_by_name=True, hide_input_in_errors=True)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered, whatever its status."""

    url: str
    status: int
    reason: str
    headers: Mapping[str, str]
    body: bytes

    def require_ok(self) -> None:
        """Raise TransientError unless the status is 200, with the first line of what the server says to it."""
        if self.status != 200:
            lines = self.body.decode(errors="replace").strip().splitlines()
            said = f": {lines[0][:_REASON_CHARS]}" if lines else ""
            raise TransientError(f"{self.url}: answered {self.status} {self.reason}".rstrip() + said)

    def read(self, shape: TypeAdapter[T]) -> T:
        """Return what the JSON holds; raises TransientError by status, PermanentError for what has another shape."""
        self.require_ok()
        try:
            return shape.validate_json(self.body)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = "".join(f"[{part!r}]" for part in first["loc"])
            raise PermanentError(f"{self.url}: not the expected answer: {where} {first['msg']}") from error


async def ask(
    session: aiohttp.ClientSession,
    access: HttpAccess,
    url: str,
    *,
    timeout_s: float,
    params: Params = (),
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Ask `url` and return what it answers; raises TransientError without one, PermanentError for one too large."""
    try:
        async with asyncio.timeout(timeout_s):
            arguments = await access.arguments(session, url, headers)
            async with session.get(url, params=params or None, **arguments) as response:
                return await read_answer(url, response)
    except TimeoutError as error:
        raise TransientError(f"{url}: no answer within {timeout_s:g} s") from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise TransientError(f"{url}: {error or type(error).__name__}") from error


async def aside(answer: Answer, work: Callable[[], T]) -> T:
    """Do what is to be done with an answer; with a large one in a thread, so that the loop stays free."""
    return await asyncio.to_thread(work) if len(answer.body) > LARGE_BYTES else work()


async def read_answer(url: str, response: aiohttp.ClientResponse) -> Answer:
    """Read an answer whole; raises PermanentError for one beyond MAX_BODY_BYTES."""
    body = bytearray()
    async for chunk in response.content.iter_chunked(1 << 16):
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise PermanentError(f"{url}: the answer is larger than {MAX_BODY_BYTES} bytes")
    return Answer(url, response.status, response.reason or "", response.headers, bytes(body))


def open_session(like: aiohttp.ClientSession, unix_path: str = "", max_connections: int = 4) -> aiohttp.ClientSession:
    """Return a session that says who asks as `like` does, with connections of its own, to a Unix socket if named."""
    limit = max_connections
    connector = aiohttp.UnixConnector(unix_path, limit=limit) if unix_path else aiohttp.TCPConnector(limit=limit)
    return aiohttp.ClientSession(connector=connector, headers=like.headers)
