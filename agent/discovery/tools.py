"""What every kind of discovery is given, and how its failures are told."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from agent.discovery.groups import TargetGroup
from pipeline.errors import PipelineError
from pipeline.telemetry import DiscoveryMetrics

logger = logging.getLogger(__name__)

Groups = AsyncGenerator[list[TargetGroup], None]
"""One kind of discovery at work: all its groups, first after one try whatever came of it, then each time they change.

A failure is not raised: it is told through `Tools.failed`, and what was found last stays. Ends by cancellation
or `aclose` only.
"""


@dataclass(frozen=True, slots=True)
class Place:
    """Which discovery of which job: `http_sd_configs` number 0 of job `node`."""

    job: str
    kind: str
    index: int

    def __str__(self) -> str:
        return f"{self.job}: {self.kind}[{self.index}]"


@dataclass(slots=True)
class Tools:
    """The session that requests go through, the metrics, the time, and the last failure of each discovery."""

    session: aiohttp.ClientSession
    metrics: DiscoveryMetrics
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    clock: Callable[[], float] = time.monotonic
    failures: dict[tuple[Place, str], str] = field(default_factory=dict)
    shared: dict[object, Any] = field(default_factory=dict)
    """What discoveries share, by its type: the first makes it, all use it."""

    def failed(self, at: Place, what: str, error: PipelineError) -> None:
        """Count that `what` (a file, a URL) could not be read, and log it if it is news; its last good groups stay."""
        known, self.failures[at, what] = self.failures.get((at, what)), str(error)
        self.metrics.failures.labels(at.job, at.kind).inc()
        if known != str(error):  # A server that is away for an hour is asked many times.
            logger.error("discovery failed: what was found before stays", extra={"at": str(at), "reason": str(error)})

    def succeeded(self, at: Place, what: str) -> None:
        """Forget an earlier failure."""
        self.failures.pop((at, what), None)

    def has_failed(self, at: Place) -> bool:
        """Tell whether something of this discovery cannot be read now."""
        return any(place == at for place, _ in self.failures)

    def forget(self, at: Place) -> None:
        """Forget all failures of a discovery: it ends."""
        for key in [key for key in self.failures if key[0] == at]:
            del self.failures[key]
