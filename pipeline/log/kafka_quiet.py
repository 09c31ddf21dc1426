"""The Kafka client's own log lines, tamed: while a broker is away it writes ten ERROR lines a second, each the same."""

from typing import Final

from pipeline import seldom

_NAMES: Final = (
    "aiokafka",
    "aiokafka.conn",
    "aiokafka.cluster",
    "aiokafka.admin.client",
    "aiokafka.producer.sender",
    "aiokafka.producer.producer",
    "aiokafka.consumer.consumer",
    "aiokafka.consumer.fetcher",
    "aiokafka.consumer.group_coordinator",
)


def quieten() -> None:
    """Tame the client's loggers, once."""
    seldom.quieten(_NAMES)
