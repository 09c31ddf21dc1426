"""Where the contract suite runs: each implementation of the log, opened again and again on the same data."""

import asyncio
import contextlib
import resource
from collections.abc import AsyncIterator, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from prometheus_client import CollectorRegistry

from pipeline.log import Consumer, Log, Partition, Record
from pipeline.log.config import KafkaConfig, LogConfig, SqliteConfig
from pipeline.log.kafka import KafkaLog
from pipeline.log.open import open_log
from pipeline.log.sqlite import SqliteLog
from pipeline.telemetry import LogMetrics
from pipeline.wire.envelope import Headers
from tests.servers.kafka import Kafka

DEADLINE_S = 60.0
HEADERS: Headers = (("pronoia", b"1"), ("items", b"3"), ("empty", b""))


class Bed(Protocol):
    """One kind of log, with data of its own."""

    config: LogConfig

    def open(self) -> contextlib.AbstractAsyncContextManager[Log]:
        """Open the log; closed at the end. One at a time."""

    async def forget(self, log: Log, at: Partition, before: int) -> None:
        """Let retention drop a partition's records before an offset."""

    def breaking(self) -> contextlib.AbstractAsyncContextManager[None]:
        """Let every append fail meanwhile."""


def metrics() -> LogMetrics:
    return LogMetrics(CollectorRegistry())


@contextlib.asynccontextmanager
async def opened(log: Log) -> AsyncIterator[Log]:
    await log.start()
    try:
        yield log
    finally:
        await log.close()


class SqliteBed:
    def __init__(self, folder: Path, **more: Any) -> None:
        self.config = LogConfig(sqlite=SqliteConfig.model_validate({"path": folder / "log", **more}))

    def open(self) -> contextlib.AbstractAsyncContextManager[Log]:
        return opened(open_log(self.config, metrics()))

    async def forget(self, log: Log, at: Partition, before: int) -> None:
        assert isinstance(log, SqliteLog)
        await log.delete_before(at, before)

    @contextlib.asynccontextmanager
    async def breaking(self) -> AsyncIterator[None]:
        with small_files():
            yield


@contextlib.contextmanager
def small_files() -> Iterator[None]:
    """Let no file of this process grow, as on a disk that takes nothing more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class KafkaBed:
    def __init__(self, server: Kafka, *, delivery_s: float = 30.0, **more: Any) -> None:
        self._server = server
        self._delivery_s = delivery_s
        self._kafka: KafkaConfig = server.config(**more)
        self.config = LogConfig(kafka=self._kafka)

    def open(self) -> contextlib.AbstractAsyncContextManager[Log]:
        return opened(KafkaLog(self._kafka, metrics(), delivery_s=self._delivery_s))

    async def forget(self, log: Log, at: Partition, before: int) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=self._server.address)
        await admin.start()
        try:
            await admin.delete_records({TopicPartition(*at): RecordsToDelete(before_offset=before)})
        finally:
            await admin.close()

    @contextlib.asynccontextmanager
    async def breaking(self) -> AsyncIterator[None]:
        await self._server.kill()
        try:
            yield
        finally:
            await self._server.restart()


@dataclass
class Owner:
    """Notes what a rebalance says."""

    owned: set[Partition] = field(default_factory=set)
    gained: list[frozenset[Partition]] = field(default_factory=list)
    lost: list[frozenset[Partition]] = field(default_factory=list)

    async def assigned(self, partitions: Collection[Partition]) -> None:
        self.gained.append(frozenset(partitions))
        self.owned |= set(partitions)

    async def revoked(self, partitions: Collection[Partition]) -> None:
        self.lost.append(frozenset(partitions))
        self.owned -= set(partitions)


async def append(log: Log, at: Partition, *payloads: bytes, key: bytes | None = None) -> list[int]:
    """Append payloads in this order and wait until they are durable; return their offsets."""
    placed = [await log.append(at, HEADERS, payload, key=key) for payload in payloads]
    return [await appending for appending in placed]


async def fetch(consumer: Consumer, count: int, *, max_bytes: int = 2**20) -> list[Record]:
    """Fetch until so many records have come."""
    found: list[Record] = []
    async with asyncio.timeout(DEADLINE_S):
        while len(found) < count:
            for records in (await consumer.fetch(max_bytes=max_bytes, timeout_s=0.2)).values():
                found.extend(records)
    return found


async def until(condition: Any, *polled: Consumer) -> None:
    """Poll the consumers until a condition holds; they must not get any record."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            for consumer in polled:
                assert not await consumer.fetch(max_bytes=2**20, timeout_s=0.05)
            await asyncio.sleep(0)
