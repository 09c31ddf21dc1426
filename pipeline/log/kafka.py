"""The log on Kafka, through aiokafka: topics, appends, groups, and reading without a group.

Appending and consuming live beside (`kafka_producer`, `kafka_consumer`) and get aiokafka's objects from here: only the
modules that make them import aiokafka, which is not installed everywhere.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from pipeline.errors import PermanentError, TransientError
from pipeline.log.config import KafkaConfig
from pipeline.log.interface import (
    Appending,
    Consumer,
    OffsetOutOfRangeError,
    Partition,
    Rebalance,
    Record,
    Start,
    TopicSpec,
    record_bytes,
)
from pipeline.log.kafka_connection import REQUEST_S, connection_arguments
from pipeline.log.kafka_consumer import REBALANCE_S, KafkaConsumer
from pipeline.log.kafka_faults import explained
from pipeline.log.kafka_producer import Producing
from pipeline.log.kafka_quiet import quieten
from pipeline.log.kafka_rebalance import RebalanceListener
from pipeline.log.kafka_topics import DEFAULT_MAX_MESSAGE_BYTES, Topic, count_partitions, ensure, probe
from pipeline.telemetry import LogMetrics
from pipeline.wire.envelope import Headers

DELIVERY_S: Final = 30.0
CLOSE_S: Final = 10.0
# What Kafka adds to a record and its batch: 61 bytes for the batch, some varints for the record and its headers.
OVERHEAD_BYTES: Final = 1024
# A member buffers one response for each broker, and no more than this for each partition.
FETCH_BYTES: Final = 8 * 2**20
PARTITION_FETCH_BYTES: Final = 2 * 2**20
# The client has one fetch at a broker at a time, and a partition that was paused, or had records at hand, is not in the
# one that waits for the others: this is how long it may be kept waiting.
FETCH_WAIT_MS: Final = 100
# A member that died is noticed after this; the broker's own lower bound is 6 s.
SESSION_S: Final = 10.0


class KafkaLog:
    """A `Log` on a Kafka cluster; see `pipeline.log.interface.Log`."""

    def __init__(self, config: KafkaConfig, metrics: LogMetrics, *, delivery_s: float = DELIVERY_S) -> None:
        self._config = config
        self._metrics = metrics
        self._delivery_s = delivery_s
        self._connection: dict[str, Any] = {}
        self._admin: Any = None
        self._producing: Producing | None = None
        self._reader: Any = None
        self._opening = asyncio.Lock()
        self._consumers: list[KafkaConsumer] = []
        self._topics: dict[str, Topic] = {}

    @property
    def max_record_bytes(self) -> int:
        """The most bytes of payload, key and headers: the smallest `max.message.bytes` of the ensured topics."""
        smallest = min((topic.max_message_bytes for topic in self._topics.values()), default=DEFAULT_MAX_MESSAGE_BYTES)
        return max(1, smallest - OVERHEAD_BYTES)

    async def start(self) -> None:
        """Connect; raises TransientError where no broker answers, PermanentError where one refuses us."""
        quieten()
        self._connection = connection_arguments(self._config)
        await probe(self._config.brokers, self._connection)
        self._admin = AIOKafkaAdminClient(**self._connection)
        with explained("connect to Kafka"):
            try:
                await self._admin.start()
            except BaseException:
                await self._close_admin()
                raise
        self._producing = Producing(
            self._new_producer,
            self._metrics,
            max_pending_bytes=self._config.max_pending_bytes,
            delivery_s=self._delivery_s,
        )

    async def _new_producer(self) -> Any:
        producer = AIOKafkaProducer(
            **self._connection,
            enable_idempotence=True,
            acks="all",
            linger_ms=0,
            # A batch is what the broker measures against max.message.bytes.
            max_batch_size=self.max_record_bytes,
            max_request_size=max(
                (topic.max_message_bytes for topic in self._topics.values()), default=DEFAULT_MAX_MESSAGE_BYTES
            ),
        )
        try:
            with explained("start a Kafka producer"):
                await producer.start()
        except BaseException:
            await producer.stop()
            raise
        return producer

    async def close(self) -> None:
        """Finish what is being appended, within ten seconds, and let go of everything."""
        for consumer in self._consumers:
            await consumer.close()
        if self._producing is not None:
            await self._producing.close(CLOSE_S)
        if self._reader is not None:
            await self._reader.stop()
            self._reader = None
        await self._close_admin()

    async def _close_admin(self) -> None:
        if self._admin is not None:
            await self._admin.close()
            self._admin = None

    async def ensure_topic(self, spec: TopicSpec) -> int:
        """Create the topic if it is not there and creating is allowed; return how many partitions it has."""
        known_bytes = self.max_record_bytes
        with explained(f"topic {spec.name}"):
            found = await ensure(self._open_admin(), spec, may_create=self._config.create_topics)
        self._topics[spec.name] = found
        if self.max_record_bytes < known_bytes and self._producing is not None:
            # Its batches would be too large for this topic.
            await self._producing.renew()
        return found.partitions

    async def append(self, at: Partition, headers: Headers, payload: bytes, *, key: bytes | None = None) -> Appending:
        """Put a record at the end of a partition; see `pipeline.log.interface.Log`."""
        if self._producing is None:
            raise PermanentError("the log is not open")
        topic = self._topics.get(at.topic)
        if topic is None or not 0 <= at.number < topic.partitions:
            raise _unknown(at)
        if key is None and topic.compacted:
            raise PermanentError(f"topic {at.topic} is compacted: its records need a key")
        size = record_bytes(headers, payload, key)
        if size > self.max_record_bytes:
            raise PermanentError(f"a record of {size} bytes; this log takes {self.max_record_bytes}")
        return await self._producing.place(at, headers, payload, key, size)

    async def bounds(self, at: Partition) -> tuple[int, int]:
        """Return the first offset kept and the offset that the next record will get."""
        tp = TopicPartition(*at)
        with explained(f"look up the bounds of {at.topic}/{at.number}"):
            reader = await self._open_reader()
            first, end = await asyncio.gather(reader.beginning_offsets([tp]), reader.end_offsets([tp]))
        return first[tp], end[tp]

    async def offset_at(self, at: Partition, time_ms: int) -> int:
        """Return the first offset appended at or after `time_ms`; the end where there is none."""
        tp = TopicPartition(*at)
        with explained(f"look up a time in {at.topic}/{at.number}"):
            reader = await self._open_reader()
            found = (await reader.offsets_for_times({tp: max(0, time_ms)}))[tp]
        return (await self.bounds(at))[1] if found is None else int(found.offset)

    async def read(self, at: Partition, offset: int, *, max_bytes: int) -> Sequence[Record]:
        """Read records from `offset` on; empty at the end. Raises OffsetOutOfRangeError."""
        first, end = await self.bounds(at)
        if not first <= offset <= end:
            where = f"{at.topic}/{at.number}"
            raise OffsetOutOfRangeError(f"{where} keeps {first} to {end - 1}, not {offset}", at, first)
        found: list[Record] = []
        size = 0
        async with contextlib.aclosing(self._scan(at, offset, end)) as records:
            async for record in records:
                size += record_bytes(record.headers, record.payload, record.key)
                if found and size > max_bytes:
                    break
                found.append(record)
        return found

    async def compacted(self, at: Partition) -> Mapping[bytes, bytes]:
        """Return the newest payload of every key of a compacted topic's partition."""
        first, end = await self.bounds(at)
        newest: dict[bytes, bytes] = {}
        async with contextlib.aclosing(self._scan(at, first, end)) as records:
            async for record in records:
                if record.key is not None:
                    newest[record.key] = record.payload
        return {key: payload for key, payload in newest.items() if payload}

    async def _scan(self, at: Partition, offset: int, end: int) -> AsyncGenerator[Record, None]:
        """Read a partition from an offset to an end that was looked up before, with a client of its own."""
        if offset >= end:
            return
        tp = TopicPartition(*at)
        with explained(f"read {at.topic}/{at.number}"):
            reader = await self._new_reader()
            try:
                reader.assign([tp])
                reader.seek(tp, offset)
                # A compacted topic may hold nothing up to its end: the position tells, not the records.
                while (position := await reader.position(tp)) < end:
                    found = (await reader.getmany(tp, timeout_ms=round(REQUEST_S * 1000), max_records=64)).get(tp, ())
                    for record in found:
                        value = record.value or b""
                        yield Record(at, record.offset, record.timestamp, record.key, record.headers, value)
                    if not found and await reader.position(tp) == position:
                        raise TransientError(f"nothing came of offset {position} within {REQUEST_S:.0f} s")
            finally:
                await reader.stop()

    async def committed(self, group: str, partitions: Collection[Partition]) -> Mapping[Partition, int]:
        """Return a group's committed offsets where it has any, without joining it."""
        if not partitions:
            return {}
        asked = [TopicPartition(*at) for at in partitions]
        with explained(f"look up the committed offsets of group {group}"):
            found = await self._open_admin().list_consumer_group_offsets(group, partitions=asked)
        return {Partition(*tp): meta.offset for tp, meta in found.items() if meta.offset >= 0}

    async def subscribe(
        self, group: str, topics: Collection[str], rebalance: Rebalance, *, start: Start = Start.EARLIEST
    ) -> Consumer:
        """Join a group; `assigned` is called in the background once the partitions are shared out."""
        for topic in topics:
            if topic not in self._topics:
                with explained(f"topic {topic}"):
                    if await count_partitions(self._open_admin(), topic) is None:
                        raise PermanentError(f"the log has no topic {topic}")
        client = AIOKafkaConsumer(
            **self._connection,
            group_id=group,
            enable_auto_commit=False,
            auto_offset_reset="none",
            session_timeout_ms=round(SESSION_S * 1000),
            heartbeat_interval_ms=1000,
            rebalance_timeout_ms=round(REBALANCE_S * 1000),
            fetch_max_wait_ms=FETCH_WAIT_MS,
            fetch_max_bytes=FETCH_BYTES,
            max_partition_fetch_bytes=PARTITION_FETCH_BYTES,
        )
        consumer = KafkaConsumer(client, TopicPartition, group, rebalance, start)
        try:
            with explained(f"join group {group}"):
                await client.start()
                client.subscribe(list(topics), listener=RebalanceListener(consumer))
        except BaseException:
            await client.stop()
            raise
        self._consumers = [*(known for known in self._consumers if not known.closed), consumer]
        return consumer

    def _open_admin(self) -> Any:
        if self._admin is None:
            raise PermanentError("the log is not open")
        return self._admin

    async def _open_reader(self) -> Any:
        """Return the one client that looks offsets up; it is never assigned anything."""
        async with self._opening:
            if self._reader is None:
                self._reader = await self._new_reader()
            return self._reader

    async def _new_reader(self) -> Any:
        self._open_admin()
        reader = AIOKafkaConsumer(
            **self._connection,
            enable_auto_commit=False,
            auto_offset_reset="none",
            fetch_max_bytes=FETCH_BYTES,
            max_partition_fetch_bytes=PARTITION_FETCH_BYTES,
        )
        try:
            await reader.start()
        except BaseException:
            await reader.stop()
            raise
        return reader


def _unknown(at: Partition) -> PermanentError:
    return PermanentError(f"partition {at.number} of topic {at.topic} is not known: ensure_topic comes first")
