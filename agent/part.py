"""What scraping gives on: encoded remote write requests, small enough for one record each."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipeline.wire import snappy


@dataclass(frozen=True, slots=True)
class Part:
    """One request of a scrape, ready to be kept and sent.

    `payload` is `snappy(prometheus.WriteRequest)` (remote write 1.0), `raw_bytes` its length when decompressed, `items`
    its samples. `earliest_ms` and `latest_ms` are the samples' first and last timestamps (Unix milliseconds); a part
    that carries only exemplars or metadata has no items, and the scrape's time in both. `traceparent` is the scrape's
    trace context, where it is traced.
    """

    payload: bytes
    items: int
    raw_bytes: int
    earliest_ms: int
    latest_ms: int
    traceparent: str = ""


def join_parts(parts: Sequence[Part], max_samples: int, max_bytes: int) -> list[Part]:
    """Join neighbours, in their order, as far as they stay within the samples and decompressed bytes of one record.

    Nothing is decompressed for it: blocks of snappy join, and so do messages of protobuf (ARCHITECTURE 1). What belongs
    to a trace is joined with its like only, so that the trace leads to what became of it.
    """
    return [_joined(group) for group in _groups(parts, max_samples, max_bytes)]


def _groups(parts: Sequence[Part], max_samples: int, max_bytes: int) -> Iterator[list[Part]]:
    group, samples, raw_bytes = list[Part](), 0, 0
    for part in parts:
        samples, raw_bytes = samples + part.items, raw_bytes + part.raw_bytes
        full = samples > max_samples or raw_bytes > max_bytes
        if group and (full or part.traceparent != group[0].traceparent):
            yield group
            group, samples, raw_bytes = [], part.items, part.raw_bytes
        group.append(part)
    if group:
        yield group


def _joined(parts: Sequence[Part]) -> Part:
    if len(parts) == 1:
        return parts[0]
    return Part(
        payload=snappy.join([part.payload for part in parts]),
        items=sum(part.items for part in parts),
        raw_bytes=sum(part.raw_bytes for part in parts),
        earliest_ms=min(part.earliest_ms for part in parts),
        latest_ms=max(part.latest_ms for part in parts),
        traceparent=parts[0].traceparent,
    )
