"""The sink of `pronoia up`: the embedded store of the same process."""

import logging
from dataclasses import dataclass
from typing import Final

from pipeline.delivery import Delivered, Outcome, Rejected, Retry, TooLarge
from pipeline.errors import PermanentError, TransientError
from pipeline.send.request import Request
from pipeline.store import Store
from pipeline.wire import snappy
from pipeline.wire.envelope import Signal
from pipeline.wire.errors import MalformedError

logger = logging.getLogger(__name__)

MAX_REQUEST_BYTES: Final = 64 << 20
"""What one request may hold when decompressed; the engine sends the halves of what is larger."""


@dataclass(slots=True)
class StoreSink:
    """A `Sink` on a store that is opened and closed by whoever built it."""

    name: str
    store: Store
    signal: Signal = Signal.METRICS

    async def start(self) -> None:
        """Do nothing: the store is open."""

    async def close(self) -> None:
        """Do nothing: the store is closed by its owner."""

    async def send(self, request: Request) -> Outcome:
        """Store once. Samples that the store has already are delivered: it keeps the first of each timestamp."""
        payload = request.payload
        try:
            if snappy.decompressed_bytes(payload) > MAX_REQUEST_BYTES:
                return TooLarge(f"more than {MAX_REQUEST_BYTES} bytes when decompressed")
            appended = await self.store.append(snappy.decompress(payload))
        except MalformedError as error:
            return Rejected(str(error), 400)
        except PermanentError as error:
            return Rejected(str(error), 400)
        except TransientError as error:
            # What the disk refuses does not heal by itself; what merely waits names its delay.
            return Retry(str(error), error.retry_after_s, alarm=self.store.ready() is not None)
        return Delivered(f"{appended.duplicates} were stored already" if appended.duplicates else "")
