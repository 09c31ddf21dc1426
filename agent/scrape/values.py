"""The ordinary samples of a protobuf page, ready to be joined: numbers, and native histograms among them.

As in `agent.scrape.stems` a stem is all of a TimeSeries but for the time, which is the same for all and comes last:

    0A <size> <labels> 12 10 09 <value, 8 bytes>               10 <timestamp, 6 bytes>
    0A <size> <labels> 22 <size> <prometheus.Histogram>        78 <timestamp, 6 bytes>
"""

from collections.abc import Iterator
from itertools import compress

from agent.scrape.stems import SUFFIX_BYTES, stem_of, suffix_of
from pipeline.wire import snappy
from pipeline.wire.histogram import TIMESTAMP
from pipeline.wire.protobuf import encode_varint
from pipeline.wire.remote_write import HISTOGRAM

VALUE_BYTES = 8
"""Of a number; whatever is longer is a native histogram."""
_HISTOGRAM = bytes([HISTOGRAM])


class Values:
    """See `agent.scrape.stems.StemStore`; a value may change from a number to a histogram, and back."""

    def __init__(self) -> None:
        self._heads: list[bytes] = []
        self._stems: list[bytes] = []
        self._numbers = bytearray()
        """For each series 1 if its value is a number, 0 if it is a histogram."""

    def __len__(self) -> int:
        return len(self._stems)

    def append(self, head: bytes, value: bytes) -> None:
        """Add a series."""
        self._heads.append(head)
        self._stems.append(_stem(head, value))
        self._numbers.append(len(value) == VALUE_BYTES)

    def drop(self, number: int) -> None:
        """Take a series out; the last one takes its number."""
        self._heads[number], self._stems[number] = self._heads[-1], self._stems[-1]
        self._numbers[number] = self._numbers[-1]
        self._heads.pop()
        self._stems.pop()
        self._numbers.pop()

    def set_value(self, number: int, value: bytes) -> None:
        """Give a series its new value."""
        if len(value) == VALUE_BYTES and self._numbers[number]:
            self._stems[number] = self._stems[number][:-VALUE_BYTES] + value
            return
        self._stems[number] = _stem(self._heads[number], value)
        self._numbers[number] = len(value) == VALUE_BYTES

    def head(self, number: int) -> bytes:
        """Return a series' encoded labels."""
        return self._heads[number]

    def is_number(self, number: int) -> bool:
        """Tell whether a series' value is a number."""
        return bool(self._numbers[number])

    def requests(self, at_ms: int, max_samples: int, max_bytes: int) -> Iterator[tuple[bytes, int, int]]:
        """Encode all samples at one time: (snappy block, samples, bytes before compression)."""
        if not self._stems:
            return
        suffix = suffix_of(at_ms)
        start = 0
        for end in self._ends(max_samples, max_bytes):
            stems, numbers = self._stems[start:end], self._numbers[start:end]
            raw = suffix.join([*compress(stems, numbers), b""])
            if 0 in numbers:
                histograms = compress(stems, map((0).__eq__, numbers))
                raw += (TIMESTAMP + suffix[1:]).join([*histograms, b""])
            yield snappy.compress(raw), end - start, len(raw)
            start = end

    def _ends(self, max_samples: int, max_bytes: int) -> Iterator[int]:
        """Yield where each request ends."""
        held_bytes = start = 0
        for number, size in enumerate(map(len, self._stems)):
            if number > start and (number - start == max_samples or held_bytes + size > max_bytes):
                yield number
                held_bytes, start = 0, number
            held_bytes += size + SUFFIX_BYTES
        yield len(self._stems)


def _stem(head: bytes, value: bytes) -> bytes:
    if len(value) == VALUE_BYTES:
        return stem_of(head, value)
    histogram = _HISTOGRAM + encode_varint(len(value) + SUFFIX_BYTES) + value
    return b"\x0a" + encode_varint(len(head) + len(histogram) + SUFFIX_BYTES) + head + histogram
