"""Replay: deliver a window of the log again, beside the group and without touching its offsets."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from crc32c import crc32c

from ingester.config import SinkConfig
from ingester.dead_letters import DeadLetters
from ingester.settle import Settled
from ingester.sinks import Sink
from pipeline.delivery import Rejected
from pipeline.errors import PermanentError
from pipeline.log.interface import Log, Partition, Record
from pipeline.send.codec import CODECS
from pipeline.send.deliver import Delivery, Tally
from pipeline.send.request import Piece, Request
from pipeline.wire.envelope import Envelope, UnknownVersionError, from_headers
from pipeline.wire.errors import MalformedError

_READ_BYTES = 8 * 2**20
StreamKey = tuple[str, str]
Chosen = tuple[Record, Envelope]


@dataclass(slots=True)
class Replayed:
    """What a replay came to, in items and records. `already`: the store said that it has them, or later ones."""

    records: int = 0
    delivered: int = 0
    already: int = 0
    rejected: int = 0
    duplicated: int = 0
    unreadable_records: int = 0


@dataclass(slots=True)
class Replay:
    """One replay of partitions of one topic into one sink. Everything in it is in doubt: the store may have it."""

    log: Log
    config: SinkConfig
    sink: Sink
    dead_letters: DeadLetters
    cluster: str = ""
    """Only this cluster; empty: all that the sink takes."""
    progress: Callable[[Partition, int, int], None] = lambda at, offset, end: None
    counts: Replayed = field(default_factory=Replayed)

    async def run(self, topic: str, partitions: int, from_ms: int, to_ms: int) -> dict[str, Any]:
        """Deliver what was appended from `from_ms` until before `to_ms` (Unix ms, the log's clock) again.

        Waits while the store is down; raises TransientError for the log, PermanentError for a record that is newer
        than this reader.
        """
        for number in range(partitions):
            at = Partition(topic, number)
            start, end = await self.log.offset_at(at, from_ms), await self.log.offset_at(at, to_ms)
            await self._partition(at, start, end)
        return asdict(self.counts)

    async def _partition(self, at: Partition, offset: int, end: int) -> None:
        settled = Settled(from_zero=False)
        while offset < end:
            records = await self.log.read(at, offset, max_bytes=_READ_BYTES)
            if not records:
                return
            offset = records[-1].offset + 1
            streams: dict[StreamKey, list[Chosen]] = {}
            for record in records:
                if record.offset < end:
                    self._sort(record, settled, streams)
            for (cluster, tenant), chosen in streams.items():
                await self._deliver(cluster, tenant, chosen)
            self.progress(at, min(offset, end), end)

    def _sort(self, record: Record, settled: Settled, streams: dict[StreamKey, list[Chosen]]) -> None:
        try:
            envelope = from_headers(record.headers)
        except UnknownVersionError as error:
            raise PermanentError(f"{record.at.topic}/{record.at.number} offset {record.offset}: {error}") from error
        except MalformedError:
            self.counts.unreadable_records += 1
            return
        wanted = self.cluster in ("", envelope.cluster)
        if not wanted or (self.config.clusters is not None and envelope.cluster not in self.config.clusters):
            return
        verdict = settled.judge(envelope, record.append_time_ms)
        settled.apply(verdict)
        if envelope.gap_to is not None:
            return
        self.counts.records += 1
        if not verdict.fresh:
            self.counts.duplicated += envelope.items
        elif crc32c(record.payload) != envelope.crc32c:
            self.counts.unreadable_records += 1
        else:
            tenant = self.config.tenant_of(envelope.cluster, envelope.tenant)
            streams.setdefault((envelope.cluster, tenant), []).append((record, envelope))

    async def _deliver(self, cluster: str, tenant: str, chosen: list[Chosen]) -> None:
        async def refuse(piece: Piece, refusal: Rejected) -> None:
            record = chosen[piece.source][0]
            await self.dead_letters.bury(
                record, piece.payload, piece.items, status=refusal.status, reason=refusal.reason
            )

        request = Request((), CODECS[self.sink.signal], cluster, tenant)
        pieces: list[Piece] = []
        items = 0
        for index, (record, envelope) in enumerate(chosen):
            if pieces and items + envelope.items > self.config.request_items:
                self._add(await Delivery(self.sink.send, refuse).run(request.of(*pieces)))
                pieces, items = [], 0
            pieces.append(Piece(record.payload, envelope.items, index, in_doubt=True, envelope=envelope))
            items += envelope.items
        if pieces:
            self._add(await Delivery(self.sink.send, refuse).run(request.of(*pieces)))

    def _add(self, tally: Tally) -> None:
        self.counts.delivered += tally.delivered
        self.counts.already += tally.already
        self.counts.rejected += tally.refused
