"""Samples that are sent one by one: staleness markers, reports, and samples with timestamps of their own."""

from collections import Counter
from collections.abc import Callable, Iterator
from operator import itemgetter

from agent.part import Part
from agent.scrape.stems import SAMPLE, STEM_TAIL_BYTES, SUFFIX_BYTES
from agent.scrape.timed import Loose
from pipeline.wire import snappy
from pipeline.wire.histogram import TIMESTAMP
from pipeline.wire.protobuf import encode_bytes, encode_varint
from pipeline.wire.remote_write import HISTOGRAM, encode_sample, encode_series

EncodeSingles = Callable[[list[Loose], int, int, int], tuple[bytes, int, int, int]]
"""`encode_singles`, or its compiled twin."""

_SLICE_SERIES = 5_000


def encode_loose(
    samples: list[Loose], max_samples: int, max_bytes: int, encode_singles: EncodeSingles
) -> Iterator[Part | None]:
    """Encode samples as requests; a series stands once in each, its samples in order and no time twice.

    None comes between slices of the work.
    """
    head_of = itemgetter(0)
    several: dict[bytes, dict[int, bytes]] = {}
    if len(set(map(head_of, samples))) < len(samples):
        yield None
        # Of two samples at one time the first counts, as in Prometheus.
        several = {head: {} for head, count in Counter(map(head_of, samples)).items() if count > 1}
        yield None
        for head, value, timestamp_ms in samples:
            if head in several:
                several[head].setdefault(timestamp_ms, value)
        yield None
        samples = [sample for sample in samples if sample[0] not in several]
    yield None
    start = 0
    while start < len(samples):
        raw, end, earliest_ms, latest_ms = encode_singles(samples, start, max_samples, max_bytes)
        yield Part(snappy.compress(raw), end - start, len(raw), earliest_ms, latest_ms)
        start = end
    yield from _encode_several(several, max_samples, max_bytes)


def encode_histograms(samples: list[Loose], max_samples: int, max_bytes: int) -> Iterator[Part | None]:
    """Encode samples whose values are native histograms, as `encode_loose` does with numbers."""
    by_series: dict[bytes, dict[int, bytes]] = {}
    for head, value, timestamp_ms in samples:
        by_series.setdefault(head, {}).setdefault(timestamp_ms, value)
    yield from _encode_several(by_series, max_samples, max_bytes, _encode_histogram)


def _encode_histogram(value: bytes, timestamp_ms: int) -> bytes:
    return encode_bytes(HISTOGRAM, value + TIMESTAMP + encode_varint(timestamp_ms))


def encode_singles(samples: list[Loose], start: int, max_samples: int, max_bytes: int) -> tuple[bytes, int, int, int]:
    """Encode samples, one a series, from number `start` on: a WriteRequest, the next number, earliest and latest time.

    At least one sample goes in, however long it is.
    """
    out: list[bytes] = []
    begins: dict[int, bytes] = {}
    suffixes: dict[int, bytes] = {}
    held_bytes, number = 0, start
    for head, value, timestamp_ms in samples[start : start + max_samples]:
        suffix = suffixes.get(timestamp_ms)
        if suffix is None:
            suffix = suffixes[timestamp_ms] = b"\x10" + encode_varint(timestamp_ms)
        if len(suffix) == SUFFIX_BYTES:
            size = len(head)
            begin = begins.get(size)
            if begin is None:
                begin = begins[size] = b"\x0a" + encode_varint(size + STEM_TAIL_BYTES + SUFFIX_BYTES)
            series = begin + head + SAMPLE + value + suffix
        else:
            series = encode_series(head + encode_sample(value, timestamp_ms))
        if out and held_bytes + len(series) > max_bytes:
            break
        out.append(series)
        held_bytes += len(series)
        number += 1
    times = [timestamp_ms for _, _, timestamp_ms in samples[start:number]]
    return b"".join(out), number, min(times), max(times)


def _encode_several(
    by_series: dict[bytes, dict[int, bytes]],
    max_samples: int,
    max_bytes: int,
    encode: Callable[[bytes, int], bytes] = encode_sample,
) -> Iterator[Part | None]:
    """Encode series with several samples each."""
    held: list[bytes] = []
    times: list[int] = []
    held_bytes = 0
    for number, (head, at) in enumerate(by_series.items()):
        ordered = sorted(at.items())
        for start in range(0, len(ordered), max_samples):
            some = ordered[start : start + max_samples]
            series = encode_series(head + b"".join([encode(value, time_ms) for time_ms, value in some]))
            if held and (len(times) + len(some) > max_samples or held_bytes + len(series) > max_bytes):
                yield _part(held, times)
                held, times, held_bytes = [], [], 0
            held.append(series)
            held_bytes += len(series)
            times += [time_ms for time_ms, _ in some]
        if number % _SLICE_SERIES == 0:
            yield None
    if held:
        yield _part(held, times)


def _part(series: list[bytes], times: list[int]) -> Part:
    raw = b"".join(series)
    return Part(snappy.compress(raw), len(times), len(raw), min(times), max(times))
