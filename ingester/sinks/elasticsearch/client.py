"""Requests to a cluster: the official client's transport chooses the host, and leaves out for a while one that failed.

The transport alone (`elastic-transport`), and not the client above it (`elasticsearch`), because that one refuses
OpenSearch: it sends media types of its own, and asks for a header that says "Elasticsearch". Its own HTTP nodes write
every body into log records before they look whether anybody reads those, and know neither OAuth 2 nor certificates that
change: a node of ours sends through `HttpAccess`, as all other clients of the pipeline do.
"""

import asyncio
import io
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import cramjam
from elastic_transport import (
    ApiResponseMeta,
    AsyncTransport,
    BaseAsyncNode,
    ConnectionError,  # noqa: A004
    ConnectionTimeout,
    HttpHeaders,
    NodeConfig,
    Serializer,
    TlsError,
    TransportApiResponse,
    TransportError,
)

from ingester.sinks.elasticsearch.config import ElasticsearchConfig
from pipeline.delivery import Retry
from pipeline.errors import PipelineError
from pipeline.http_client import HttpAccess, why_no_answer
from pipeline.seldom import quieten

NDJSON: Final = "application/x-ndjson"
JSON: Final = "application/json"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a host answered; header names are looked up whatever their case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Client:
    """One cluster. `start` before, `close` after; `request` may be called by several tasks at once."""

    def __init__(
        self, config: ElasticsearchConfig, *, user_agent: str = "pronoia", clock: Callable[[], float] = time.time
    ) -> None:
        self._config = config
        self._access = HttpAccess(config.http(), clock)
        self._user_agent = user_agent
        self._session: aiohttp.ClientSession | None = None
        self._transport: AsyncTransport | None = None

    async def start(self) -> None:
        """Make ready; nothing is connected before the first request."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=self._config.timeout),
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        quieten(("elastic_transport.node_pool", "elastic_transport.transport"))
        raw = _Raw()
        self._transport = AsyncTransport(
            [_node_config(host) for host in self._config.hosts],
            node_class=_node_class(self._session, self._access),
            serializers={JSON: raw, "application/*": raw, "text/*": raw},
            max_retries=len(self._config.hosts) - 1,  # each host once; when to try again is the engine's to decide
            retry_on_status=(),
            meta_header=False,
        )

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()

    async def request(
        self, method: str, target: str, body: bytes | None = None, media_type: str = JSON
    ) -> Answer | Retry:
        """Ask one host, another where it cannot be reached. Never raises for what a network or a server does."""
        if self._transport is None:
            raise RuntimeError("request before start")
        headers = {"Accept": JSON, "User-Agent": self._user_agent}
        if body is not None:
            headers["Content-Type"] = media_type
            if self._config.compression == "gzip" and media_type == NDJSON:
                headers["Content-Encoding"] = "gzip"
                body = await asyncio.to_thread(_gzip, body)
        try:
            meta, content = await self._transport.perform_request(method, target, body=body, headers=headers)
        except PipelineError as error:  # a token or certificate that cannot be had
            return Retry(str(error), getattr(error, "retry_after_s", None), alarm=True)
        except TlsError as error:
            return Retry(str(error.message), alarm=True)
        except ConnectionTimeout:
            return Retry(f"no answer within {self._config.timeout:g} s", perhaps_taken=True)
        except TransportError as error:
            return Retry(str(error.message), perhaps_taken=True)
        return Answer(meta.status, meta.headers, content)


class _Raw(Serializer):
    """Leaves bodies as they are."""

    def loads(self, data: bytes) -> bytes:
        return data

    def dumps(self, data: bytes) -> bytes:
        return data


def _gzip(body: bytes) -> bytes:
    return bytes(cramjam.gzip.compress(body, level=1))


def _node_config(host: str) -> NodeConfig:
    parts = urlsplit(host)
    assert parts.hostname is not None
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return NodeConfig(parts.scheme, parts.hostname, port, path_prefix=parts.path.strip("/"))


def _node_class(session: aiohttp.ClientSession, access: HttpAccess) -> type[BaseAsyncNode]:
    """Return the class of nodes that send through this session."""

    class Node(BaseAsyncNode):
        _CLIENT_META_HTTP_CLIENT = ("ai", aiohttp.__version__)

        async def perform_request(  # type: ignore[override]  # as the transport's own nodes do
            self,
            method: str,
            target: str,
            body: bytes | None = None,
            headers: HttpHeaders | None = None,
            request_timeout: Any = None,
        ) -> TransportApiResponse:
            url, started_s = self.base_url + target, time.monotonic()
            arguments = await access.arguments(session, url, dict(headers or {}))
            # aiohttp writes a body in slices when it reads it from a file, so that the loop stays free.
            data = None if body is None else io.BytesIO(body)
            try:
                async with session.request(method, url, data=data, **arguments) as response:
                    content = await response.read()
            except TimeoutError as error:
                raise ConnectionTimeout("no answer", errors=(error,)) from error
            except aiohttp.ClientSSLError as error:
                raise TlsError(str(error), errors=(error,)) from error
            except (aiohttp.ClientError, OSError) as error:
                raise ConnectionError(why_no_answer(error), errors=(error,)) from error
            took_s = time.monotonic() - started_s
            return TransportApiResponse(
                ApiResponseMeta(response.status, "1.1", HttpHeaders(response.headers), took_s, self.config), content
            )

        async def close(self) -> None:  # type: ignore[override]  # as above
            """Do nothing: the session is closed by the client."""

    return Node
