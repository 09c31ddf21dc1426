"""Series that bring timestamps of their own: reading them off a line, and taking what is newer than before.

Kubelet's cAdvisor pages consist of them, so both steps have a compiled twin in `_page.pyx`.
"""

import math
import re
from dataclasses import dataclass

from pipeline.wire.exposition import Format
from pipeline.wire.remote_write import pack_double

Loose = tuple[bytes, bytes, int]
"""A sample that is sent by itself: encoded labels, value, time in Unix milliseconds."""
VALUE_BYTES = 8
"""Of a value that is a number; whatever is longer is a native histogram, as `Histogram.encode` writes it."""
NUMBER = rb"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)"
_TAIL = {
    Format.TEXT: re.compile(rb"[ \t]+" + NUMBER + rb"[ \t]+([0-9]{1,18})[ \t]*").fullmatch,
    # Fifteen digits of seconds are still far from what 64 bits of milliseconds hold.
    Format.OPENMETRICS: re.compile(rb" " + NUMBER + rb" ([0-9]{1,15}(?:\.[0-9]*)?)").fullmatch,
}


@dataclass(slots=True)
class Timed:
    """A series with timestamps of its own: `head` are its encoded labels, `last_ms` and `value` its newest sample."""

    head: bytes
    last_ms: int = -(2**63)
    value: bytes = b""
    live: bool = False
    """Whether a staleness marker is owed when it goes: only with track_timestamps_staleness."""


Pending = tuple[int, bytes, int]
"""A sample that has not been compared with its series' last one: the series' number, value, Unix milliseconds.

It names no object, so that the garbage collector need not follow a page's many of them.
"""


def split_timed(text: bytes, page_format: Format) -> tuple[bytes, int] | None:
    """Read what follows a series where that is a decimal number and a timestamp: value, time in Unix milliseconds.

    None leaves it to the full reader, with which it agrees on what it reads.
    """
    found = _TAIL[page_format](text)
    if found is None:
        return None
    number = float(found[1])
    if math.isinf(number):
        return None
    time = found[2]
    return pack_double(number), int(time) if page_format is Format.TEXT else int(float(time) * 1000)


def settle(pending: list[Pending], known: dict[int, Timed], loose: list[Loose], track: bool) -> tuple[int, int]:
    """Add to `loose` what is newer than each series' last sample; return what is older, and what contradicts it.

    A plain repetition counts as neither.
    """
    out_of_order = duplicates = 0
    for number, value, timestamp_ms in pending:
        timed = known[number]
        timed.live = track
        last_ms = timed.last_ms
        if timestamp_ms > last_ms:
            timed.last_ms, timed.value = timestamp_ms, value
            loose.append((timed.head, value, timestamp_ms))
        elif timestamp_ms < last_ms:
            out_of_order += 1
        elif value != timed.value:
            duplicates += 1
    return out_of_order, duplicates
