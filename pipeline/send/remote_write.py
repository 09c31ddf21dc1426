"""The remote-write sender: one request, one outcome. Who uses it: the ingester's sink, and an agent without a gateway.

Sources: Remote-Write 1.0 and 2.0 (headers); Prometheus documentation, `<remote_write>`.
"""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

import aiohttp
import yaml

from pipeline.config import parse_duration_s
from pipeline.delivery import Backoff, Outcome
from pipeline.errors import TransientError
from pipeline.http_client import HttpAccess
from pipeline.send.classify import classify
from pipeline.send.codec import METRICS
from pipeline.send.config import WRITE_V2, RemoteWriteConfig
from pipeline.send.deliver import Delivery, Limits, Note, Refuse, Tally
from pipeline.send.http import post
from pipeline.send.request import Piece, Request
from pipeline.wire import remote_write2, snappy

_MAX_ANSWER_BYTES = 64 * 1024


class RemoteWrite:
    """One receiver. `start` before, `close` after; `send` and `deliver` may be called by several tasks at once."""

    def __init__(
        self,
        config: RemoteWriteConfig,
        *,
        tenant_header: str = "X-Scope-OrgID",
        user_agent: str = "pronoia",
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._config = config
        self._access = HttpAccess(config, clock)
        self._clock = clock
        self._sleep = sleep
        self._tenant_header = tenant_header
        self._is_v2 = config.protobuf_message == WRITE_V2
        self._headers = {
            "Content-Encoding": "snappy",
            "Content-Type": f"application/x-protobuf;proto={WRITE_V2}" if self._is_v2 else "application/x-protobuf",
            "X-Prometheus-Remote-Write-Version": "2.0.0" if self._is_v2 else "0.1.0",
            "User-Agent": user_agent,
            **config.headers,
        }
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Make ready; nothing is connected before the first request."""
        connector = aiohttp.TCPConnector(limit=self._config.queue_config.max_shards)
        timeout = aiohttp.ClientTimeout(total=self._config.remote_timeout)
        self._session = aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=True)

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()

    async def send(self, body: bytes, *, tenant: str = "") -> Outcome:
        """Send one snappy(prometheus.WriteRequest) once, as remote write 2.0 where so configured.

        Never raises for what a network or a receiver does. Raises MalformedError where a body that is to be sent as 2.0
        cannot be read.
        """
        if self._session is None:
            raise RuntimeError("send before start")
        items: int | None = None
        if self._is_v2:
            # Building symbol tables takes too long for the loop.
            body, items = await asyncio.to_thread(_to_v2, body)
        headers = {**self._headers, self._tenant_header: tenant} if tenant else self._headers

        def judge(status: int, headers: Mapping[str, str], answer: bytes) -> Outcome:
            return classify(status, headers, answer, now_s=self._clock(), confirm_items=items)

        return await post(
            self._session,
            self._access,
            self._config.url,
            headers,
            body,
            judge,
            timeout_s=self._config.remote_timeout,
            max_answer_bytes=_MAX_ANSWER_BYTES,
        )

    async def deliver(
        self,
        pieces: Sequence[Piece],
        refuse: Refuse,
        *,
        tenant: str = "",
        limits: Limits | None = None,
        note: Note | None = None,
    ) -> Tally:
        """Send until everything is delivered or was handed to `refuse`; waits as long as the receiver is down."""

        async def send(request: Request) -> Outcome:
            return await self.send(request.payload, tenant=tenant)

        delivery = Delivery(send, refuse, limits or Limits(), self.backoff(), self._sleep, note)
        return await delivery.run(Request(pieces, METRICS))

    def backoff(self) -> Backoff:
        """Return the delays between tries as `queue_config` has them."""
        queue = self._config.queue_config
        return Backoff(first_s=queue.min_backoff, longest_s=queue.max_backoff)

    async def out_of_order_window_s(self) -> float | None:
        """Ask a Prometheus for its `out_of_order_time_window`, in seconds (0: none); None where it does not say."""
        if self._session is None:
            raise RuntimeError("asked before start")
        url = re.sub(r"/api/v1/(?:write|push)/?$", "", self._config.url) + "/api/v1/status/config"
        try:
            arguments = await self._access.arguments(self._session, url)
            async with self._session.get(url, **arguments) as response:
                if response.status != 200:
                    return None
                config = yaml.safe_load((await response.json(content_type=None))["data"]["yaml"]) or {}
            return parse_duration_s((config.get("storage") or {}).get("tsdb", {}).get("out_of_order_time_window", 0))
        except (
            aiohttp.ClientError,
            OSError,
            TransientError,
            ValueError,
            LookupError,
            TypeError,
            AttributeError,
            yaml.YAMLError,
        ):
            return None  # another store, or one that is down: there is nothing to say about its window


def _to_v2(body: bytes) -> tuple[bytes, int]:
    """Return the same request in 2.0, and the samples and histograms in it, which a 2.0 receiver confirms."""
    return snappy.compress(remote_write2.from_v1(snappy.decompress(body))), METRICS.count(body)
