"""How a group's sharing of its partitions, of which aiokafka's client tells, reaches our consumer."""

from collections.abc import Collection
from typing import Any

from aiokafka import ConsumerRebalanceListener

from pipeline.log.interface import Partition
from pipeline.log.kafka_consumer import KafkaConsumer


class RebalanceListener(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka is not typed
    """Hands the client's rebalance on to our consumer."""

    def __init__(self, consumer: KafkaConsumer) -> None:
        self._consumer = consumer

    async def on_partitions_revoked(self, revoked: Collection[Any]) -> None:
        """Called before the group shares anew."""
        await self._consumer.revoked()

    async def on_partitions_assigned(self, assigned: Collection[Any]) -> None:
        """Called once the group has shared."""
        await self._consumer.assigned([Partition(tp.topic, tp.partition) for tp in assigned])
