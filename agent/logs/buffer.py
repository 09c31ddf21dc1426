"""The buffer of logs, which loses nothing: where it is full, whoever reads waits (ARCHITECTURE 7).

Neither room nor age evicts: a log line is there once, and its file stays where it is until it is read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from agent.signal_buffer import SignalBuffer
from pipeline.log.interface import Appending, LogFullError
from pipeline.wire.envelope import LOGS_ENCODING, Headers, Signal, to_headers

FULL_RETRY_S: Final = 0.5
HEADER_BYTES: Final = 4096
"""What an envelope takes at most, with names as long as they may be."""


@dataclass(frozen=True, slots=True)
class LogBatch:
    """One batch: `snappy(logproto.PushRequest)` of one tenant. Times are Unix milliseconds."""

    payload: bytes
    items: int
    raw_bytes: int
    earliest_ms: int
    latest_ms: int
    tenant: str = ""


@dataclass(slots=True)
class LogBuffer(SignalBuffer):
    """Batches of log entries between reading and sending, and the state of what reads them."""

    signal: ClassVar[Signal] = Signal.LOGS
    encoding: ClassVar[str] = LOGS_ENCODING
    items: ClassVar[str] = "log entries"

    @property
    def max_batch_bytes(self) -> int:
        """How long one batch's payload may be."""
        return self.log.max_record_bytes - HEADER_BYTES

    @property
    def most_at_once_bytes(self) -> int:
        """How much one transaction may hold and still find room in an empty buffer."""
        return max(self.max_batch_bytes, self.log.limit_bytes() // 4)

    async def append(self, lane: int, batches: Sequence[LogBatch], state: Mapping[bytes, bytes | None]) -> None:
        """Keep batches and state in one transaction; both are on disk when this returns.

        Raises LogFullError where there is no room, and TransientError where the disk does not take it just now: nothing
        was kept then. One call a lane at a time.
        """
        records = [(to_headers(self.envelope(lane, batch, tenant=batch.tenant)), batch.payload) for batch in batches]
        size = sum(len(payload) for _, payload in records)
        if size and not self.file.logs_may_take(size):
            raise LogFullError(f"logs hold {self.file.logs_bytes} bytes, which is their share", FULL_RETRY_S)
        await (await self._place(lane, records, state))
        # Until `settle` counts anew.
        self.file.logs_bytes += size
        if batches:
            self.metrics.buffered_entries.inc(sum(batch.items for batch in batches))
            self.tell_changed()

    async def _place(
        self, lane: int, records: Sequence[tuple[Headers, bytes]], state: Mapping[bytes, bytes | None]
    ) -> Appending:
        while True:
            try:
                return await self.log.append_together(self.partition(lane), records, state=state)
            except LogFullError:
                if not await self.file.yield_to_logs():
                    raise

    async def start(self) -> None:
        """Do what every buffer does, and count what is held."""
        await SignalBuffer.start(self)
        await self._count()

    async def settle(self) -> None:
        """Do what every buffer does, and count what is held then."""
        await SignalBuffer.settle(self)
        await self._count()

    async def _count(self) -> None:
        self.file.logs_bytes = await self.log.held_bytes(self.signal)
