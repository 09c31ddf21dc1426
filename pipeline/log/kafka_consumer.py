"""One member of a Kafka consumer group, as `pipeline.log.interface.Consumer` promises it."""

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final

from pipeline.errors import PermanentError, PipelineError, TransientError
from pipeline.log.interface import OffsetOutOfRangeError, Partition, Rebalance, Record, Start, record_bytes
from pipeline.log.kafka_faults import OUT_OF_RANGE, explain

REBALANCE_S: Final = 30.0
COMMIT_S: Final = 15.0
# Records are taken from the client this many at a time, so that little is left over when `max_bytes` are reached.
_TAKE: Final = 16


class KafkaConsumer:
    """Wraps the client's consumer; `topic_partition` makes the client's own kind of a partition's name.

    A rebalance runs from the client's `on_partitions_revoked` to the end of its `on_partitions_assigned`. In between no
    poll of the client is under way, and positions are set at its very end: so whatever a poll returns was fetched from
    where this member is.
    """

    def __init__(
        self, client: Any, topic_partition: Callable[[str, int], Any], group: str, rebalance: Rebalance, start: Start
    ) -> None:
        self._client = client
        self._tp = topic_partition
        self._group = group
        self._rebalance = rebalance
        self._start = start
        self._owned: frozenset[Partition] = frozenset()
        # Positions that a running rebalance will set, by partition.
        self._placing: dict[Partition, int] = {}
        self._steady = asyncio.Event()
        self._steady.set()
        self._rebalances = 0
        self._polling: asyncio.Task[Any] | None = None
        # What the client has given out and `fetch` has not; the next fetch begins with it.
        self._left: dict[Partition, deque[Record]] = {}
        self._paused: set[Partition] = set()
        self._failure: Exception | None = None
        self._next_error: PipelineError | None = None
        self._closed = False

    @property
    def rebalance_timeout_s(self) -> float:
        """How long `revoked` may take before the group goes on without this member."""
        return REBALANCE_S

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    async def fetch(self, *, max_bytes: int, timeout_s: float) -> Mapping[Partition, Sequence[Record]]:
        """Return records behind the last ones fetched."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + timeout_s
        found: dict[Partition, list[Record]] = {}
        room, rebalances = max_bytes, self._rebalances
        while True:
            self._check()
            if rebalances != self._rebalances:
                # What was found may be somebody else's now; where it is ours still, it is fetched again.
                found, room, rebalances = {}, max_bytes, self._rebalances
            room, full = self._take(found, room)
            if full:
                return found
            try:
                more = await self._poll(0.0 if found else until_s - loop.time())
            except PipelineError as error:
                if not found:
                    raise
                self._next_error = error
                return found
            if rebalances == self._rebalances:
                self._keep(more)
            if not more and rebalances == self._rebalances and (found or loop.time() >= until_s):
                return found

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure
        if self._closed:
            raise PermanentError("this consumer is closed")
        if self._next_error is not None:
            error, self._next_error = self._next_error, None
            raise error

    def _take(self, found: dict[Partition, list[Record]], room: int) -> tuple[int, bool]:
        """Move left-over records into `found`; return the room left, and whether the next record does not fit."""
        for at, left in self._left.items():
            while left and at not in self._paused:
                size = record_bytes(left[0].headers, left[0].payload, left[0].key)
                if size > room and found:
                    return room, True
                found.setdefault(at, []).append(left.popleft())
                room -= size
        return room, room <= 0

    def _keep(self, more: Mapping[Any, Sequence[Any]]) -> None:
        for tp, records in more.items():
            at = Partition(tp.topic, tp.partition)
            left = self._left.setdefault(at, deque())
            left.extend(Record(at, r.offset, r.timestamp, r.key, r.headers, r.value or b"") for r in records)

    async def _poll(self, wait_s: float) -> Mapping[Any, Sequence[Any]]:
        """Ask the client for records: what is at hand, or what comes within `wait_s`. Raises PipelineError."""
        try:
            if not self._steady.is_set():
                await asyncio.wait_for(self._steady.wait(), max(0.0, wait_s))
                return {}
            if wait_s <= 0:
                return await self._client.getmany(timeout_ms=0, max_records=_TAKE)  # type: ignore[no-any-return]
            return await self._wait(wait_s)
        except TimeoutError:
            return {}
        except Exception as error:
            raise await self._explain(error) from error

    async def _wait(self, wait_s: float) -> Mapping[Any, Sequence[Any]]:
        # A task of its own, because a rebalance ends it: cancelled, it leaves everything with the client.
        wait_ms = max(1, round(wait_s * 1000))
        polling = asyncio.create_task(self._client.getmany(timeout_ms=wait_ms, max_records=_TAKE), name="poll Kafka")
        self._polling = polling
        try:
            await asyncio.wait({polling}, timeout=wait_s)
        finally:
            self._polling = None
            if not polling.done():
                polling.cancel()
        return {} if not polling.done() or polling.cancelled() else polling.result()

    async def _explain(self, error: Exception) -> PipelineError:
        doing = f"fetch as group {self._group}"
        if getattr(error, "errno", None) != OUT_OF_RANGE or not error.args or not isinstance(error.args[0], dict):
            return explain(error, doing)
        tp, offset = next(iter(error.args[0].items()))
        at = Partition(tp.topic, tp.partition)
        try:
            start = (await self._client.beginning_offsets([tp]))[tp]
        except Exception as again:  # noqa: BLE001  # whatever it is, it is explained to the caller
            return explain(again, doing)
        return OffsetOutOfRangeError(f"offset {offset} of {at.topic}/{at.number} is not in the log", at, start)

    def pause(self, *partitions: Partition) -> None:
        """Leave these out until `resume`."""
        ours = [at for at in partitions if at in self._owned]
        self._paused.update(ours)
        if ours and self._steady.is_set():
            self._client.pause(*(self._tp(*at) for at in ours))

    def resume(self, *partitions: Partition) -> None:
        """Fetch these again."""
        ours = [at for at in partitions if at in self._paused]
        self._paused.difference_update(ours)
        if ours and self._steady.is_set():
            self._client.resume(*(self._tp(*at) for at in ours))

    def seek(self, partition: Partition, offset: int) -> None:
        """Fetch this partition from `offset` on."""
        if partition not in self._owned:
            raise TransientError(f"partition {partition.topic}/{partition.number} is not ours")
        self._left.pop(partition, None)
        if partition in self._placing:
            self._placing[partition] = offset
        else:
            self._client.seek(self._tp(*partition), offset)

    async def committed(self, partition: Partition) -> int | None:
        """Return the group's committed offset."""
        try:
            async with asyncio.timeout(COMMIT_S):
                found: int | None = await self._client.committed(self._tp(*partition))
        except Exception as error:
            raise explain(error, f"read the committed offset of group {self._group}") from error
        return found

    async def commit(self, offsets: Mapping[Partition, int]) -> None:
        """Make these the group's committed offsets."""
        if lost := offsets.keys() - self._owned:
            raise TransientError(f"not ours any more: {', '.join(f'{at.topic}/{at.number}' for at in sorted(lost))}")
        if offsets:
            await self._commit(offsets)

    async def _commit(self, offsets: Mapping[Partition, int]) -> None:
        try:
            async with asyncio.timeout(COMMIT_S):
                await self._client.commit({self._tp(*at): offset for at, offset in offsets.items()})
        except Exception as error:
            raise explain(error, f"commit offsets of group {self._group}") from error

    async def close(self) -> None:
        """Leave the group."""
        if self._closed:
            return
        await self.revoked()
        self._closed = True
        self._steady.set()
        await self._client.stop()

    async def revoked(self) -> None:
        """Begin a rebalance: let everything go; the owner settles and commits first, while fetching rests."""
        self._steady.clear()
        self._rebalances += 1
        if self._polling is not None:
            self._polling.cancel()
        try:
            if self._owned:
                await self._rebalance.revoked(self._owned)
        except Exception as error:  # noqa: BLE001  # not ours to judge: the next fetch raises it
            self._failure = error
        finally:
            self._owned = frozenset()
            self._left.clear()
            self._paused.clear()
            self._placing.clear()

    async def assigned(self, partitions: Collection[Partition]) -> None:
        """End a rebalance: these are ours, from the committed offsets or from where the owner seeks."""
        if self._closed:
            return
        self._owned = frozenset(partitions)
        try:
            if self._owned:
                self._placing = await self._places()
                await self._rebalance.assigned(self._owned)
            for at, offset in self._placing.items():
                self._client.seek(self._tp(*at), offset)
            if self._paused:
                self._client.pause(*(self._tp(*at) for at in self._paused))
        except Exception as error:  # noqa: BLE001  # not ours to judge: the next fetch raises it
            self._failure = explain(error, f"take over partitions of group {self._group}")
        finally:
            self._placing = {}
            self._rebalances += 1
            self._steady.set()

    async def _places(self) -> dict[Partition, int]:
        places: dict[Partition, int] = {}
        for at in self._owned:
            committed = await self.committed(at)
            if committed is not None:
                places[at] = committed
        fresh = {self._tp(*at): at for at in self._owned if at not in places}
        if fresh:
            earliest = self._start is Start.EARLIEST
            ends = await (self._client.beginning_offsets if earliest else self._client.end_offsets)(list(fresh))
            began = {at: ends[tp] for tp, at in fresh.items()}
            places |= began
            if not earliest:
                # Kept at once: a restart before the first commit must not skip what came meanwhile.
                await self._commit(began)
        return places
