"""The samples that the pipe benchmark pushes, and counting what arrives: remote write 1.0 only."""

import struct
from collections.abc import Iterator
from itertools import count

import cramjam

from pipeline.wire.remote_write import TIMESERIES, encode_labels, encode_sample, encode_series

SERIES = 100_000


def labels(i: int) -> dict[str, str]:
    """Return the label set of the i-th series, as a cAdvisor page would have it."""
    return {
        "__name__": "container_cpu_usage_seconds_total",
        "cluster": "c1",
        "container": f"c{i % 5}",
        "instance": "10.0.0.1:8080",
        "job": "ksm",
        "namespace": f"ns-{i % 50}",
        "node": f"node-{i % 100}",
        "pod": f"app-{i % 997}-{i:06x}-abcde",
        "uid": f"3f1c{i:08x}-aaaa-bbbb-cccc-0123456789ab",
    }


def requests(samples_per_request: int = 2000) -> Iterator[bytes]:
    """Make write requests without end: all series, one sample each, then all again 15 s later."""
    prefixes = [encode_labels(sorted(labels(i).items())) for i in range(SERIES)]
    for turn in count():
        timestamp_ms = 1_790_000_000_000 + turn * 15_000
        for first in range(0, SERIES, samples_per_request):
            body = b"".join(
                encode_series(prefixes[i] + encode_sample(struct.pack("<d", i + turn), timestamp_ms))
                for i in range(first, first + samples_per_request)
            )
            yield bytes(cramjam.snappy.compress_raw(body))


def _series(body: bytes) -> Iterator[tuple[bytes, int, int]]:
    raw = bytes(cramjam.snappy.decompress_raw(body))
    position, end = 0, len(raw)
    while position < end:
        tag = raw[position]
        position += 1
        length = shift = 0
        while True:
            byte = raw[position]
            position += 1
            length |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        if tag == TIMESERIES:
            yield raw, position, position + length
        position += length


def count_series(body: bytes) -> int:
    """Count the series of a compressed request (each carries one sample here)."""
    return sum(1 for _ in _series(body))


def series_hashes(body: bytes) -> Iterator[int]:
    """Yield a hash of every series with its sample, to tell what is lost from what came twice."""
    return (hash(raw[start:end]) for raw, start, end in _series(body))
