"""What is done again and again, and can as well be done later: a disk that is full for a while must not end it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from pipeline.errors import PipelineError

logger = logging.getLogger(__name__)


async def every(seconds: float, step: Callable[[], Awaitable[None]]) -> None:
    """Do it again and again, with so long in between, until cancelled."""
    while True:
        await asyncio.sleep(seconds)
        await attempt(step)


async def attempt(step: Callable[[], Awaitable[None]]) -> None:
    """Do something with the buffer; where that cannot be, it is logged."""
    try:
        await step()
    except PipelineError as error:
        logger.error("the buffer could not be written: %s", error)
