"""Dead letters: what a store refused for good, or what is no record of ours, kept with the reason and its way back.

Topic `<prefix>dead-letters`, one partition. Payload: what was refused, in the signal's own encoding (for a poison
record the whole payload). Headers: those of the record it is from, and `dead-…` beside them.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pipeline.delivery import Backoff
from pipeline.errors import TransientError
from pipeline.log.interface import Log, Partition, Record
from pipeline.wire.envelope import Headers
from pipeline.wire.errors import MalformedError

logger = logging.getLogger(__name__)

DEAD_LETTERS_TOPIC = "dead-letters"
_PREFIX: Final = "dead-"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One refusal. `status` is HTTP's, 0 where no store was asked; `items` 0 where they cannot be counted."""

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
    clock: Callable[[], float] = time.time

    async def bury(self, record: Record, payload: bytes, items: int, *, status: int, reason: str) -> None:
        """Keep `payload`, all or a part of the record's, durably: waits as long as the log cannot take it."""
        letter = DeadLetter(
            self.sink,
            status,
            reason,
            items,
            record.at,
            record.offset,
            int(self.clock() * 1000),
            record.headers,
            payload,
        )
        backoff = Backoff()
        while True:
            try:
                await (await self.log.append(self.at, to_headers(letter), payload))
                return
            except TransientError as error:
                logger.warning(
                    "dead letter cannot be written, trying again", extra={"sink": self.sink, "reason": str(error)}
                )
                await asyncio.sleep(backoff.next_s(error.retry_after_s))
