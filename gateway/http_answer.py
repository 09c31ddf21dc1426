"""What the HTTP port's answerers are given, and how they refuse."""

import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from aiohttp import web

from gateway.core import Core
from gateway.foreign import Outcome, Request, take
from gateway.publish import Publisher
from gateway.refusal import Refusal
from gateway.senders import Sender
from gateway.spans import TRACEPARENT, accept_span
from pipeline.wire.envelope import Signal

PROTOBUF = "application/x-protobuf"


@dataclass(slots=True)
class Asked:
    """One request whose sender is known and whose body is read; `protocol` as in the metrics."""

    core: Core
    protocol: str
    request: web.BaseRequest
    body: bytes
    sender: Sender | None
    publishers: Mapping[Signal, Publisher]

    def header(self, name: str) -> str:
        """Return a header, empty where there is none."""
        return self.request.headers.get(name, "")


class Route(NamedTuple):
    """A path: the metrics' name for it, the signal that it takes if it is one, and what answers.

    `check` looks at the headers before the body is read.
    """

    protocol: str
    signal: Signal | None
    answer: Callable[[Asked], Awaitable[web.Response]]
    check: Callable[[web.BaseRequest], Refusal | None]


async def store(
    asked: Asked, signal: Signal, request: Request, *, headers: Callable[[Outcome], Mapping[str, str]] | None = None
) -> web.Response:
    """Take a foreign sender's request: 204, or why not all of it. `headers` are for either answer."""
    core = asked.core
    with accept_span(core.tracing, asked.header(TRACEPARENT), asked.protocol, len(asked.body)) as span:
        outcome = await take(core, asked.publishers[signal], request, span)
        transport = asked.request.transport
        if transport is None or transport.is_closing():
            for batch in outcome.batches:
                batch.unanswered()
        more = dict(headers(outcome)) if headers is not None else {}
        if outcome.refusal is not None:
            span.end(outcome.refusal.reason)
            return refuse(outcome.refusal, more)
        return web.Response(status=204, headers=more)


def refuse(refusal: Refusal, headers: Mapping[str, str] | None = None) -> web.Response:
    """Say why a request is not taken."""
    more = dict(headers or {})
    if refusal.retry_after_s is not None:
        # RFC 9110, section 10.2.3: whole seconds.
        more["Retry-After"] = str(max(1, math.ceil(refusal.retry_after_s)))
    if refusal.status == 401:
        more["WWW-Authenticate"] = 'Bearer realm="pronoia"'
    return web.Response(status=refusal.status, text=refusal.reason + "\n", headers=more)


def snappy_only(request: web.BaseRequest) -> Refusal | None:
    """Refuse every content encoding but the one that the protocol names."""
    encoding = request.headers.get("Content-Encoding", "")
    if encoding in ("", "snappy", "identity"):
        return None
    return Refusal(415, f"content encoding {encoding!r} is not accepted: snappy is")
