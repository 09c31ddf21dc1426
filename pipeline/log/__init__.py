"""The log: an ordered, durable sequence of records per partition, read by consumer groups.

One interface, two implementations held to one contract suite (`tests/contracts/`): `kafka` for fleets, `sqlite` for one
process and for the agent's disk buffer.
"""

from pipeline.log.interface import (
    Appending,
    Consumer,
    Log,
    LogFullError,
    OffsetOutOfRangeError,
    Partition,
    Rebalance,
    Record,
    Start,
    TopicSpec,
    record_bytes,
)

__all__ = [
    "Appending",
    "Consumer",
    "Log",
    "LogFullError",
    "OffsetOutOfRangeError",
    "Partition",
    "Rebalance",
    "Record",
    "Start",
    "TopicSpec",
    "record_bytes",
]
