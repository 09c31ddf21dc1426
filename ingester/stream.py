"""Admitted records: each until it is committed, those of a cluster and tenant as a stream, and the requests of it.

Pure, but for the task that a stream remembers.
"""

import asyncio
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from ingester.ledger import Counts
from ingester.settle import LaneKey, Verdict
from pipeline.delivery import Retry
from pipeline.log.interface import Record
from pipeline.wire.envelope import Envelope

_LATE_MS = 60_000
StreamKey = tuple[str, str]
"""(cluster, tenant)"""


@dataclass(slots=True, eq=False)
class Entry:
    """An admitted record until it is committed. `items` are those to be sent; `record` is let go of once it is done."""

    offset: int
    append_ms: int
    record: Record | None
    items: int = 0
    raw_bytes: int = 0
    cluster: str = ""
    tenant: str = ""
    verdict: Verdict | None = None
    envelope: Envelope | None = None
    counts: Counts = field(default_factory=Counts)
    earliest_ms: int = 0
    latest_ms: int = 0
    doubt: bool = False
    counted: bool = False
    """Its items count towards the window."""
    sent: bool = False
    poison: str = ""
    traceparent: str = ""
    done: bool = False


@dataclass(slots=True)
class Stream:
    """The records of one cluster and tenant that wait, and the request that is in flight."""

    cluster: str
    tenant: str
    waiting: deque[Entry] = field(default_factory=deque)
    items: int = 0
    task: asyncio.Task[None] | None = None
    trouble: Retry | None = None


def next_request(stream: Stream, max_items: int, max_raw_bytes: int, *, late_first: bool) -> list[Entry]:
    """Take the records of the next request: at least one, in order; with `late_first` what comes late begins one."""
    entries: list[Entry] = []
    items = raw_bytes = latest_ms = 0
    latest_key: LaneKey | None = None
    while stream.waiting:
        entry = stream.waiting[0]
        items, raw_bytes = items + entry.items, raw_bytes + entry.raw_bytes
        verdict = entry.verdict
        assert verdict is not None
        if entries and (
            items > max_items
            or raw_bytes > max_raw_bytes
            # Behind newer samples in the same request, Prometheus without an out-of-order window says 204 and drops it.
            or (late_first and verdict.missing_records < 0)
            or (late_first and verdict.key != latest_key and 0 < entry.earliest_ms < latest_ms - _LATE_MS)
        ):
            break
        if entry.latest_ms >= latest_ms:
            latest_ms, latest_key = entry.latest_ms, verdict.key
        entries.append(stream.waiting.popleft())
        stream.items -= entry.items
    return entries


def ranges(entries: Iterable[Entry]) -> list[tuple[int, int, int]]:
    """Return what is done as ranges of offsets; a record of which something was rejected is one of its own."""
    out: list[tuple[int, int, int]] = []
    joinable = False
    for entry in entries:
        rejected = entry.counts.rejected
        if not entry.done:
            joinable = False
        elif joinable and not rejected:
            out[-1] = (out[-1][0], entry.offset + 1, 0)
        else:
            out.append((entry.offset, entry.offset + 1, rejected))
            joinable = not rejected
    return out
