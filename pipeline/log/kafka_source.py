"""Topics that are not ours, read as a member of a group: what an agent needs that takes records as log lines."""

import re
from collections.abc import Collection, Iterable
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor

from pipeline.log.config import KafkaConfig
from pipeline.log.interface import Rebalance, Start
from pipeline.log.kafka_connection import connection_arguments
from pipeline.log.kafka_consumer import REBALANCE_S, KafkaConsumer
from pipeline.log.kafka_faults import explained
from pipeline.log.kafka_quiet import quieten
from pipeline.log.kafka_rebalance import RebalanceListener
from pipeline.log.kafka_topics import probe

SESSION_S: Final = 10.0
FETCH_WAIT_MS: Final = 100
FETCH_BYTES: Final = 8 * 2**20
PARTITION_FETCH_BYTES: Final = 2**20

_ASSIGNORS: Final = {
    "range": RangePartitionAssignor,
    "roundrobin": RoundRobinPartitionAssignor,
    "sticky": StickyPartitionAssignor,
}


class KafkaSource:
    """A client of somebody's Kafka. What it asks raises PipelineErrors."""

    def __init__(self, config: KafkaConfig, group: str, assignor: str) -> None:
        self._config = config
        self._group = group
        self._assignor = assignor

    async def topics(self, wanted: Iterable[str]) -> list[str]:
        """Return the topics that there are of those named, and of those that an expression (`^…`) finds."""
        quieten()
        connection = connection_arguments(self._config)
        await probe(self._config.brokers, connection)
        with explained("look for topics"):
            client = AIOKafkaConsumer(**connection, enable_auto_commit=False)
            try:
                await client.start()
                there = await client.topics()
            finally:
                await client.stop()
        names = set(wanted)
        patterns = [re.compile(name) for name in names if name.startswith("^")]
        return sorted(one for one in there if one in names or any(pattern.search(one) for pattern in patterns))

    async def subscribe(self, topics: Collection[str], rebalance: Rebalance) -> KafkaConsumer:
        """Join the group; partitions without a committed offset begin with their first record."""
        client = AIOKafkaConsumer(
            **connection_arguments(self._config),
            group_id=self._group,
            enable_auto_commit=False,
            auto_offset_reset="none",
            partition_assignment_strategy=[_ASSIGNORS[self._assignor]],
            session_timeout_ms=round(SESSION_S * 1000),
            heartbeat_interval_ms=1000,
            rebalance_timeout_ms=round(REBALANCE_S * 1000),
            fetch_max_wait_ms=FETCH_WAIT_MS,
            fetch_max_bytes=FETCH_BYTES,
            max_partition_fetch_bytes=PARTITION_FETCH_BYTES,
        )
        consumer = KafkaConsumer(client, TopicPartition, self._group, rebalance, Start.EARLIEST)
        try:
            with explained(f"join group {self._group}"):
                await client.start()
                client.subscribe(list(topics), listener=RebalanceListener(consumer))
        except BaseException:
            await client.stop()
            raise
        return consumer
