"""Metrics over HTTP: remote write 1.0 and 2.0, and Clymene's call.

Specifications: Prometheus Remote-Write 1.0 and 2.0 (negotiation, status codes, written-headers, partial writes).
"""

from typing import Final

from aiohttp import web

from gateway.accept import accept_block, accept_write
from gateway.codec import METRICS
from gateway.core import VERSION_2_FACTOR, raw_size
from gateway.foreign import Outcome, Request
from gateway.http_answer import PROTOBUF, Asked, refuse, store
from gateway.refusal import Refusal
from pipeline.wire.envelope import Signal
from pipeline.wire.scan_found import Found

_MESSAGES: Final = {"prometheus.WriteRequest": 1, "io.prometheus.write.v2.Request": 2}
_WRITTEN: Final = "X-Prometheus-Remote-Write-{}-Written"


async def answer_write(asked: Asked) -> web.Response:
    """Take a remote write request, of the version that its content type names."""
    version = _message_version(asked.header("Content-Type"))
    if isinstance(version, Refusal):
        return refuse(version)
    return await (_store_2(asked) if version == 2 else answer_clymene_metrics(asked))


async def answer_clymene_metrics(asked: Asked) -> web.Response:
    """Take Clymene's `POST /api/metrics`: the same body as remote write 1.0, whatever its headers say."""
    core, body, sender = asked.core, asked.body, asked.sender
    request = Request(
        lambda scratch: accept_block(METRICS, body, sender, core.senders, core.rules, scratch=scratch),
        raw_size(body),
        len(body),
    )
    return await store(asked, Signal.METRICS, request)


async def _store_2(asked: Asked) -> web.Response:
    core, body, sender = asked.core, asked.body, asked.sender
    request = Request(
        lambda scratch: accept_write(body, sender, core.senders, core.rules, scratch=scratch),
        raw_size(body) * VERSION_2_FACTOR,
        len(body),
    )
    return await store(asked, Signal.METRICS, request, headers=_written)


def _message_version(content_type: str) -> int | Refusal:
    """Return which of the two messages a body is. No content type at all is 1.0, as in Prometheus."""
    if not content_type:
        return 1
    media, *parameters = (part.strip() for part in content_type.split(";"))
    if media.lower() != PROTOBUF:
        return Refusal(415, f"content type {content_type!r} is not accepted: {PROTOBUF} is")
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "proto":
            message = value.strip().strip('"')
            known = _MESSAGES.get(message)
            return known or Refusal(415, f"message {message!r} is not accepted: {', '.join(_MESSAGES)} are")
    return 1


def _written(outcome: Outcome) -> dict[str, str]:
    """Return the headers by which a 2.0 sender learns what was written; 1.0 does not know them."""
    found = [one.found for one in outcome.judged if isinstance(one.found, Found)]
    return {
        _WRITTEN.format("Samples"): str(sum(one.samples for one in found)),
        _WRITTEN.format("Histograms"): str(sum(one.histograms for one in found)),
        _WRITTEN.format("Exemplars"): str(sum(one.exemplars for one in found)),
    }
