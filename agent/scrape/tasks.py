"""Tasks of a pool: a loop at work, how it follows another and how it ends."""

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Final, TypeVar

from agent.scrape.loop import ScrapeLoop
from pipeline.wire.remote_write import Labels

logger = logging.getLogger(__name__)

STOP_S = 5.0
"""How long a scrape that has begun may take to finish when its target goes."""
_SLICE: Final = 100
"""Targets that are looked at, or begun, before the event loop runs again (ARCHITECTURE 11)."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Sending:
    """What of the agent's configuration shapes what every scrape sends."""

    external: Labels
    max_samples: int
    canonical_bounds: bool


@dataclass(slots=True)
class Running:
    """A loop at work, and what it was made with."""

    loop: ScrapeLoop
    task: asyncio.Task[None]
    sending: Sending


async def paced(items: Iterable[T]) -> AsyncIterator[T]:
    """Yield the items, and let the event loop run in between."""
    for number, item in enumerate(items, 1):
        yield item
        if not number % _SLICE:
            await asyncio.sleep(0)


async def run(loop: ScrapeLoop, before: Running | None) -> None:
    """Run a loop as soon as its predecessor has ended."""
    if before is not None:
        await finish(before.task)
    await loop.run()


async def finish(task: asyncio.Task[None]) -> None:
    """Wait until a loop that was told to stop has ended; cut a scrape short that takes too long."""
    try:
        await asyncio.wait([task], timeout=STOP_S)
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait([task])


def tell(url: str, task: asyncio.Task[None]) -> None:
    """Log what a task of ours ended with, if that is an error."""
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.error("scraping ended with a defect of ours", exc_info=error, extra={"target": url})


def spare_collector() -> None:
    """Tell the garbage collector that what lives now is no garbage."""
    # A full collection looks at everything that lives: at 50,000 targets it holds the loop for over a second. A loop
    # that ends is freed without the collector: it is in no cycle.
    gc.collect(1)
    gc.freeze()
