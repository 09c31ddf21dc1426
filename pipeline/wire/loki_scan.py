"""The identity scan of logs: proves of a `logproto.PushRequest` that every stream carries one cluster's label.

    found = scan_logs(raw, b"cluster", b"c1", known)      # raises MalformedError
    if not found.exceptions: ...                          # every stream is c1's, and the bytes can be passed on

As in `pipeline.wire.scan` it is a proof: whatever a parser makes of bytes that pass, it sees what the scan saw. The
framing is walked to its exact end; malformed is a field that PushRequest, StreamAdapter, EntryAdapter or a pair of
metadata does not have, a tag of more than one byte, a text or a time that stands twice, a length beyond its message,
and metadata or labels that are not UTF-8.

A stream whose labels cannot be read is an exception, and so is one with a line that is not UTF-8, or with an entry
whose time is missing or none (Loki would refuse the whole request): the rest need not suffer for them. Labels are text,
which repeats from batch to batch: what was read once is remembered (`Known`) and not parsed again. `_loki` is the same,
compiled; `loki_scan_plain` needs no compiler. Both pass the same tests.
"""

from typing import Final, Protocol

from pipeline.wire.loki_scan_plain import scan_logs_plain
from pipeline.wire.scan_found import FoundLogs
from pipeline.wire.scan_plain import Known

__all__ = ["ScanLogs", "scan_logs", "scan_logs_accelerated", "scan_logs_plain"]


class ScanLogs(Protocol):
    """Both implementations: `label` and `value` are UTF-8, `known` belongs to exactly this pair, and to logs alone."""

    def __call__(self, data: bytes | memoryview, label: bytes, value: bytes, known: Known) -> FoundLogs:
        """Return what the request holds; raises MalformedError with the position where it shows."""


scan_logs_accelerated: ScanLogs | None
try:
    from pipeline.wire._loki import scan as scan_logs_accelerated
except ImportError:  # no compiler where it was installed
    scan_logs_accelerated = None

scan_logs: Final[ScanLogs] = scan_logs_plain if scan_logs_accelerated is None else scan_logs_accelerated
