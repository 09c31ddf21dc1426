"""Appending to the log: in which order, under which envelope, and within how much memory.

Agents number their own batches. For foreign senders the gateway is the agent: it numbers their batches in the order in
which it appends them, in a random epoch of its own for each cluster and lane. A failed append ends that epoch, so that
no sequence is ever left out, and so that the ingester recognises the sender's retry by its digest.
"""

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from prometheus_client import Gauge

from gateway.accept import Accepted, Part, digest_of
from pipeline.log.interface import Log, Partition
from pipeline.telemetry import GatewayMetrics
from pipeline.wire.envelope import Envelope, Headers, Origin, Signal, partition_of, to_headers

Placed = asyncio.Future[int]
"""A record whose place in its partition is fixed; done when it is durable, or failed."""

_MAX_EPOCH: Final = 64


class InFlight:
    """The bytes of everything between being read and being in the log."""

    def __init__(self, max_bytes: int, gauge: Gauge) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0
        gauge.set_function(lambda: self.bytes)

    def reserve(self, size: int) -> bool:
        """Take so many bytes, if there are."""
        if self.bytes + size > self.max_bytes:
            return False
        self.bytes += size
        return True

    def release(self, size: int) -> None:
        """Give bytes back."""
        self.bytes -= size


@dataclass(slots=True)
class ForeignLane:
    """Where the gateway's own numbering stands for one cluster's lane."""

    epoch: int
    sequence: int = 0
    items: int = 0
    last: Placed | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def begin_epoch(self) -> None:
        """Number from 0 in a new epoch."""
        self.epoch = secrets.randbits(_MAX_EPOCH)
        self.sequence = self.items = 0
        self.last = None


@dataclass(slots=True)
class Publisher:
    """Puts one signal's accepted data into its topic. `name` is the gateway's, as the agent of foreign senders."""

    log: Log
    signal: Signal
    topic: str
    partitions: int
    name: str
    metrics: GatewayMetrics
    clock: Callable[[], float]
    lanes: dict[tuple[str, int], ForeignLane] = field(default_factory=dict)

    async def foreign(self, accepted: Accepted, tenant: str = "", traceparent: str = "") -> "ForeignBatch":
        """Place a foreign sender's data; raises TransientError or PermanentError where the log does not take it.

        `tenant` is what the sender says, which counts where its cluster has none of its own.
        """
        sender = accepted.sender
        key = (sender.cluster, sender.lane)
        lane = self.lanes.get(key)
        if lane is None:
            lane = self.lanes[key] = ForeignLane(0)
            self._begin_epoch(lane)
        async with lane.lock:
            if lane.last is not None and lane.last.done() and _has_failed(lane.last):
                # Whoever waits for it has not been told yet; what follows must not look like its successor.
                self._begin_epoch(lane)
            batch = ForeignBatch(self, lane, lane.epoch)
            try:
                for part in accepted.parts:
                    envelope = self._foreign_envelope(accepted, part, lane, len(batch.placed), tenant, traceparent)
                    batch.placed.append(await self._append(envelope, part.payload))
            except BaseException:
                # Cancelled or failed: whether something was placed is not known, or only the first parts were.
                self._begin_epoch(lane)
                raise
            if batch.placed:
                lane.sequence += 1
                lane.items += accepted.items
                lane.last = batch.placed[-1]
        return batch

    async def batch(self, envelope: Envelope, accepted: Accepted | None, cluster: str, tenant: str) -> list[Placed]:
        """Place an agent's batch or gap record; raises as `foreign`. All of what is returned has to succeed."""
        own = replace(envelope, cluster=cluster, tenant=tenant or envelope.tenant, origin=Origin.AGENT, digest="")
        if accepted is None:
            return [await self._append(own, b"")]
        placed = []
        for index, part in enumerate(accepted.parts):
            if len(accepted.parts) > 1:
                own = replace(own, part=index, parts=len(accepted.parts))
            one = replace(
                own,
                items=part.items,
                raw_bytes=part.raw_bytes,
                crc32c=part.crc32c,
                first_item=envelope.first_item + part.first_item,
                earliest_ms=part.earliest_ms,
                latest_ms=part.latest_ms,
            )
            placed.append(await self._append(one, part.payload))
        return placed

    def count(self, accepted: Accepted) -> None:
        """Count what the log has, and what was refused."""
        cluster, signal = accepted.sender.cluster, self.signal
        self.metrics.received.labels(cluster, signal).inc(accepted.items)
        self.metrics.received_bytes.labels(cluster, signal).inc(sum(len(part.payload) for part in accepted.parts))
        for refused in accepted.refused:
            self.metrics.refused.labels(cluster, signal, refused.kind.name.lower()).inc(refused.items)

    def _begin_epoch(self, lane: ForeignLane) -> None:
        lane.begin_epoch()
        self.metrics.epochs.inc()

    def end_epoch(self, lane: ForeignLane, epoch: int) -> None:
        """End an epoch, if it still is the lane's."""
        if lane.epoch == epoch:
            self._begin_epoch(lane)

    def _foreign_envelope(
        self, accepted: Accepted, part: Part, lane: ForeignLane, index: int, tenant: str, traceparent: str
    ) -> Envelope:
        sender = accepted.sender
        tenant = sender.tenant or tenant
        return Envelope(
            signal=self.signal,
            encoding=accepted.codec.encoding,
            cluster=sender.cluster,
            agent=self.name,
            epoch=lane.epoch,
            lane=sender.lane,
            sequence=lane.sequence,
            items=part.items,
            raw_bytes=part.raw_bytes,
            created_ms=int(self.clock() * 1000),
            crc32c=part.crc32c,
            tenant=tenant,
            part=index,
            parts=len(accepted.parts),
            first_item=part.first_item,
            lane_items=lane.items,
            earliest_ms=part.earliest_ms,
            latest_ms=part.latest_ms,
            origin=Origin.FOREIGN,
            # Of the part, not of the whole: a retry may find only the first parts in the log.
            digest=digest_of(part.payload, sender.cluster, tenant),
            traceparent=traceparent,
        )

    async def _append(self, envelope: Envelope, payload: bytes) -> Placed:
        headers: Headers = to_headers(envelope)
        at = Partition(self.topic, partition_of(envelope.cluster, envelope.lane, self.partitions))
        placed = asyncio.ensure_future(await self.log.append(at, headers, payload))
        # Of several parts that fail only the first is waited for.
        placed.add_done_callback(lambda done: done.cancelled() or done.exception())
        return placed


@dataclass(slots=True)
class ForeignBatch:
    """A foreign sender's data that is placed, not yet durable."""

    publisher: Publisher
    lane: ForeignLane
    epoch: int
    placed: list[Placed] = field(default_factory=list)

    async def durable(self) -> None:
        """Wait until the log has it; raises TransientError or PermanentError where it will not."""
        try:
            for placed in self.placed:
                await asyncio.shield(placed)
        except BaseException:
            self.unanswered()
            raise

    def unanswered(self) -> None:
        """Note that the sender was not told of it: its retry must be recognised, so it may not be of the same epoch."""
        self.publisher.end_epoch(self.lane, self.epoch)


def _has_failed(placed: Placed) -> bool:
    return placed.cancelled() or placed.exception() is not None
