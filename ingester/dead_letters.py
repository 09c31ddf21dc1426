"""Dead letters: what a store refused for good, or what is no record of ours, kept with the reason and its way back.

Topic `<prefix>dead-letters`, one partition. Payload: what was refused, in the signal's own encoding (for a poison
record the whole payload). Headers: those of the record it is from, and `dead-…` beside them.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from pipeline.delivery import Backoff
from pipeline.errors import PermanentError, TransientError
from pipeline.log.interface import Log, Partition, Record
from pipeline.send.codec import Codec
from pipeline.wire.envelope import Headers
from pipeline.wire.errors import MalformedError

logger = logging.getLogger(__name__)

DEAD_LETTERS_TOPIC = "dead-letters"
_PREFIX: Final = "dead-"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One refusal. `status` is HTTP's, 0 where nobody could read it; `items` 0 where they cannot be counted."""

    sink: str
    status: int
    reason: str
    items: int
    source: Partition
    source_offset: int
    at_ms: int
    original: Headers
    payload: bytes


def to_headers(letter: DeadLetter) -> Headers:
    """Encode as record headers."""
    return (
        *letter.original,
        (_PREFIX + "sink", letter.sink.encode()),
        (_PREFIX + "status", b"%d" % letter.status),
        (_PREFIX + "reason", letter.reason.encode()),
        (_PREFIX + "items", b"%d" % letter.items),
        (_PREFIX + "topic", letter.source.topic.encode()),
        (_PREFIX + "partition", b"%d" % letter.source.number),
        (_PREFIX + "offset", b"%d" % letter.source_offset),
        (_PREFIX + "at_ms", b"%d" % letter.at_ms),
    )


def from_record(record: Record) -> DeadLetter:
    """Decode a record of the topic; raises MalformedError."""
    found = {name[len(_PREFIX) :]: value for name, value in record.headers if name.startswith(_PREFIX)}
    try:
        return DeadLetter(
            sink=found["sink"].decode(),
            status=int(found["status"]),
            reason=found["reason"].decode(),
            items=int(found["items"]),
            source=Partition(found["topic"].decode(), int(found["partition"])),
            source_offset=int(found["offset"]),
            at_ms=int(found["at_ms"]),
            original=tuple(header for header in record.headers if not header[0].startswith(_PREFIX)),
            payload=record.payload,
        )
    except (KeyError, ValueError) as error:
        raise MalformedError(f"not a dead letter: {error!r}") from error


@dataclass(slots=True)
class DeadLetters:
    """Where a sink's dead letters go."""

    log: Log
    at: Partition
    sink: str
    codec: Codec
    clock: Callable[[], float] = time.time

    async def bury(self, record: Record, payload: bytes, items: int, *, status: int, reason: str) -> None:
        """Keep `payload`, all or a part of the record's, durably: waits as long as the log cannot take it."""
        letter = DeadLetter(
            sink=self.sink,
            status=status,
            reason=reason,
            items=items,
            source=record.at,
            source_offset=record.offset,
            at_ms=int(self.clock() * 1000),
            original=record.headers,
            payload=payload,
        )
        try:
            await self._append(to_headers(letter), payload)
        except PermanentError:
            # A record that just fitted into the log does not fit again with a reason beside it.
            await self._bury_parts(record, letter)

    async def _bury_parts(self, record: Record, letter: DeadLetter) -> None:
        try:
            parts = await asyncio.to_thread(self.codec.halves, letter.payload)
        except MalformedError:
            parts = None
        if parts is not None:
            for part in parts:
                await self.bury(record, part.payload, part.items, status=letter.status, reason=letter.reason)
            return
        reason = f"{letter.reason} (the payload is too large to be kept here: it stays at its source)"
        await self._append(to_headers(replace(letter, reason=reason, payload=b"")), b"")

    async def _append(self, headers: Headers, payload: bytes) -> None:
        backoff = Backoff()
        while True:
            try:
                await (await self.log.append(self.at, headers, payload))
                return
            except TransientError as error:
                logger.warning(
                    "dead letter cannot be written, trying again", extra={"sink": self.sink, "reason": str(error)}
                )
                await asyncio.sleep(backoff.next_s(error.retry_after_s))
