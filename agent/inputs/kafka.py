"""Reading somebody's topics as log lines: an offset is committed when its records are in the buffer, on disk.

The offset is also kept beside the records, in their transaction, with the one that the group had: who is killed between
the two finds at the next start that the group has not moved, and goes on behind what is in the buffer. Where the group
has moved, another member did the work (or somebody moved it), and what the group says counts.
"""

import asyncio
import logging
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from agent.config.kafka import KafkaSourceConfig
from agent.inputs.attempts import Attempts
from agent.inputs.feed import Feed
from agent.inputs.labels import Labels
from agent.inputs.ticks import Ticks
from agent.logs.entry import Entry
from agent.logs.input import BY_RULES, Input, InputTools
from pipeline.errors import PermanentError, PipelineError, TransientError
from pipeline.log.interface import OffsetOutOfRangeError, Partition, Record

if TYPE_CHECKING:
    from pipeline.log.kafka_consumer import KafkaConsumer
    from pipeline.log.kafka_source import KafkaSource

logger = logging.getLogger(__name__)

FETCH_BYTES: Final = 4 * 1024 * 1024
POLL_S: Final = 1.0
LOOK_S: Final = 10.0
"""How often it is looked whether there are more topics, as by promtail."""
NO_KEY: Final = "none"


class KafkaTopics:
    """An `Input`, and the `Rebalance` of its consumer: each partition has stages, a lane and a position of its own."""

    def __init__(self, config: KafkaSourceConfig, tools: InputTools, source: "KafkaSource") -> None:
        self._config = config
        self._tools = tools
        self._source = source
        self._ticks = Ticks(tools.clock)
        self._labels = Labels(tools.relabel, config.labels)
        self._attempts = Attempts(tools, "kafka")
        self._consumer: KafkaConsumer | None = None
        self._feeds: dict[Partition, Feed] = {}
        self._committed: dict[Partition, int | None] = {}
        self._puts: dict[Partition, asyncio.Task[None]] = {}

    def trouble(self) -> str | None:
        """Return None while it is a member of its group."""
        return self._attempts.trouble

    async def run(self) -> None:
        """Read until cancelled; a broker that is away is asked again."""
        try:
            await self._attempts.run(self._follow)
        finally:
            await self._leave()

    async def _follow(self) -> None:
        topics = await self._source.topics(self._config.topics)
        if not topics:
            raise TransientError(f"Kafka has no topic that is one of {', '.join(self._config.topics)}", LOOK_S)
        try:
            self._consumer = await self._source.subscribe(topics, self)
            self._attempts.works()
            await self._read(self._consumer, topics)
        finally:
            await self._leave()

    async def _read(self, consumer: "KafkaConsumer", topics: list[str]) -> None:
        loop = asyncio.get_running_loop()
        look_s = loop.time() + LOOK_S
        while True:
            try:
                found = await consumer.fetch(max_bytes=FETCH_BYTES, timeout_s=POLL_S)
            except OffsetOutOfRangeError as error:
                logger.error("kafka: records are gone before they were read: %s", error)
                self._tools.metrics.errors.labels(self._tools.job, "kafka").inc()
                consumer.seek(error.at, error.start)
                continue
            for at, records in found.items():
                # Polling goes on while the buffer is full: who does not poll is taken for dead.
                consumer.pause(at)
                self._puts[at] = asyncio.create_task(self._put(at, records), name=f"kafka: {at.topic}/{at.number}")
            for at, put in list(self._puts.items()):
                if put.done():
                    del self._puts[at]
                    put.result()
                    with suppress(KeyError):
                        consumer.resume(at)
            if loop.time() > look_s and await self._are_others(topics):
                return
            look_s = loop.time() + LOOK_S if loop.time() > look_s else look_s

    async def _are_others(self, topics: list[str]) -> bool:
        """Tell whether there are other topics to read now; those that are read go on where that cannot be asked."""
        if set(topics) == set(self._config.topics):
            return False
        with suppress(PipelineError):
            return await self._source.topics(self._config.topics) != topics
        return False

    async def _put(self, at: Partition, records: Sequence[Record]) -> None:
        feed, behind = self._feeds[at], records[-1].offset + 1
        position = f"{_or_dash(self._committed.get(at))} {behind}".encode()
        size = sum(len(record.payload) for record in records)
        await feed.put(self._entries(at, records), position, read_bytes=size, durable=True)
        if self._consumer is not None:
            await self._consumer.commit({at: behind})
            self._committed[at] = behind

    def _entries(self, at: Partition, records: Sequence[Record]) -> Iterator[Entry]:
        found = {
            "__meta_kafka_topic": at.topic,
            "__meta_kafka_partition": str(at.number),
            "__meta_kafka_group_id": self._config.group_id,
        }
        for record in records:
            key = (record.key or b"").decode(errors="replace") or NO_KEY
            labels = self._labels.of({**found, "__meta_kafka_message_key": key})
            if labels is None:
                self._tools.drop(BY_RULES)
                continue
            time_ns = (
                record.append_time_ms * 1_000_000 if self._config.use_incoming_timestamp else self._ticks.next_ns()
            )
            yield Entry(labels, time_ns, record.payload.decode(errors="replace"))

    async def assigned(self, partitions: Collection[Partition]) -> None:
        """Go on behind what is in the buffer, where the group has not moved since."""
        consumer = self._consumer
        for at in partitions:
            feed = self._feeds.setdefault(
                at, Feed(self._tools, "kafka", f"{self._config.group_id}/{at.topic}/{at.number}")
            )
            self._committed[at] = committed = None if consumer is None else await consumer.committed(at)
            before, _, behind = feed.position.decode().partition(" ")
            if consumer is not None and behind and before == _or_dash(committed):
                consumer.seek(at, int(behind))

    async def revoked(self, partitions: Collection[Partition]) -> None:
        """Let what is read get into the buffer and be committed; what stages hold back goes on at once."""
        consumer = self._consumer
        assert consumer is not None
        try:
            async with asyncio.timeout(consumer.rebalance_timeout_s / 2):
                await asyncio.gather(*(put for at, put in self._puts.items() if at in partitions))
                await asyncio.gather(*(self._feeds[at].end() for at in partitions if at in self._feeds))
        except TimeoutError:
            logger.error("kafka: the buffer is full: what was read may be read again by another member")
        except PipelineError as error:
            logger.warning("kafka: what was read may be read again by another member: %s", error)
        for at in partitions:
            if (put := self._puts.pop(at, None)) is not None:
                put.cancel()
            self._feeds.pop(at, None)

    async def _leave(self) -> None:
        """Let go of everything; `revoked` is called within."""
        if (consumer := self._consumer) is not None:
            try:
                await consumer.close()
            finally:
                self._consumer = None
        for put in self._puts.values():
            put.cancel()
        self._puts.clear()
        self._feeds.clear()


def _or_dash(offset: int | None) -> str:
    return "-" if offset is None else str(offset)


def kafka_input(config: KafkaSourceConfig, tools: InputTools) -> Input:
    """Return what reads the topics; raises PermanentError where the client of Kafka is not installed."""
    try:
        from pipeline.log.kafka_source import KafkaSource
    except ModuleNotFoundError as error:
        raise PermanentError('reading Kafka needs aiokafka: pip install "pronoia[kafka]"') from error
    return KafkaTopics(config, tools, KafkaSource(config.connection(), config.group_id, config.assignor))
