"""The Loki sender: one push, one outcome. Who uses it: the ingester's sink, and an agent without a gateway.

Source: Loki documentation, "HTTP API", `POST /loki/api/v1/push` (snappy-compressed protobuf).
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

import aiohttp

from pipeline.delivery import Backoff, Outcome
from pipeline.http_client import HttpAccess
from pipeline.send.codec import LOGS
from pipeline.send.deliver import Delivery, Limits, Refuse, Tally
from pipeline.send.http import post
from pipeline.send.loki.classify import classify
from pipeline.send.loki.config import LokiConfig
from pipeline.send.request import Piece, Request

_MAX_ANSWER_BYTES: Final = 16 * 2**20
"""What Loki says of a request's entries names each kind of refusal: megabytes where all of them are refused."""
_CONNECTIONS: Final = 50


class Loki:
    """One Loki. `start` before, `close` after; `send` and `deliver` may be called by several tasks at once."""

    def __init__(
        self,
        config: LokiConfig,
        *,
        tenant_header: str = "X-Scope-OrgID",
        user_agent: str = "pronoia",
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._config = config
        self._access = HttpAccess(config, clock)
        self._tenant_header = tenant_header
        self._clock = clock
        self._sleep = sleep
        self._headers = {"Content-Type": "application/x-protobuf", "User-Agent": user_agent, **config.headers}
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Make ready; nothing is connected before the first request."""
        connector = aiohttp.TCPConnector(limit=_CONNECTIONS)
        timeout = aiohttp.ClientTimeout(total=self._config.timeout)
        self._session = aiohttp.ClientSession(connector=connector, timeout=timeout)

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()

    async def send(self, request: Request) -> Outcome:
        """Send one request once; never raises for what a network or Loki does.

        `request.tenant` goes before the configuration's `tenant_id`.
        """
        return await self._push(request.payload, request.tenant)

    async def deliver(
        self, pieces: Sequence[Piece], refuse: Refuse, *, tenant: str = "", limits: Limits | None = None
    ) -> Tally:
        """Send until everything is delivered or was handed to `refuse`; waits as long as Loki is down."""
        delivery = Delivery(self.send, refuse, limits or Limits(), self.backoff(), self._sleep)
        return await delivery.run(Request(pieces, LOGS, tenant=tenant))

    def backoff(self) -> Backoff:
        """Return the delays between tries as `backoff_config` has them."""
        return self._config.backoff()

    async def _push(self, payload: bytes, tenant: str) -> Outcome:
        if self._session is None:
            raise RuntimeError("send before start")

        def judge(status: int, headers: Mapping[str, str], answer: bytes) -> Outcome:
            return classify(status, headers, answer, now_s=self._clock())

        return await post(
            self._session,
            self._access,
            self._config.url,
            self._headers_for(tenant),
            payload,
            judge,
            timeout_s=self._config.timeout,
            max_answer_bytes=_MAX_ANSWER_BYTES,
        )

    def _headers_for(self, tenant: str) -> dict[str, str]:
        tenant = tenant or self._config.tenant_id
        return {**self._headers, self._tenant_header: tenant} if tenant else self._headers
