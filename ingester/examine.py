"""What a record is to a sink: to be sent, settled before, none of ours, or none of its business. Pure.

One examiner follows one partition in order, from where its last owner wrote its progress down.
"""

from dataclasses import dataclass, field

from crc32c import crc32c

from ingester.config import SinkConfig
from ingester.ledger import Counts
from ingester.progress import Progress
from ingester.settle import Verdict
from ingester.stream import Entry, StreamKey
from pipeline.log.interface import Record
from pipeline.wire.envelope import Envelope, UnknownVersionError, from_headers
from pipeline.wire.errors import MalformedError


@dataclass(slots=True)
class Doubt:
    """The records that may have been sent before: those that the window let pass beyond the committed offset.

    Where a tenant was in trouble others were sent beyond it: then each stream has a window of its own.
    """

    window: int
    per_stream: bool = False
    items: dict[StreamKey, int] = field(default_factory=dict)

    def covers(self, stream: StreamKey, items: int) -> bool:
        """Tell whether the next record, of that many items, is in doubt."""
        key = stream if self.per_stream else ("", "")
        before = self.items.get(key, 0)
        if before >= self.window or (before and before + items >= self.window):
            self.items[key] = self.window
            return False
        self.items[key] = before + items
        return True


class Examiner:
    """Judges a partition's records, in order: `examine` one, `admit` it, then the next."""

    def __init__(self, config: SinkConfig, progress: Progress) -> None:
        self._config = config
        self._live = progress.settled.copy()
        self._ahead = list(progress.ahead)
        window = 0 if progress.clean else max(config.window, progress.window)
        self._doubt = Doubt(window, per_stream=progress.parked)

    def examine(self, record: Record) -> Entry:
        """Return what a record is; raises UnknownVersionError where it must be neither sent nor skipped."""
        entry = Entry(record.offset, record.append_time_ms, record)
        try:
            envelope = from_headers(record.headers)
        except UnknownVersionError:
            raise
        except MalformedError as error:
            if self._settled_ahead(record.offset) is None:
                entry.poison = str(error)
            return entry
        if self._config.clusters is not None and envelope.cluster not in self._config.clusters:
            return entry
        entry.cluster = envelope.cluster
        entry.tenant = self._config.tenant_of(envelope.cluster, envelope.tenant)
        entry.verdict = self._live.judge(envelope, record.append_time_ms)
        entry.counts = counts_of(envelope, entry.verdict)
        if not entry.verdict.fresh:
            return entry
        if (rejected := self._settled_ahead(entry.offset)) is not None:
            entry.counts.rejected = rejected
        elif crc32c(record.payload) != envelope.crc32c:
            entry.poison = "the payload is not what its checksum says"
            entry.counts.rejected = envelope.items
        else:
            entry.items, entry.raw_bytes = max(1, envelope.items), envelope.raw_bytes
            entry.envelope = envelope
            entry.earliest_ms, entry.latest_ms = envelope.earliest_ms, envelope.latest_ms
            entry.traceparent = envelope.traceparent
        return entry

    def admit(self, entry: Entry) -> None:
        """Go on behind a record."""
        if entry.verdict is not None:
            self._live.apply(entry.verdict)
        if entry.items:
            entry.doubt = self._doubt.covers((entry.cluster, entry.tenant), entry.items)

    def replay(self, record: Record, progress: Progress) -> None:
        """Count a record that the last owner settled after it last wrote its progress down."""
        progress.offset, progress.head_ms = record.offset + 1, record.append_time_ms
        try:
            envelope = from_headers(record.headers)
        except MalformedError:
            return  # it lies in the dead letters
        if self._config.clusters is not None and envelope.cluster not in self._config.clusters:
            return
        verdict = self._live.judge(envelope, record.append_time_ms)
        self._live.apply(verdict)
        progress.settled.apply(verdict)
        counts = counts_of(envelope, verdict)
        counts.delivered = counts.received
        progress.ledger.setdefault(envelope.cluster, Counts()).add(counts)

    def forget(self, before_ms: int) -> None:
        """Forget lanes that were not seen since."""
        self._live.forget(before_ms)

    def ahead_beyond(self, offset: int) -> list[tuple[int, int, int]]:
        """Return what the last owner settled ahead of its commit beyond an offset."""
        return [span for span in self._ahead if span[0] > offset]

    def _settled_ahead(self, offset: int) -> int | None:
        """Return the items rejected of a record that the last owner settled ahead of its commit; None for others."""
        while self._ahead and self._ahead[0][1] <= offset:
            del self._ahead[0]
        if self._ahead and self._ahead[0][0] <= offset:
            return self._ahead[0][2]
        return None


def counts_of(envelope: Envelope, verdict: Verdict) -> Counts:
    """Return what a record adds to the ledger before the store was asked."""
    counts = Counts(missing=verdict.missing_items, missing_records=verdict.missing_records)
    if verdict.fresh:
        counts.received = envelope.items
    elif envelope.gap_to is None:
        counts.duplicated, counts.duplicated_records = envelope.items, 1
    return counts
