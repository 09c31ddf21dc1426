"""Batches cut to what a record may be. It happens where stages join many long lines into one entry, hardly ever."""

from dataclasses import replace

from agent.logs.buffer import LogBatch
from pipeline.send.codec import LOGS, Part
from pipeline.wire import snappy


def fitting(batch: LogBatch, max_bytes: int) -> list[LogBatch]:
    """Return the batch in parts of at most `max_bytes` each, in order; an entry that is longer by itself is left out.

    How many those are shows in the parts' items.
    """
    if len(batch.payload) <= max_bytes:
        return [batch]
    # By streams first: their order does not matter to anybody, that of a stream's entries does, and stays.
    parts = LOGS.halves(batch.payload) or LOGS.item_halves(batch.payload)
    return [one for part in parts or () for one in fitting(_part(batch, part), max_bytes)]


def _part(batch: LogBatch, part: Part) -> LogBatch:
    size = snappy.decompressed_bytes(part.payload)
    return replace(batch, payload=part.payload, items=part.items, raw_bytes=size)
