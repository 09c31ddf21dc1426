"""Requests to one API server: JSON out, JSON in, errors as types. Source: Kubernetes documentation, "API Concepts".

server = ApiServer(in_cluster, session)
lease = await server.request("GET", LEASES.path("monitoring", "shard-0"))
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
import msgspec

from agent.discovery.kubernetes.cluster import Cluster, Find
from agent.discovery.kubernetes.errors import UnavailableError, action_of, error_of
from agent.discovery.kubernetes.shapes import Event
from pipeline.errors import PipelineError
from pipeline.http_client import HttpAccess

MAX_ANSWER_BYTES: Final = 128 * 1024 * 1024
MAX_EVENT_BYTES: Final = 16 * 1024 * 1024
"""Far above what etcd takes for an object (1.5 MiB)."""


@dataclass(frozen=True, slots=True)
class Timing:
    """How long is waited for what.

    `silence_s`: a watch without a word for that long is asked for anew, from where it was. API servers send a bookmark
    each minute, so that a watch on what never changes is not silent. `pace_s`: where objects change all the time,
    groups are given this often, as by Prometheus; a first change is not held back.
    """

    answer_s: float = 30.0
    silence_s: float = 90.0
    watch_s: float = 600.0
    backoff_s: float = 0.8
    max_backoff_s: float = 30.0
    pace_s: float = 5.0


TIMING: Final = Timing()


class ApiServer:
    """One API server as one identity. Reads tokens and certificates again when their files change."""

    def __init__(self, find: Find, session: aiohttp.ClientSession, timing: Timing = TIMING) -> None:
        self._find = find
        self._session = session
        self.timing = timing
        self._known: tuple[Cluster, HttpAccess] | None = None

    @property
    def cluster(self) -> Cluster:
        """Where it is now; raises PipelineError."""
        return self._find()

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = "application/json",
        shape: Any = Any,
    ) -> Any:
        """Return the decoded answer; raises PipelineErrors, those of `errors` for what the server refuses.

        `body` is what msgspec encodes; `content_type` says which kind of patch a PATCH is; `shape` is the msgspec type
        that the answer is decoded as, plain values if left out.
        """
        async with self._answer(method, path, params or {}, body, content_type, self.timing.answer_s) as response:
            text = await _read(response)
            return _decode(text, response, f"{method} {path}", shape)

    async def events(self, path: str, params: Mapping[str, str]) -> AsyncGenerator[list[Event], None]:
        """Yield the events of a watch, those that came together at once, until it ends. Raises like `request`.

        Watches end in many ways: by the server's clock, cut by a proxy or a restart, after `silence_s` without a byte.
        Whether that was a failure the next watch shows. To be closed by the caller.
        """
        asked = {**params, "watch": "1"}
        async with self._answer("GET", path, asked, None, "", None) as response:
            if not response.content_type.endswith("json"):
                raise UnavailableError(_foreign(response, f"GET {path}"))
            rest = bytearray()
            yield []  # The server has taken it: what failed before works again.
            while chunk := await self._next_chunk(response):
                rest += chunk
                if len(rest) > MAX_EVENT_BYTES:
                    raise UnavailableError(f"watch {path}: an event is larger than {MAX_EVENT_BYTES} bytes")
                whole, line_end, rest_now = rest.rpartition(b"\n")
                if line_end:
                    rest = rest_now
                    yield [_event(line, path) for line in bytes(whole).split(b"\n") if line]
            if rest:
                raise UnavailableError(f"watch {path}: it ended within an event")

    async def _next_chunk(self, response: aiohttp.ClientResponse) -> bytes:
        try:
            async with asyncio.timeout(self.timing.silence_s):
                return await response.content.readany()
        except (TimeoutError, aiohttp.ClientPayloadError, ConnectionError):
            return b""

    @asynccontextmanager
    async def _answer(
        self,
        method: str,
        path: str,
        params: Mapping[str, str],
        body: Any,
        content_type: str,
        whole_s: float | None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Give a successful answer, its body unread; what fails up to the end of the block becomes a PipelineError."""
        action = action_of(method, path, params)
        # Compressing costs the API server more than a cluster's network gains by it.
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        if body is not None:
            headers["Content-Type"] = content_type
        timeout = aiohttp.ClientTimeout(total=whole_s, sock_connect=self.timing.answer_s)
        try:
            url, access = self._access()
            arguments = await access.arguments(self._session, url, headers)
            data = None if body is None else msgspec.json.encode(body)
            request = self._session.request(method, url + path, params=params, data=data, timeout=timeout, **arguments)
            async with asyncio.timeout(self.timing.answer_s):
                response = await request
            async with response:
                if response.status >= 300:
                    text = await _read(response)
                    raise error_of(action, response.status, _status_in(text), _retry_after_s(response))
                yield response
        except PipelineError:
            raise
        except TimeoutError as error:
            raise UnavailableError(f"cannot {action}: no answer from {path} in {self.timing.answer_s:g} s") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise UnavailableError(f"cannot {action}: {_reason(error)}") from error

    def _access(self) -> tuple[str, HttpAccess]:
        cluster = self._find()
        if self._known is None or self._known[0] != cluster:
            self._known = cluster, HttpAccess(cluster.http, asyncio.get_running_loop().time)
        return cluster.url, self._known[1]


def _reason(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"{error.host}:{error.port} is not trusted: {error.certificate_error}"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"cannot connect to {error.host}:{error.port}: {error.os_error.strerror or error.os_error}"
    return str(error) or type(error).__name__


async def _read(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > MAX_ANSWER_BYTES:
            raise UnavailableError(f"{response.url.path}: the answer is larger than {MAX_ANSWER_BYTES} bytes")
    return bytes(body)


def _decode(text: bytes, response: aiohttp.ClientResponse, what: str, shape: Any) -> Any:
    if not response.content_type.endswith("json"):
        raise UnavailableError(_foreign(response, what))
    try:
        return msgspec.json.decode(text, type=shape)
    except msgspec.DecodeError as error:
        raise UnavailableError(f"{what}: the answer cannot be read: {error}") from error


def _foreign(response: aiohttp.ClientResponse, what: str) -> str:
    return f'{what}: answered "{response.content_type}", no JSON: is that an API server?'


_EVENT: Final = msgspec.json.Decoder(Event)


def _event(line: bytes, path: str) -> Event:
    try:
        return _EVENT.decode(line)
    except msgspec.DecodeError as error:
        raise UnavailableError(f"watch {path}: an event cannot be read: {error}") from error


def _status_in(text: bytes) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return None


def _retry_after_s(response: aiohttp.ClientResponse) -> float | None:
    value = response.headers.get("Retry-After", "")
    return float(value) if value.isascii() and value.isdigit() else None
