"""Logs over HTTP: Loki's push API, and Clymene's `POST /api/logs`.

Statuses are Loki's: 204, 400 with what was refused (the rest is taken), 413, 429. A content type or encoding that is
not known is 415, where Loki answers 400: no sender tells them apart, and people do.
"""

from typing import Final

from aiohttp import web

from gateway.accept import accept_block, accept_raw
from gateway.clymene import read_batch
from gateway.codec import LOGS
from gateway.core import JSON_FACTOR, raw_size
from gateway.foreign import Judged, Request, check_tenant
from gateway.http_answer import Asked, refuse, store
from gateway.refusal import Refusal
from pipeline.receive.errors import BadRequestError
from pipeline.receive.loki_push import Form, body_form, read_request
from pipeline.wire.envelope import Signal

TENANT: Final = "X-Scope-OrgID"
_INFLATED_FACTOR: Final = 8
"""How much a compressed body of text is expected to grow, which decides where it is read; the bound is another."""


async def answer_loki(asked: Asked) -> web.Response:
    """Take a request of Loki's push API."""
    core, body, sender = asked.core, asked.body, asked.sender
    form = _form(asked.request)

    def judge(scratch: bytearray | None) -> Judged:
        if form.is_block:
            return accept_block(LOGS, body, sender, core.senders, core.rules, scratch=scratch)
        try:
            raw = read_request(body, form, core.rules.max_raw_bytes)
        except BadRequestError as error:
            return Refusal(error.status, error.reason)
        return accept_raw(LOGS, raw, sender, core.senders, core.rules)

    cost_bytes = raw_size(body) if form.is_block else len(body) * JSON_FACTOR
    cost_bytes *= _INFLATED_FACTOR if form.encoding else 1
    return await store(asked, Signal.LOGS, Request(judge, cost_bytes, len(body), asked.header(TENANT)))


def check_loki(request: web.BaseRequest) -> Refusal | None:
    """Look at a push request's headers: what its body is, and whose it is said to be."""
    try:
        _form(request)
    except BadRequestError as error:
        return Refusal(error.status, error.reason)
    return check_tenant(request.headers.get(TENANT, ""))


async def answer_clymene_logs(asked: Asked) -> web.Response:
    """Take Clymene's `POST /api/logs`: a batch in JSON, whatever its headers say."""
    core, body, sender = asked.core, asked.body, asked.sender
    batch = await core.judge(len(body) * JSON_FACTOR, lambda _: read_batch(body, core.rules.max_raw_bytes))
    if isinstance(batch, Refusal):
        return refuse(batch)
    if (refusal := check_tenant(batch.tenant)) is not None:
        return refuse(refusal)
    request = Request(
        lambda _: accept_raw(LOGS, batch.raw, sender, core.senders, core.rules), len(batch.raw), len(body), batch.tenant
    )
    return await store(asked, Signal.LOGS, request)


def _form(request: web.BaseRequest) -> Form:
    headers = request.headers
    return body_form(request.rel_url.raw_path, headers.get("Content-Type", ""), headers.get("Content-Encoding", ""))
