"""Samples that are sent one by one: staleness markers, reports, and samples with timestamps of their own."""

from collections.abc import Iterable, Iterator

from agent.scrape.part import Part
from pipeline.wire import snappy
from pipeline.wire.remote_write import encode_sample, encode_series

Loose = tuple[bytes, bytes, int]
"""Encoded labels, value, time in Unix milliseconds."""


def encode_loose(samples: Iterable[Loose], max_samples: int, max_bytes: int) -> Iterator[Part]:
    """Encode samples as requests; a series stands once in each, its samples in order and no time twice."""
    by_series: dict[bytes, dict[int, bytes]] = {}
    for head, value, timestamp_ms in samples:
        # Of two samples at one time the first counts, as in Prometheus.
        by_series.setdefault(head, {}).setdefault(timestamp_ms, value)
    held: list[bytes] = []
    times: list[int] = []
    held_bytes = 0
    for head, at in by_series.items():
        ordered = sorted(at.items())
        for start in range(0, len(ordered), max_samples):
            some = ordered[start : start + max_samples]
            series = encode_series(head + b"".join([encode_sample(value, time_ms) for time_ms, value in some]))
            if held and (len(times) + len(some) > max_samples or held_bytes + len(series) > max_bytes):
                yield _part(held, times)
                held, times, held_bytes = [], [], 0
            held.append(series)
            held_bytes += len(series)
            times += [time_ms for time_ms, _ in some]
    if held:
        yield _part(held, times)


def _part(series: list[bytes], times: list[int]) -> Part:
    raw = b"".join(series)
    return Part(snappy.compress(raw), len(times), len(raw), min(times), max(times))
