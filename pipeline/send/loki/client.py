"""The Loki sender: gets every entry of a request there once. Who uses it: the ingester's sink, and an agent without a
gateway.

Source: Loki documentation, "HTTP API", `POST /loki/api/v1/push` (snappy-compressed protobuf).
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Final

import aiohttp

from pipeline.delivery import Backoff, Delivered, Outcome, PartLeft, Partly, Rejected, Retry
from pipeline.http_client import HttpAccess
from pipeline.send.codec import LOGS
from pipeline.send.deliver import Delivery, Limits, Note, Refuse, Tally
from pipeline.send.http import post
from pipeline.send.loki.classify import NO_SCHEMA, classify
from pipeline.send.loki.config import LokiConfig
from pipeline.send.loki.external import ExternalLabels
from pipeline.send.loki.parcel import unpack
from pipeline.send.loki.present import NotAskableError, Presence
from pipeline.send.loki.push import Answer, Push
from pipeline.send.loki.streams import LATE_S, KnownStreams
from pipeline.send.loki.unsent import unsent
from pipeline.send.request import Piece, Request
from pipeline.wire.errors import MalformedError

logger = logging.getLogger(__name__)

_MAX_ANSWER_BYTES: Final = 16 * 2**20
"""What Loki says of a request's entries names each kind of refusal: megabytes where all of them are refused."""
_CONNECTIONS: Final = 50


Refuses = Callable[[str, bytes, float], str]
"""Says why a stream of a cluster, with these labels, is not to be sent (now, in Unix seconds); empty where it is."""


class Loki:
    """One Loki. `start` before, `close` after; `send` and `deliver` may be called by several tasks at once."""

    def __init__(
        self,
        config: LokiConfig,
        *,
        tenant_header: str = "X-Scope-OrgID",
        user_agent: str = "pronoia",
        refuses: Refuses | None = None,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._config = config
        self._access = HttpAccess(config, clock)
        self._tenant_header = tenant_header
        self._refuses = refuses
        self._clock = clock
        self._sleep = sleep
        self._headers = {"User-Agent": user_agent, **config.headers}
        self._session: aiohttp.ClientSession | None = None
        self._known = KnownStreams()
        self._asks = bool(config.asked_url())
        self._external = ExternalLabels(config.external_labels) if config.external_labels else None

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

        `request.tenant` goes before the configuration's `tenant_id`. Pieces without an envelope count as old.
        """
        tenant = request.tenant or self._config.tenant_id
        try:
            if self._external is not None:
                request = await asyncio.to_thread(self._external.add, request)
            asked, asks = request, self._asks
            if asks and any(piece.in_doubt for piece in request.pieces):
                found = await self._unsent(request, tenant)
                if isinstance(found, Retry):
                    return found
                asked = request if found is None else found
                # What asking does not get on with must not be left to be asked for again: that would never end.
                asks = asked.items < request.items
            outcome = await self._push(asked, tenant, asks=asks) if asked.pieces else Delivered("was there already")
        except MalformedError as error:
            return Rejected(str(error), 0)
        if asked is not request and isinstance(outcome, Retry):
            # What was found to be missing is in doubt no more.
            left = tuple(PartLeft(piece.source, piece.payload, piece.items) for piece in asked.pieces)
            return Partly(left=left, retry=outcome)
        return outcome

    async def _push(self, request: Request, tenant: str, *, asks: bool) -> Outcome:
        now_s = self._clock()
        parcel = unpack(request)
        push = Push(parcel, request.payload, tenant, self._post, self._known, now_s, asks)
        if self._refuses is not None:
            push.admit(partial(self._refuses, request.cluster), now_s)
        return await push.run(_late(request, now_s), self._config.max_request_bytes())

    async def _unsent(self, request: Request, tenant: str) -> Request | Retry | None:
        """Return what is not stored, or None where this cannot be asked; see `unsent`."""
        session = self._opened()
        presence = Presence(session, self._access, self._config.asked_url(), self._headers_for(tenant))
        try:
            return await unsent(request, presence)
        except NotAskableError as error:
            self._asks = self._asks and not error.lasting
            logger.warning(
                "Loki does not tell what it has: what is sent again after a failure may count twice in metric queries",
                extra={"loki": self._config.name or self._config.url, "reason": str(error)},
            )
            return None

    async def deliver(
        self,
        pieces: Sequence[Piece],
        refuse: Refuse,
        *,
        tenant: str = "",
        limits: Limits | None = None,
        note: Note | None = None,
    ) -> Tally:
        """Send until everything is delivered or was handed to `refuse`; waits as long as Loki is down."""
        delivery = Delivery(self.send, refuse, limits or Limits(), self.backoff(), self._sleep, note)
        return await delivery.run(Request(pieces, LOGS, tenant=tenant))

    def backoff(self) -> Backoff:
        """Return the delays between tries as `backoff_config` has them."""
        return self._config.backoff()

    async def _post(self, payload: bytes, tenant: str) -> Answer:
        words = ""

        def judge(status: int, headers: Mapping[str, str], answer: bytes) -> Outcome:
            nonlocal words
            is_about_entries = status in (400, 429) or NO_SCHEMA.encode() in answer
            words = answer.decode(errors="replace") if is_about_entries else ""
            return classify(status, headers, answer, now_s=self._clock())

        outcome = await post(
            self._opened(),
            self._access,
            self._config.url,
            {"Content-Type": "application/x-protobuf", **self._headers_for(tenant)},
            payload,
            judge,
            timeout_s=self._config.timeout,
            max_answer_bytes=_MAX_ANSWER_BYTES,
        )
        return Answer(outcome, words)

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("send before start")
        return self._session

    def _headers_for(self, tenant: str) -> dict[str, str]:
        return {**self._headers, self._tenant_header: tenant} if tenant else self._headers


def _late(request: Request, now_s: float) -> set[int]:
    """Return the records with entries that may be too far behind their streams' newest."""
    oldest_ms = (now_s - LATE_S) * 1000
    return {
        piece.source for piece in request.pieces if piece.envelope is None or piece.envelope.earliest_ms < oldest_ms
    }
