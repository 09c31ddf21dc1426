"""Getting one page over HTTP: content negotiation as Prometheus does it, and a body within its limit.

A compressed body is inflated piece by piece, so that neither a bomb nor a large page holds memory or the event loop.
"""

import asyncio
import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final, Protocol

import aiohttp
from yarl import URL

from agent.config.scrape import ScrapeConfig
from agent.scrape.body import Body, Buffers, Filling
from agent.scrape.labelling import ScrapeError
from pipeline.errors import PipelineError
from pipeline.http_client import HttpAccess

MAX_BODY_BYTES: Final = 1 << 30
"""The bound of a body where the job sets none; larger pages exist only by mistake or malice."""
_INFLATE_BYTES: Final = 1 << 20
_READ_BYTES: Final = 1 << 20

_MEDIA_TYPES: Final = {
    "PrometheusProto": "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited",
    "OpenMetricsText1.0.0": "application/openmetrics-text;version=1.0.0",
    "OpenMetricsText0.0.1": "application/openmetrics-text;version=0.0.1",
    "PrometheusText1.0.0": "text/plain;version=1.0.0",
    "PrometheusText0.0.4": "text/plain;version=0.0.4",
}
_FIRST_WEIGHT: Final = 7
"""Prometheus 3 counts one protocol more, OpenMetrics 2.0, which it asks for behind a feature flag only."""
_ESCAPABLE: Final = frozenset({"OpenMetricsText1.0.0", "PrometheusText1.0.0"})


class BodyLimitError(ScrapeError):
    """The body is as large as its limit or larger."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A target's page, inflated."""

    body: Body
    content_type: str


class Fetch(Protocol):
    """Gets a target's page; raises ScrapeError, and BodyLimitError for one that is too large."""

    async def __call__(self, buffers: Buffers) -> Answer:
        """Get it once, within the target's timeout, into memory of `buffers`."""


@dataclass(slots=True)
class HttpFetch:
    """Gets one target's page through a session that many share (made with `new_session`)."""

    session: aiohttp.ClientSession
    access: HttpAccess
    config: ScrapeConfig
    url: str
    timeout_s: float
    user_agent: str
    _last_bytes: int = 0

    async def __call__(self, buffers: Buffers) -> Answer:
        """Get the page."""
        try:
            async with asyncio.timeout(self.timeout_s):
                return await self._get(buffers)
        except TimeoutError as error:
            raise ScrapeError(f"no complete answer within {self.timeout_s:g} s") from error
        except aiohttp.TooManyRedirects as error:
            raise ScrapeError(f"{self.url}: stopped after {len(error.history)} redirects") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise ScrapeError(f"{self.url}: {error or type(error).__name__}") from error
        except PipelineError as error:
            raise error if isinstance(error, ScrapeError) else ScrapeError(str(error)) from error

    async def _get(self, buffers: Buffers) -> Answer:
        headers = request_headers(self.config, self.timeout_s, self.user_agent)
        arguments = await self.access.arguments(self.session, self.url, headers)
        limit = self.config.body_size_limit or MAX_BODY_BYTES
        async with self.session.get(URL(self.url, encoded=True), **arguments) as response:
            if response.status != 200:
                raise ScrapeError(f"server returned HTTP status {response.status} {response.reason or ''}".rstrip())
            encoding = response.headers.get("Content-Encoding", "").strip().lower()
            pieces: AsyncIterator[bytes] = response.content.iter_any()
            if encoding == "gzip":
                pieces = _inflate(pieces)
            elif encoding not in ("", "identity"):
                raise ScrapeError(f"server answered with an encoding that was not asked for: {encoding}")
            told_bytes = None if encoding == "gzip" else response.content_length
            expected_bytes = self._last_bytes if told_bytes is None else min(told_bytes, limit)
            body = await _collect(pieces, limit, buffers, expected_bytes)
            self._last_bytes = body.size
            return Answer(body, response.headers.get("Content-Type", ""))


def new_session(user_agent: str) -> aiohttp.ClientSession:
    """Return a session for scraping: no limit of its own on connections, which stay open between scrapes."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=300.0),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        read_bufsize=_READ_BYTES,
        headers={"User-Agent": user_agent},
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
    )


def request_headers(config: ScrapeConfig, timeout_s: float, user_agent: str) -> dict[str, str]:
    """Return what a scrape asks for (prometheus/scrape/scrape.go, acceptHeader)."""
    accept, weight = [], _FIRST_WEIGHT
    for protocol in config.scrape_protocols:
        escaping = f";escaping={config.metric_name_escaping_scheme}" if protocol in _ESCAPABLE else ""
        accept.append(f"{_MEDIA_TYPES[protocol]}{escaping};q=0.{weight}")
        weight -= 1
    accept.append(f"*/*;q=0.{weight}")
    return {
        "Accept": ",".join(accept),
        "Accept-Encoding": "gzip" if config.enable_compression else "identity",
        "User-Agent": user_agent,
        "X-Prometheus-Scrape-Timeout-Seconds": f"{timeout_s:.9f}".rstrip("0").rstrip("."),
    }


async def _inflate(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Inflate gzip (RFC 1952; several members may follow one another), at most a megabyte at a time."""
    inflater = zlib.decompressobj(31)
    async for piece in pieces:
        while piece:
            try:
                out = inflater.decompress(piece, _INFLATE_BYTES)
            except zlib.error as error:
                raise ScrapeError(f"the body is not valid gzip: {error}") from error
            if out:
                yield out
                await asyncio.sleep(0)
            piece = inflater.unconsumed_tail
            if inflater.eof:
                piece = inflater.unused_data
                inflater = zlib.decompressobj(31) if piece else inflater
            elif not out and not piece:
                break
    if not inflater.eof:
        raise ScrapeError("the body ends inside its gzip stream")


async def _collect(pieces: AsyncIterator[bytes], limit: int, buffers: Buffers, expected: int) -> Body:
    """Put the pieces of a body together; raises BodyLimitError."""
    filling = Filling(buffers.take(expected))
    async for piece in pieces:
        filling.add(piece)
        # As in Prometheus a body of exactly the limit is too large.
        if filling.size >= limit:
            buffers.give(filling.buffer)
            raise BodyLimitError("body size limit exceeded")
    return filling.body()
