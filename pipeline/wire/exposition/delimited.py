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
from pipeline.wire.protobuf import decode_varint

ReadFamily = Callable[[bytes, Wanted, list[bytes]], None]
"""`read_family`, or its compiled twin."""

read_family_accelerated: ReadFamily | None
try:
    if sys.byteorder != "little":
        raise ImportError("it writes numbers as the machine holds them")
    from pipeline.wire.exposition._delimited import read_family as read_family_accelerated
except ImportError:  # no compiler where it was installed
    read_family_accelerated = None

_BATCH_BYTES: Final = 128 << 10
_KNOWN_BY_BYTES: Final = 64
"""A family begins with its name: so many bytes tell which one it is, and a wrong guess costs only time."""


@dataclass(slots=True)
class Delimited:
    """Takes pages apart. A family that is byte for byte as on the last page gives the very same lines."""

    wanted: Wanted = field(default_factory=Wanted)
    read_family: ReadFamily = read_family_accelerated or read_family
    _known: dict[bytes, tuple[bytes, list[bytes]]] = field(default_factory=dict)

    def lines(self, page: bytes | bytearray, size: int) -> Iterator[list[bytes]]:
        """Yield the lines of the first `size` bytes of a page, some at a time; raises MalformedError.

        What stands in front of the mistake has been yielded by then.
        """
        known: dict[bytes, tuple[bytes, list[bytes]]] = {}
        out: list[bytes] = []
        view = memoryview(page)
        position = batch = 0
        try:
            while position < size:
                length, start = decode_varint(view, position)
                if start - position > 5 or start + length > size:
                    raise MalformedError(f"a metric family of {length} bytes reaches beyond the page", position)
                position = start + length
                raw = bytes(view[start:position])
                out += self._family(raw, known, out)
                if position - batch > _BATCH_BYTES:
                    yield out
                    out, batch = [], position
        except MalformedError:
            yield out
            raise
        finally:
            self._known = known
        yield out

    def _family(self, raw: bytes, known: dict[bytes, tuple[bytes, list[bytes]]], out: list[bytes]) -> list[bytes]:
        """Return a family's lines; where it is malformed, what stands in front of that is added to `out`."""
        name = raw[:_KNOWN_BY_BYTES]
        before = self._known.get(name)
        if before is None or before[0] != raw:
            before = raw, []
            try:
                self.read_family(raw, self.wanted, before[1])
            except (MalformedError, IndexError) as error:
                out += before[1]
                if isinstance(error, MalformedError):
                    raise
                raise MalformedError("a metric family ends inside a field", len(raw)) from None
        known[name] = before
        return before[1]


def key_of(line: bytes) -> bytes:
    """Return what tells a line's series; of a family's head, all of it."""
    return line if line[0] == HEAD else line[: -SIZE.unpack(line[-4:])[0]]
