"""Sinks: where an ingester delivers to. Each kind has the same anatomy: build (config), classify (pure), send.

One more kind is a module here with a `build`, a line in `kinds.py`, and a section in `ingester.config.SinkConfig`.
"""

from typing import Protocol

from pipeline.delivery import Outcome
from pipeline.send.request import Request
from pipeline.wire.envelope import Signal


class Sink(Protocol):
    """One receiver of one signal. The engine joins, retries, splits, bisects and counts; a sink sends once and judges.

    `send` is called by several tasks at the same time, but never twice at once for one (partition, cluster, tenant):
    what came first in a lane is answered before the next of it is sent.
    """

    name: str
    signal: Signal

    async def start(self) -> None:
        """Open what it needs. A receiver that is down is no error: `send` answers Retry then. Raises PermanentError."""

    async def close(self) -> None:
        """Let go of everything; nothing is being sent any more."""

    async def send(self, request: Request) -> Outcome:
        """Send one request, its `payload` or its pieces one by one, and judge the answer.

        `Delivered` and `Partly` only when the receiver has it durably. Never raises for what a receiver or a network
        does: that is `Retry`. May be cancelled: what the receiver has then is in doubt, and will be sent again.
        """
