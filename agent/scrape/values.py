"""The ordinary samples of a protobuf page: numbers, and native histograms among them."""

from array import array
from collections.abc import Iterator

from agent.scrape.stems import SUFFIX_BYTES, StemStore, suffix_of
from agent.scrape.timed import VALUE_BYTES
from pipeline.wire import snappy
from pipeline.wire.histogram import TIMESTAMP
from pipeline.wire.protobuf import encode_varint
from pipeline.wire.remote_write import HISTOGRAM


class Values:
    """See `agent.scrape.stems.StemStore`. A series' value may change from a number to a histogram, and back.

    Numbers and histograms are kept apart, each numbered for itself: `places` holds for each series where its number is,
    or for a histogram -1 less that. `numbers` is the store to keep numbers in.
    """

    def __init__(self, numbers: StemStore) -> None:
        self.numbers = numbers
        self.histograms = Histograms()
        self.places = array("i")
        self._of_number = array("i")
        self._of_histogram = array("i")

    def __len__(self) -> int:
        return len(self.places)

    def append(self, head: bytes, value: bytes) -> None:
        """Add a series."""
        self.places.append(self._put(len(self.places), head, value))

    def drop(self, number: int) -> None:
        """Take a series out; the last one takes its number."""
        self._take_out(self.places[number])
        last = self.places.pop()
        if number < len(self.places):
            self.places[number] = last
            owners, index = (self._of_number, last) if last >= 0 else (self._of_histogram, -1 - last)
            owners[index] = number

    def set_value(self, number: int, value: bytes) -> None:
        """Give a series its new value."""
        place = self.places[number]
        if (len(value) == VALUE_BYTES) != (place >= 0):
            head = self.head(number)
            self._take_out(place)
            self.places[number] = self._put(number, head, value)
        elif place >= 0:
            self.numbers.set_value(place, value)
        else:
            self.histograms.set_value(-1 - place, value)

    def head(self, number: int) -> bytes:
        """Return a series' encoded labels."""
        place = self.places[number]
        return self.numbers.head(place) if place >= 0 else self.histograms.heads[-1 - place]

    def is_number(self, number: int) -> bool:
        """Tell whether a series' value is a number."""
        return self.places[number] >= 0

    def requests(self, at_ms: int, max_samples: int, max_bytes: int) -> Iterator[tuple[bytes, int, int]]:
        """Encode all samples at one time: (snappy block, samples, bytes before compression)."""
        yield from self.numbers.requests(at_ms, max_samples, max_bytes)
        yield from self.histograms.requests(at_ms, max_samples, max_bytes)

    def _put(self, number: int, head: bytes, value: bytes) -> int:
        """Keep a value; return its place."""
        if len(value) == VALUE_BYTES:
            self.numbers.append(head, value)
            self._of_number.append(number)
            return len(self._of_number) - 1
        self.histograms.append(head, value)
        self._of_histogram.append(number)
        return -len(self._of_histogram)

    def _take_out(self, place: int) -> None:
        """Take a value out of its store, where the last one takes its place."""
        if place >= 0:
            self.numbers.drop(place)
            owners, index = self._of_number, place
        else:
            self.histograms.drop(-1 - place)
            owners, index = self._of_histogram, -1 - place
        moved = owners.pop()
        if index < len(owners):
            owners[index] = moved
            self.places[moved] = place


class Histograms:
    """Native histograms; as in `agent.scrape.stems` only the time is the same for all, and comes last:

    0A <size> <labels> 22 <size> <prometheus.Histogram>   78 <timestamp, 6 bytes>
    """

    def __init__(self) -> None:
        self.heads: list[bytes] = []
        self._stems: list[bytes] = []

    def append(self, head: bytes, value: bytes) -> None:
        """Add a series."""
        self.heads.append(head)
        self._stems.append(_stem(head, value))

    def drop(self, number: int) -> None:
        """Take a series out; the last one takes its number."""
        self.heads[number], self._stems[number] = self.heads[-1], self._stems[-1]
        self.heads.pop()
        self._stems.pop()

    def set_value(self, number: int, value: bytes) -> None:
        """Give a series its new value."""
        self._stems[number] = _stem(self.heads[number], value)

    def requests(self, at_ms: int, max_samples: int, max_bytes: int) -> Iterator[tuple[bytes, int, int]]:
        """Encode all samples, see `Values`."""
        start = 0
        while start < len(self._stems):
            suffix = TIMESTAMP + suffix_of(at_ms)[1:]
            end, held_bytes = start + 1, len(self._stems[start]) + SUFFIX_BYTES
            while end < min(len(self._stems), start + max_samples):
                held_bytes += len(self._stems[end]) + SUFFIX_BYTES
                if held_bytes > max_bytes:
                    break
                end += 1
            raw = suffix.join([*self._stems[start:end], b""])
            yield snappy.compress(raw), end - start, len(raw)
            start = end


def _stem(head: bytes, value: bytes) -> bytes:
    size = encode_varint(len(value) + SUFFIX_BYTES)
    whole = len(head) + 1 + len(size) + len(value) + SUFFIX_BYTES
    return b"".join((b"\x0a", encode_varint(whole), head, bytes([HISTOGRAM]), size, value))
