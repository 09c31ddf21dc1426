"""The ordinary samples of a page, encoded and ready to be joined (in plain Python).

A stem is a TimeSeries up to and including its sample's value. What is left of it, the timestamp, is the same for all:

    0A <size> <labels> 12 10 09 <value, 8 bytes>   10 <timestamp, 6 bytes>
"""

from collections.abc import Iterator
from typing import Protocol

from pipeline.wire import snappy
from pipeline.wire.protobuf import encode_varint

SAMPLE = b"\x12\x10\x09"
"""What stands between labels and value: a sample of 16 bytes, its value first."""
STEM_TAIL_BYTES = len(SAMPLE) + 8
SUFFIX_BYTES = 7


class StemStore(Protocol):
    """The ordinary series of a page, numbered from 0 without gaps."""

    def __len__(self) -> int:
        """Return how many there are."""

    def append(self, head: bytes, value: bytes) -> None:
        """Add a series: encoded labels and its sample's eight bytes."""

    def drop(self, number: int) -> None:
        """Take a series out; the last one takes its number."""

    def set_value(self, number: int, value: bytes) -> None:
        """Give a series its new value."""

    def head(self, number: int) -> bytes:
        """Return a series' encoded labels."""

    def requests(self, at_ms: int, max_samples: int, max_bytes: int) -> Iterator[tuple[bytes, int, int]]:
        """Encode all samples at one time: (snappy block, samples, bytes before compression)."""


class Stems:
    """See `StemStore`; `stems` may be changed in place, but for their lengths."""

    def __init__(self) -> None:
        self.stems: list[bytes] = []
        self._bytes = 0

    def __len__(self) -> int:
        return len(self.stems)

    def append(self, head: bytes, value: bytes) -> None:
        """Add a series."""
        stem = stem_of(head, value)
        self.stems.append(stem)
        self._bytes += len(stem)

    def drop(self, number: int) -> None:
        """Take a series out."""
        self._bytes -= len(self.stems[number])
        self.stems[number] = self.stems[-1]
        self.stems.pop()

    def set_value(self, number: int, value: bytes) -> None:
        """Give a series its new value."""
        self.stems[number] = self.stems[number][:-8] + value

    def head(self, number: int) -> bytes:
        """Return a series' encoded labels."""
        return head_of(self.stems[number])

    def requests(self, at_ms: int, max_samples: int, max_bytes: int) -> Iterator[tuple[bytes, int, int]]:
        """Encode all samples."""
        if not self.stems:
            return
        suffix = suffix_of(at_ms)
        mean_bytes = self._bytes // len(self.stems) + SUFFIX_BYTES
        size = max(1, min(max_samples, max_bytes // mean_bytes))
        for start in range(0, len(self.stems), size):
            stems = self.stems[start : start + size]
            raw = suffix.join([*stems, b""])
            yield snappy.compress(raw), len(stems), len(raw)


def stem_of(head: bytes, value: bytes) -> bytes:
    """Return the stem of a series."""
    return b"\x0a" + encode_varint(len(head) + STEM_TAIL_BYTES + SUFFIX_BYTES) + head + SAMPLE + value


def head_of(stem: bytes) -> bytes:
    """Return the encoded labels in a stem."""
    at = 2
    while stem[at - 1] > 127:
        at += 1
    return stem[at:-STEM_TAIL_BYTES]


def suffix_of(at_ms: int) -> bytes:
    """Return what ends every sample of a scrape; raises ValueError for a time that is not of this age."""
    suffix = b"\x10" + encode_varint(at_ms)
    if len(suffix) != SUFFIX_BYTES:
        raise ValueError(f"a scrape's time lies between 1971 and 2109, not at {at_ms} ms")
    return suffix
