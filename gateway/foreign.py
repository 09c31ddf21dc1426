"""What every foreign sender's request goes through, whichever way it came: judged, appended, and what to say of it."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from gateway.accept import Accepted, show_all_refused
from gateway.core import Core, log_refusal
from gateway.publish import ForeignBatch, Publisher
from gateway.refusal import Refusal
from gateway.spans import note_accepted
from pipeline.errors import PipelineError
from pipeline.tracing import Span

_TENANT: Final = re.compile(r"[a-zA-Z0-9!\-_.*'()]{1,150}")

Judged = tuple[Accepted, ...] | Refusal


@dataclass(frozen=True, slots=True)
class Request:
    """One request: `judge` is given scratch memory, and takes as long as scanning `cost_bytes`.

    `size_bytes` is what was received. `tenant` is what the sender says, and counts where its cluster has none.
    """

    judge: Callable[[bytearray | None], Judged]
    cost_bytes: int
    size_bytes: int
    tenant: str = ""


class Outcome(NamedTuple):
    """What became of a request: `refusal` also where only a part was refused, and the rest is in the log."""

    refusal: Refusal | None
    judged: tuple[Accepted, ...] = ()
    batches: tuple[ForeignBatch, ...] = ()


async def take(core: Core, publisher: Publisher, request: Request, span: Span) -> Outcome:
    """Judge a request, append what is accepted of it, and wait until that is durable."""
    judged = await core.judge(request.cost_bytes, request.judge)
    if isinstance(judged, Refusal):
        return Outcome(judged)
    note_accepted(span, judged)
    batches: list[ForeignBatch] = []
    try:
        with span.child("append"):
            for accepted in judged:
                accepted.sender.took(request.size_bytes, publisher.signal, accepted.items)
                batches.append(await publisher.foreign(accepted, request.tenant, span.traceparent))
            for accepted, batch in zip(judged, batches, strict=True):
                await batch.durable()
                publisher.count(accepted)
    except PipelineError as error:
        return Outcome(log_refusal(error))
    refused = show_all_refused(judged)
    return Outcome(Refusal(400, refused) if refused else None, judged, tuple(batches))


def check_tenant(tenant: str) -> Refusal | None:
    """Refuse a name that Loki and its kin would refuse as a tenant's, several of them included; empty is none."""
    if not tenant or (_TENANT.fullmatch(tenant) and tenant not in (".", "..")):
        return None
    return Refusal(400, f"{tenant[:200]!r} is no tenant: one name of letters, digits and !-_.*'(), at most 150 of them")
