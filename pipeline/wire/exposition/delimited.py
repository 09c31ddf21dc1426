"""Prometheus' protobuf pages, taken apart into *lines*: one for each family's head and for each series.

Source: io/prometheus/client/metrics.proto (client_model), each MetricFamily behind its length. A line begins with its
kind:

    '#'              the family's fields but for its metrics
    'h', 'g'         name, labels │ timestamp, io.prometheus.client.Histogram, size of the tail
    any other        name, labels, bound │ value, timestamp, io.prometheus.client.Exemplar, size of the tail

What stands before the bar tells the series: the name with its length in front, then the label fields as the page has
them, then the bound of a bucket or quantile. Values and bounds are eight bytes, a double little-endian; timestamps are
Unix milliseconds in eight bytes, 0 for none, and sizes are in four. So two pages are compared line by line, as text.
"""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from pipeline.wire.errors import MalformedError
from pipeline.wire.exposition.delimited_family import HEAD, SIZE, Wanted, read_family
from pipeline.wire.histogram_read import convert_exposed
from pipeline.wire.protobuf import decode_varint

ReadFamily = Callable[[bytes, Wanted, list[bytes]], Iterator[None]]
"""`read_family`, or its compiled twin."""

try:
    if sys.byteorder != "little":
        raise ImportError("it writes numbers as the machine holds them")
    from pipeline.wire import _histogram
    from pipeline.wire.exposition import _delimited

    ACCELERATED, convert_accelerated = True, _histogram.convert_exposed
except ImportError:  # no compiler where it was installed
    ACCELERATED, convert_accelerated = False, convert_exposed

MAX_LINE_BYTES: Final = 1 << 30
_BATCH_BYTES: Final = 128 << 10
_KNOWN_BY_BYTES: Final = 64
"""A family begins with its name: so many bytes tell which one it is, and a wrong guess costs only time."""


def read_family_accelerated(raw: bytes, wanted: Wanted, lines: list[bytes]) -> Iterator[None]:
    """Append a family's lines as `read_family` does."""
    at = _delimited.read_family(raw, wanted, lines, 0)
    while 0 <= at < len(raw):
        yield
        at = _delimited.read_family(raw, wanted, lines, at)
    if at < 0:
        yield from read_family(raw, wanted, lines)


@dataclass(slots=True)
class _Apart:
    """A family as it was taken apart; `size` is that of its lines."""

    raw: bytes
    lines: list[bytes] = field(default_factory=list)
    size: int = 0
    _counted: int = 0

    def count(self) -> int:
        """Return the size with the lines that came since."""
        self.size += sum(map(len, self.lines[self._counted :]))
        self._counted = len(self.lines)
        return self.size


@dataclass(slots=True)
class Delimited:
    """Takes pages apart. A family that is byte for byte as on the last page gives the very same lines.

    `max_bytes` bounds a page's lines: a bucket of two bytes is a line with all of its metric's labels.
    """

    wanted: Wanted = field(default_factory=Wanted)
    read_family: ReadFamily = read_family_accelerated if ACCELERATED else read_family
    max_bytes: int = MAX_LINE_BYTES
    _known: dict[bytes, _Apart] = field(default_factory=dict)

    def lines(self, page: bytes | bytearray, size: int) -> Iterator[list[bytes]]:
        """Yield the lines of the first `size` bytes of a page, some at a time; raises MalformedError.

        What stands in front of the mistake has been yielded by then.
        """
        known: dict[bytes, _Apart] = {}
        out: list[bytes] = []
        view = memoryview(page)
        position = batch = total = 0
        try:
            while position < size:
                length, start = decode_varint(view, position)
                if start - position > 5 or start + length > size:
                    raise MalformedError(f"a metric family of {length} bytes reaches beyond the page", position)
                position = start + length
                raw = bytes(view[start:position])
                family = self._known.get(raw[:_KNOWN_BY_BYTES])
                if family is None or family.raw != raw:
                    family = _Apart(raw)
                    for _ in self._read(family, total, out):
                        yield []
                known[raw[:_KNOWN_BY_BYTES]] = family
                out += family.lines
                total += self._within(total, family)
                if position - batch > _BATCH_BYTES:
                    yield out
                    out, batch = [], position
        except MalformedError:
            yield out
            raise
        finally:
            self._known = known
        yield out

    def _read(self, family: _Apart, total: int, out: list[bytes]) -> Iterator[None]:
        """Read a family's lines; where it is malformed, what stands in front of that is added to `out`."""
        try:
            for _ in self.read_family(family.raw, self.wanted, family.lines):
                self._within(total, family)
                yield
        except MalformedError:
            out += family.lines
            raise
        except IndexError:
            out += family.lines
            raise MalformedError("a metric family ends inside a field", len(family.raw)) from None

    def _within(self, total: int, family: _Apart) -> int:
        """Return the size of a family's lines; raises MalformedError where the page's take too much."""
        if total + family.count() > self.max_bytes:
            raise MalformedError(f"the series of this page take more than {self.max_bytes} bytes")
        return family.size


def key_of(line: bytes) -> bytes:
    """Return what tells a line's series; of a family's head, all of it."""
    return line if line[0] == HEAD else line[: -SIZE.unpack(line[-4:])[0]]
