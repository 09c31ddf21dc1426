"""What accepting asks of a signal's payloads: a codec for each signal that is taken."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from pipeline.wire import loki_streams, scan_series
from pipeline.wire.envelope import LOGS_ENCODING, METRICS_ENCODING, Signal
from pipeline.wire.loki_scan import scan_logs
from pipeline.wire.scan import scan
from pipeline.wire.scan_found import Exceptional, Found, FoundLogs, Repaired
from pipeline.wire.scan_plain import Known

Raw = bytes | memoryview
"""A request as it is decompressed: a view is into the caller's scratch memory, and good until the next request."""
Findings = Found | FoundLogs


class _Repair(Protocol):
    def __call__(
        self, data: bytes, exceptions: Sequence[Exceptional], label: bytes, value: bytes, *, overwrite: bool
    ) -> Repaired:
        """Make a scanned request the cluster's; say what was left out for that."""


@dataclass(frozen=True, slots=True)
class Codec:
    """A signal's payload, compressed as `encoding` says: a sequence of `groups` (series, streams), each with `items`.

    `items_only`: without items there is nothing to carry. Of what cannot be split into records of the log,
    `drops_oversized` leaves out the one item; otherwise the request is refused as a whole.
    """

    signal: Signal
    encoding: str
    groups: str
    items: str
    scan: Callable[[Raw, bytes, bytes, Known], Findings]
    repair: _Repair
    halves: Callable[[bytes], tuple[bytes, bytes] | None]
    by_label: Callable[[bytes, bytes, bytes], Mapping[bytes, bytes]]
    first_value: Callable[[Raw, bytes], bytes]
    show: Callable[[bytes], str]
    items_only: bool
    drops_oversized: bool


METRICS: Final = Codec(
    signal=Signal.METRICS,
    encoding=METRICS_ENCODING,
    groups="series",
    items="samples",
    scan=scan,
    repair=scan_series.repair,
    halves=scan_series.halves,
    by_label=scan_series.by_label,
    first_value=scan_series.first_value,
    show=scan_series.show_request,
    items_only=False,  # metadata
    drops_oversized=False,
)
LOGS: Final = Codec(
    signal=Signal.LOGS,
    encoding=LOGS_ENCODING,
    groups="streams",
    items="entries",
    scan=scan_logs,
    repair=loki_streams.repair_streams,
    halves=loki_streams.stream_halves,
    by_label=loki_streams.streams_by_label,
    first_value=loki_streams.first_stream_value,
    show=loki_streams.show_request,
    items_only=True,
    # A line of ten megabytes is no reason to lose those around it, and no store would take it.
    drops_oversized=True,
)
CODECS: Final = {codec.signal: codec for codec in (METRICS, LOGS)}
