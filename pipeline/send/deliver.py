"""From records to settled: retry while nothing is wrong with the data, split what is refused, until everything is
either delivered or handed to `refuse` with the store's words.

Order is kept where it matters: records one after the other, samples of one series one after the other. Series of one
record are independent of one another, so a refused record is halved breadth first, which finds a few bad series among
thousands with few requests and gives up soon where everything is bad.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from pipeline.delivery import Backoff, Delivered, Outcome, Rejected, Retry, TooLarge
from pipeline.send.bisect import Piece, halves, join, sample_halves
from pipeline.wire.errors import MalformedError

Answer = Delivered | Rejected | TooLarge
"""An outcome that is about the data."""

Send = Callable[[bytes, int], Awaitable[Outcome]]
"""Sends one payload with that many items, once."""


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
    tally: Tally = field(default_factory=Tally)

    async def run(self, pieces: Sequence[Piece]) -> Tally:
        """Settle every piece; returns when all are. Raises only what `refuse` raises, and when cancelled."""
        outcome, pieces = await self._attempt(pieces)
        if isinstance(outcome, Delivered):
            self.tally.delivered += sum(piece.items for piece in pieces)
        elif len(pieces) > 1:
            middle = len(pieces) // 2
            await self.run(pieces[:middle])
            await self.run(pieces[middle:])
        else:
            await self._narrow(pieces[0], outcome)
        return self.tally

    async def _attempt(self, pieces: Sequence[Piece]) -> tuple[Answer, Sequence[Piece]]:
        """Send until the answer is about the data; where one before it may have been lost, the pieces are in doubt."""
        payload, items = join(pieces), sum(piece.items for piece in pieces)
        in_doubt = False
        while isinstance(outcome := await self.send(payload, items), Retry):
            in_doubt = in_doubt or outcome.perhaps_taken
            await self.sleep(self.backoff.next_s(outcome.after_s))
        self.backoff.reset()
        return outcome, [replace(piece, in_doubt=True) for piece in pieces] if in_doubt else pieces

    async def _narrow(self, record: Piece, outcome: Rejected | TooLarge) -> None:
        """Find which series of a record are refused; deliver the others."""
        budget = _Budget(self.limits)
        open_ends = deque([(record, outcome)])
        while open_ends:
            piece, outcome = open_ends.popleft()
            # Decoding a large record takes too long for the loop.
            parts = None if budget.spent() else await asyncio.to_thread(_halves, piece)
            if parts is None:
                await self._narrow_samples(piece, outcome, budget)
                continue
            for part in parts:
                answer, (tried,) = await self._attempt([part])
                budget.count(answer)
                if isinstance(answer, Delivered):
                    self.tally.delivered += tried.items
                else:
                    open_ends.append((tried, answer))

    async def _narrow_samples(self, series: Piece, outcome: Rejected | TooLarge, budget: "_Budget") -> None:
        """Find which samples of a series are refused, in their order; deliver the others."""
        parts = None if budget.spent() else _sample_halves(series)
        if parts is None:
            await self._give_up(series, outcome)
            return
        for part in parts:
            answer, (tried,) = await self._attempt([part])
            budget.count(answer)
            if isinstance(answer, Delivered):
                self.tally.delivered += tried.items
            else:
                await self._narrow_samples(tried, answer, budget)

    async def _give_up(self, piece: Piece, outcome: Rejected | TooLarge) -> None:
        refusal = outcome if isinstance(outcome, Rejected) else Rejected(outcome.reason, 413)
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

    def count(self, outcome: Outcome) -> None:
        self.requests += 1
        # A request that was too large says nothing about what is in it.
        self.fruitful = self.fruitful or not isinstance(outcome, Rejected)

    def spent(self) -> bool:
        return self.requests >= (self.limits.max_requests if self.fruitful else self.limits.max_fruitless)


def _halves(piece: Piece) -> tuple[Piece, Piece] | None:
    try:
        return halves(piece)
    except MalformedError:
        return None  # the store's words stay the reason


def _sample_halves(piece: Piece) -> tuple[Piece, Piece] | None:
    try:
        return sample_halves(piece)
    except MalformedError:
        return None
