"""Where a document goes and what it is called: decided by its record's envelope alone, so that it is the same when the
record is delivered again, by whomever and whenever.

An id is 18 bytes and an ordinal, as URL-safe base64: 10 bytes that stand for (cluster, agent, epoch, lane), 8 for the
sequence; the ordinal is the document's place in the batch. Ids of neighbours share all but their end, which the server
stores and looks up cheaply. Four characters of base64 hold three whole bytes, so that an ordinal is simply appended.

What is a part of a record only (a dead letter that is sent again) has another numbering within: its ids are made of its
contents instead of the sequence.
"""

import base64
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import blake2b
from typing import Final

from crc32c import crc32c

from pipeline.wire.envelope import Envelope

_DIGITS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_PAIRS: Final = [(first + second).encode() for first in _DIGITS for second in _DIGITS]
_PAIR: Final = len(_PAIRS)


def id_prefix(envelope: Envelope, payload: bytes) -> bytes:
    """Return what the ids of a record's documents begin with: 24 characters."""
    owner = _owner(envelope.cluster, envelope.agent, envelope.epoch, envelope.lane)
    if crc32c(payload) == envelope.crc32c:
        return base64.urlsafe_b64encode(owner + (envelope.sequence & 0xFFFF_FFFF_FFFF_FFFF).to_bytes(8, "big"))
    return base64.urlsafe_b64encode(owner + blake2b(payload, digest_size=8).digest())


@lru_cache(maxsize=4096)
def _owner(cluster: str, agent: str, epoch: int, lane: int) -> bytes:
    return blake2b(f"{cluster}\0{agent}\0{epoch:x}\0{lane}".encode(), digest_size=10).digest()


def ordinals(first: int) -> Iterator[bytes]:
    """Number documents from `first`: four characters each, more from 16,777,216 on."""
    high = first // _PAIR
    low = first % _PAIR
    while True:
        above = _PAIRS[high] if high < _PAIR else _PAIRS[high % _PAIR] + b"%d." % (high // _PAIR)
        for pair in _PAIRS[low:]:
            yield above + pair
        high, low = high + 1, 0


def index_of(prefix: str, signal: str, dataset: str, created_ms: int | None) -> str:
    """Return the index of the day (UTC) on which a batch was made, or the data stream where no time is given."""
    name = f"{prefix}-{signal}-{dataset}"
    return name if created_ms is None else f"{name}-{_day(created_ms // 86_400_000)}"


@lru_cache(maxsize=64)
def _day(number: int) -> str:
    try:
        return f"{datetime.fromtimestamp(number * 86_400, UTC):%Y.%m.%d}"
    except (OverflowError, ValueError, OSError):
        return "1970.01.01"  # no clock says this
