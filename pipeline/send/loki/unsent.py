"""What of a request Loki does not have: asked where something may have arrived before."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from pipeline.delivery import Retry
from pipeline.send.loki.parcel import payload_of, unpack
from pipeline.send.loki.present import Entries, Presence
from pipeline.send.loki.refused import Sent
from pipeline.send.request import Piece, Request
from pipeline.wire.errors import MalformedError
from pipeline.wire.snappy import join

_AT_ONCE: Final = 4


async def unsent(request: Request, presence: Presence) -> Request | Retry:
    """Return a request of what is not stored of the pieces in doubt, and of all others; a Retry while nobody can say.

    Raises NotAskableError and MalformedError.
    """
    doubted = [piece for piece in request.pieces if piece.in_doubt]
    parcel = unpack(request.of(*doubted))
    streams = await asyncio.to_thread(parcel.sent, parcel.fields)
    room = asyncio.Semaphore(_AT_ONCE)

    async def ask(labels: bytes, sent: Sequence[Sent]) -> Entries | Retry:
        times_ns = [one.entry.time_ns for one in sent]
        longest = max(len(one.field) for one in sent)
        async with room:
            try:
                return await presence.entries(labels, min(times_ns), max(times_ns), longest)
            except MalformedError:
                return set()  # what no labels are Loki has never taken

    asked = {labels: sent for labels, sent in streams.items() if sent}
    answers = await asyncio.gather(*(ask(labels, sent) for labels, sent in asked.items()))
    left: dict[int, list[tuple[bytes, list[Sent]]]] = {}
    for (labels, sent), there in zip(asked.items(), answers, strict=True):
        if isinstance(there, Retry):
            return there
        for source, missing in _missing(sent, there).items():
            left.setdefault(source, []).append((labels, missing))
    pieces = []
    for piece in request.pieces:
        if not piece.in_doubt:
            pieces.append(piece)
        elif (groups := left.pop(piece.source, None)) is not None:
            pieces.append(_rest(piece, groups))
    return request.of(*pieces)


def _missing(sent: Sequence[Sent], there: Entries) -> dict[int, list[Sent]]:
    out: dict[int, list[Sent]] = {}
    for one in sent:
        if (one.entry.time_ns, one.entry.line.decode(errors="replace")) not in there:
            out.setdefault(one.source, []).append(one)
    return out


def _rest(piece: Piece, groups: Sequence[tuple[bytes, list[Sent]]]) -> Piece:
    payload = join([payload_of(labels, sent) for labels, sent in groups])
    return replace(piece, payload=payload, items=sum(len(sent) for _, sent in groups))
