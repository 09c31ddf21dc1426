"""The sink of `pronoia up` for logs: the embedded store of logs of the same process."""

import asyncio
from dataclasses import dataclass

from ingester.sinks.store import MAX_REQUEST_BYTES
from pipeline.delivery import Delivered, Outcome, Partly, PartRefused, Retry, TooLarge
from pipeline.errors import PermanentError, TransientError
from pipeline.send.request import Piece, Request
from pipeline.store.logs import LogStore, Taken
from pipeline.wire import snappy
from pipeline.wire.envelope import Signal
from pipeline.wire.errors import MalformedError


@dataclass(slots=True)
class LogStoreSink:
    """A `Sink` on a store of logs that is opened and closed by whoever built it."""

    name: str
    store: LogStore
    signal: Signal = Signal.LOGS

    async def start(self) -> None:
        """Do nothing: the store is open."""

    async def close(self) -> None:
        """Do nothing: the store is closed by its owner."""

    async def send(self, request: Request) -> Outcome:
        """Store every piece by itself, all in one commit; a piece that cannot be stored is refused alone.

        Pieces are what the store tells repetitions by, so they are not joined.
        """
        if max(map(_raw_bytes, request.pieces)) > MAX_REQUEST_BYTES:
            return TooLarge(f"more than {MAX_REQUEST_BYTES} bytes when decompressed")
        try:
            answers = await asyncio.gather(*map(self._store, request.pieces))
        except TransientError as error:
            # What the disk refuses does not heal by itself; what merely waits names its delay. Some pieces may be
            # stored nevertheless.
            alarm = self.store.ready() is not None
            return Retry(str(error), error.retry_after_s, alarm=alarm, perhaps_taken=True)
        refused = tuple(answer for answer in answers if isinstance(answer, PartRefused))
        if refused:
            return Partly(refused)
        duplicates = sum(answer.duplicates for answer in answers if isinstance(answer, Taken))
        return Delivered(f"{duplicates} were stored already" if duplicates else "")

    async def _store(self, piece: Piece) -> Taken | PartRefused:
        try:
            return await self.store.append(snappy.decompress(piece.payload), in_doubt=piece.in_doubt)
        except (MalformedError, PermanentError) as error:
            return PartRefused(piece.source, piece.payload, piece.items, str(error), 400)


def _raw_bytes(piece: Piece) -> int:
    try:
        return snappy.decompressed_bytes(piece.payload)
    except MalformedError:
        return 0
