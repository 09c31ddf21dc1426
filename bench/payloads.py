"""What the pipe benchmark can push: each signal's requests, how they are sent, and how what arrives is counted."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from bench import lines, samples

_SNAPPY: Final = {"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy"}


@dataclass(frozen=True)
class Payloads:
    """One signal. `items` is what the figures count; `write_path` is where a store of it is written to."""

    items: str
    items_per_request: int
    headers: Mapping[str, str]
    requests: Callable[[int], Iterator[bytes]]
    count: Callable[[bytes], int]
    hashes: Callable[[bytes], Iterator[int]]
    write_path: str


METRICS: Final = Payloads(
    items="samples",
    items_per_request=2000,
    headers={**_SNAPPY, "X-Prometheus-Remote-Write-Version": "0.1.0"},
    requests=samples.requests,
    count=samples.count_series,
    hashes=samples.series_hashes,
    write_path="/api/v1/write",
)
LOGS: Final = Payloads(
    items="lines",
    items_per_request=2000,
    headers={"Content-Type": "application/x-protobuf"},
    requests=lines.requests,
    count=lines.count_lines,
    hashes=lines.line_hashes,
    write_path="/loki/api/v1/push",
)
SIGNALS: Final = {"metrics": METRICS, "logs": LOGS}
