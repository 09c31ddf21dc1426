"""What scraping gives on: encoded remote write requests, small enough for one record each."""

from dataclasses import dataclass


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
