"""How far a sink is in a partition: in a compacted topic, for the partition's next owner and for status.

Key: `group/topic/partition`. Payload: zlib(JSON). Never ahead of the committed offset: the next owner reads forward
from here to there, so that nothing has to be written at every commit (ARCHITECTURE 5).
"""

import json
import logging
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from ingester import ledger, settle
from ingester.ledger import Ledger
from ingester.settle import Settled
from pipeline.log.interface import Log, Partition
from pipeline.wire.errors import MalformedError

logger = logging.getLogger(__name__)

SETTLED_TOPIC = "settled"
_FORMAT = 1
_ROOM_BYTES = 1024  # for the headers, and what a log adds
_HEADERS = (("pronoia-settled", b"1"),)


@dataclass(slots=True)
class Progress:
    """Everything before `offset` is settled, and came to what `settled` and `ledger` say.

    `clean`: the last owner let go with nothing sent beyond `offset`. `window` is what the owner kept to. `ahead` are
    ranges of offsets (first, behind the last, items rejected) beyond `offset` that are settled too, while something
    before them waits for a tenant in trouble; `parked` says that this is so, and that what is in doubt is to be counted
    per tenant, since the others went on.
    """

    offset: int
    settled: Settled
    ledger: Ledger = field(default_factory=dict)
    clean: bool = False
    window: int = 0
    head_ms: int = 0
    written_ms: int = 0
    rates: dict[str, float] = field(default_factory=dict)
    ahead: list[tuple[int, int, int]] = field(default_factory=list)
    parked: bool = False


def encode(progress: Progress) -> bytes:
    """Encode for the topic."""
    plain = {
        "format": _FORMAT,
        "offset": progress.offset,
        "clean": progress.clean,
        "window": progress.window,
        "head_ms": progress.head_ms,
        "written_ms": progress.written_ms,
        "rates": progress.rates,
        "ahead": progress.ahead,
        "parked": progress.parked,
        "ledger": ledger.to_plain(progress.ledger),
        "settled": settle.to_plain(progress.settled),
    }
    return zlib.compress(json.dumps(plain, separators=(",", ":")).encode(), 1)


def decode(payload: bytes) -> Progress:
    """Decode from the topic; raises MalformedError."""
    try:
        plain: dict[str, Any] = json.loads(zlib.decompress(payload))
        if plain["format"] != _FORMAT:
            raise MalformedError(f"format {plain['format']}; this reader knows {_FORMAT}")
        return Progress(
            offset=int(plain["offset"]),
            settled=settle.from_plain(plain["settled"]),
            ledger=ledger.from_plain(plain["ledger"]),
            clean=bool(plain["clean"]),
            window=int(plain["window"]),
            head_ms=int(plain["head_ms"]),
            written_ms=int(plain["written_ms"]),
            rates={str(name): float(rate) for name, rate in plain["rates"].items()},
            ahead=[(int(first), int(behind), int(rejected)) for first, behind, rejected in plain["ahead"]],
            parked=bool(plain["parked"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError, zlib.error) as error:
        raise MalformedError(f"not a settled state: {error}") from error


def key_of(group: str, at: Partition) -> bytes:
    """Return the key under which a partition's progress stands."""
    return f"{group}/{at.topic}/{at.number}".encode()


@dataclass(slots=True)
class ProgressLog:
    """The compacted topic."""

    log: Log
    at: Partition

    async def load(self, group: str, partitions: Collection[Partition]) -> dict[Partition, Progress]:
        """Return what is written about these partitions; raises TransientError."""
        return pick(await self.log.compacted(self.at), group, partitions)

    async def write(self, group: str, at: Partition, progress: Progress) -> None:
        """Write down, durably; raises TransientError. Forgets lanes where a record cannot hold all of them."""
        key, room = key_of(group, at), self.log.max_record_bytes - _ROOM_BYTES
        while len(payload := encode(progress)) + len(key) > room and progress.settled.lanes:
            logger.warning("too many lanes to remember", extra={"partition": at, "lanes": len(progress.settled.lanes)})
            progress.settled.forget(0, len(progress.settled.lanes) // 2)
        await (await self.log.append(self.at, _HEADERS, payload, key=key))


def pick(kept: Mapping[bytes, bytes], group: str, partitions: Collection[Partition]) -> dict[Partition, Progress]:
    """Pick a group's progress out of a compacted topic's content."""
    out = {}
    for at in partitions:
        payload = kept.get(key_of(group, at))
        if not payload:
            continue
        try:
            out[at] = decode(payload)
        except MalformedError as error:
            # Without it the partition still goes on from its committed offset: lanes are then first seen there.
            logger.error("settled state cannot be read", extra={"group": group, "partition": at, "reason": str(error)})
    return out
