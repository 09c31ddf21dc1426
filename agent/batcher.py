"""Between scraping and the buffer: what the scrapes of a lane give within half a second becomes one batch.

A batch costs a row of the buffer, a request and an acknowledgement, however small it is. An agent with a thousand small
targets pays for a few batches a second this way, and not for a thousand; a page that fills batches by itself waits for
nobody. What waits here was acknowledged to nobody: a killed agent loses half a second of
scrapes, and a drained one none.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from agent.part import Part, join_parts
from pipeline.errors import PipelineError
from pipeline.telemetry import AgentMetrics

logger = logging.getLogger(__name__)

LINGER_S: Final = 0.5
MAX_WAITING_BYTES: Final = 16 * 2**20
"""Payload bytes that may wait; scraping waits beyond that."""
MAX_BATCH_BYTES: Final = 4 * 2**20
"""How long a joined batch may be when decompressed."""


class Keep(Protocol):
    """Where batches go: the buffer."""

    async def put(self, lane: int, parts: Sequence[Part]) -> None:
        """Keep batches of a lane, in this order; they are on disk when this returns. Raises PipelineError."""


@dataclass(slots=True)
class Batcher:
    """Collects parts by lane. `run` is its task; after `close` nothing may be put any more."""

    keep: Keep
    metrics: AgentMetrics
    max_samples: int
    linger_s: float = LINGER_S
    _waiting: dict[int, list[Part]] = field(default_factory=dict)
    _samples: dict[int, int] = field(default_factory=dict)
    _bytes: int = 0
    _some: asyncio.Event = field(default_factory=asyncio.Event)
    _enough: asyncio.Event = field(default_factory=asyncio.Event)
    _room: asyncio.Event = field(default_factory=asyncio.Event)
    _flushing: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def put(self, lane: int, parts: Sequence[Part]) -> None:
        """Take the parts of a scrape; waits only while there is no room."""
        while self._bytes >= MAX_WAITING_BYTES:
            self._room.clear()
            await self._room.wait()
        self._waiting.setdefault(lane, []).extend(parts)
        self._samples[lane] = self._samples.get(lane, 0) + sum(part.items for part in parts)
        self._bytes += sum(len(part.payload) for part in parts)
        self._some.set()
        if self._samples[lane] >= self.max_samples or self._bytes >= MAX_BATCH_BYTES:
            self._enough.set()

    async def run(self) -> None:
        """Write what has waited long enough, or is enough for a batch, until cancelled."""
        while True:
            await self._some.wait()
            try:
                async with asyncio.timeout(self.linger_s):
                    await self._enough.wait()
            except TimeoutError:
                pass
            await self.flush()

    async def flush(self) -> None:
        """Write everything that waits; it is on disk when this returns."""
        # One at a time: a lane's parts stay in their order.
        async with self._flushing:
            waiting, self._waiting, self._samples = self._waiting, {}, {}
            self._some.clear()
            self._enough.clear()
            await asyncio.gather(*(self._write(lane, parts) for lane, parts in waiting.items()))
            self._bytes -= sum(len(part.payload) for parts in waiting.values() for part in parts)
            self._room.set()

    async def _write(self, lane: int, parts: Sequence[Part]) -> None:
        try:
            await self.keep.put(lane, join_parts(parts, self.max_samples, MAX_BATCH_BYTES))
        except PipelineError as error:
            samples = sum(part.items for part in parts)
            self.metrics.dropped.inc(samples)
            logger.error("%d samples are lost: %s", samples, error, extra={"lane": lane})
