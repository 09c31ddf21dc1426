"""The identity scan: proves of a `prometheus.WriteRequest` that every series in it carries one cluster's label.

    found = scan(raw, b"cluster", b"c1", known)      # raises MalformedError
    if not found.exceptions: ...                     # every series is c1's, and the bytes can be passed on untouched

It is a proof, not a heuristic: whatever a protobuf parser makes of bytes that pass, it sees what the scan saw. Where
parsers could differ, or could see labels that the scan does not know of, the request is malformed: a field of
WriteRequest, TimeSeries or Label that remote write 1.0 does not have (a store's own dialect may read it), a tag of more
than one byte, a field twice in one label, a group, a length beyond its message, text that is not UTF-8.

Series that a store would have to drop without a word (Prometheus does, with 204) are exceptions too, so that they are
refused where the sender hears of it. `_scan` is the same, compiled; `scan_plain` needs no compiler, and remembers what
it has read once. Both pass the same tests.
"""

from typing import Final, Protocol

from pipeline.wire.scan_found import Exceptional, Found, Kind
from pipeline.wire.scan_plain import Known, Memory, scan_plain

__all__ = [
    "ACCELERATED",
    "Exceptional",
    "Found",
    "Kind",
    "Known",
    "Memory",
    "Scan",
    "scan",
    "scan_accelerated",
    "scan_plain",
]


class Scan(Protocol):
    """Both implementations: `label` and `value` are UTF-8, `known` belongs to exactly this pair of them."""

    def __call__(self, data: bytes | memoryview, label: bytes, value: bytes, known: Known) -> Found:
        """Return what the request holds; raises MalformedError with the position where it shows."""


scan_accelerated: Scan | None
try:
    from pipeline.wire._scan import scan as scan_accelerated
except ImportError:  # no compiler where it was installed
    scan_accelerated = None

ACCELERATED: Final = scan_accelerated is not None
scan: Final[Scan] = scan_plain if scan_accelerated is None else scan_accelerated
