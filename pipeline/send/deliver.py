"""From records to settled: retry while nothing is wrong with the data, split what is refused, until everything is
either delivered or handed to `refuse` with the store's words.

Order is kept where it matters: records one after the other, items of one series or stream one after the other. Series
of one record are independent of one another, so a refused record is halved breadth first, which finds a few bad series
among thousands with few requests and gives up soon where everything is bad. A store that says itself what it does not
take (`Partly`) spares all that.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

from pipeline.delivery import Backoff, Delivered, Outcome, Partly, Rejected, Retry, TooLarge
from pipeline.send.request import Piece, Request
from pipeline.wire.errors import MalformedError

Refusal = Rejected | TooLarge
"""The store has nothing of a request, and will not take it as it is."""
Answer = Delivered | Partly | Refusal
"""An outcome that is about the data."""

Send = Callable[[Request], Awaitable[Outcome]]
"""Sends one request, once."""

Note = Callable[[Outcome], None]
"""Is told what came of every request, those that are sent again included."""


class Refuse(Protocol):
    """Takes what a store refuses for good."""

    async def __call__(self, piece: Piece, refusal: Rejected) -> None:
        """Keep the piece, and why it was refused, before returning."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How many requests a refused record may cost before what is left of it is refused as it is."""

    max_requests: int = 512
    max_fruitless: int = 32
    """The same bound for a record of which nothing has been taken so far."""


@dataclass(slots=True)
class Tally:
    """What became of the items of one delivery."""

    delivered: int = 0
    already: int = 0
    """In doubt and refused as duplicates: the store had them before a crash or a lost answer. Not in `delivered`."""
    refused: int = 0


@dataclass(slots=True)
class Delivery:
    """One delivery of consecutive records of one partition, cluster and tenant."""

    send: Send
    refuse: Refuse
    limits: Limits = Limits()
    backoff: Backoff = field(default_factory=Backoff)
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    note: Note | None = None
    tally: Tally = field(default_factory=Tally)

    async def run(self, request: Request) -> Tally:
        """Settle every piece; returns when all are. Raises only what `refuse` raises, and when cancelled."""
        refusal, request = await self._try(request)
        pieces = request.pieces
        if refusal is not None and len(pieces) > 1:
            middle = len(pieces) // 2
            await self.run(request.of(*pieces[:middle]))
            await self.run(request.of(*pieces[middle:]))
        elif refusal is not None:
            await self._narrow(request, refusal)
        return self.tally

    async def _try(self, request: Request) -> tuple[Refusal | None, Request]:
        """Send, and settle what the store answered for; returns the refusal where it has nothing of the request."""
        answer, request = await self._attempt(request)
        if isinstance(answer, Delivered):
            self.tally.delivered += request.items
        elif isinstance(answer, Partly):
            await self._settle(request, answer)
        else:
            return answer, request
        return None, request

    async def _attempt(self, request: Request) -> tuple[Answer, Request]:
        """Send until the answer is about the data; where one before it may have been lost, the pieces are in doubt."""
        while True:
            outcome = await self.send(request)
            if self.note is not None:
                self.note(outcome)
            if isinstance(outcome, Partly) and outcome.retry is not None:
                before, retry = request.items, outcome.retry
                request = await self._settle(request, outcome)
                if request.items < before:
                    self.backoff.reset()
            elif isinstance(outcome, Retry):
                retry = outcome
            else:
                self.backoff.reset()
                return outcome, request
            if retry.perhaps_taken and not all(piece.in_doubt for piece in request.pieces):
                request = request.in_doubt()
            await self.sleep(self.backoff.next_s(retry.after_s))

    async def _settle(self, request: Request, answer: Partly) -> Request:
        """Count what the store has, and give up what it refuses; return a request of what is left."""
        pieces = {piece.source: piece for piece in request.pieces}
        left = [
            replace(pieces[part.source], payload=part.payload, items=part.items, in_doubt=False) for part in answer.left
        ]
        rest = request.of(*left)
        self.tally.delivered += request.items - rest.items - sum(part.items for part in answer.refused)
        for part in answer.refused:
            piece = replace(pieces[part.source], payload=part.payload, items=part.items)
            await self._give_up(piece, Rejected(part.reason, part.status, part.duplicate))
        return rest

    async def _narrow(self, record: Request, refusal: Refusal) -> None:
        """Find which series of a record are refused; deliver the others."""
        budget = _Budget(self.limits)
        open_ends = deque([(record, refusal)])
        while open_ends:
            request, refusal = open_ends.popleft()
            # Decoding a large record takes too long for the loop.
            parts = None if budget.spent() else await asyncio.to_thread(_halves, request)
            if parts is None:
                await self._narrow_items(request, refusal, budget)
                continue
            for part in parts:
                refused, tried = await self._try(request.of(part))
                budget.count(refused)
                if refused is not None:
                    open_ends.append((tried, refused))

    async def _narrow_items(self, request: Request, refusal: Refusal, budget: "_Budget") -> None:
        """Find which items of a series are refused, in their order; deliver the others."""
        parts = None if budget.spent() else _item_halves(request)
        if parts is None:
            await self._give_up(
                request.pieces[0], refusal if isinstance(refusal, Rejected) else Rejected(refusal.reason, 413)
            )
            return
        for part in parts:
            refused, tried = await self._try(request.of(part))
            budget.count(refused)
            if refused is not None:
                await self._narrow_items(tried, refused, budget)

    async def _give_up(self, piece: Piece, refusal: Rejected) -> None:
        if piece.in_doubt and refusal.duplicate:
            self.tally.already += piece.items
            return
        await self.refuse(piece, refusal)
        self.tally.refused += piece.items


@dataclass(slots=True)
class _Budget:
    """The requests that narrowing one record has cost."""

    limits: Limits
    requests: int = 0
    fruitful: bool = False

    def count(self, refusal: Refusal | None) -> None:
        self.requests += 1
        # A request that was too large says nothing about what is in it.
        self.fruitful = self.fruitful or not isinstance(refusal, Rejected)

    def spent(self) -> bool:
        return self.requests >= (self.limits.max_requests if self.fruitful else self.limits.max_fruitless)


def _halves(request: Request) -> tuple[Piece, Piece] | None:
    try:
        return request.halves()
    except MalformedError:
        return None  # the store's words stay the reason


def _item_halves(request: Request) -> tuple[Piece, Piece] | None:
    try:
        return request.item_halves()
    except MalformedError:
        return None
