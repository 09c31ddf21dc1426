"""What only the Kafka log does: it proves who it is, creates topics, and lives through a broker's death."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from pipeline.errors import PermanentError, TransientError
from pipeline.log import LogFullError, Partition, TopicSpec
from pipeline.log.config import KafkaConfig
from pipeline.log.kafka import KafkaLog
from tests.contracts.beds import DEADLINE_S, Owner, append, fetch, metrics, opened
from tests.servers.certificates import make_certificates
from tests.servers.kafka import Kafka
from tests.servers.processes import free_port

pytestmark = pytest.mark.kafka


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def guarded(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Kafka]:
    """A broker that asks for users and speaks TLS."""
    folder = tmp_path_factory.mktemp("guarded")
    certificates = await asyncio.to_thread(make_certificates, folder / "tls")
    async with Kafka(folder / "kafka", users={"alice": "geheim"}, tls=certificates) as server:
        yield server


def user(mechanism: str, password: str = "geheim") -> dict[str, str]:
    return {"mechanism": mechanism, "username": "alice", "password": password}


async def works(config: KafkaConfig) -> None:
    async with opened(KafkaLog(config, metrics())) as log:
        topic = config.topic_prefix + "metrics"
        assert await log.ensure_topic(TopicSpec(topic, 1)) == 1
        assert await append(log, Partition(topic, 0), b"x") == [0]
        assert [record.payload for record in await log.read(Partition(topic, 0), 0, max_bytes=100)] == [b"x"]
        consumer = await log.subscribe("g" + topic, [topic], Owner())
        assert len(await fetch(consumer, 1)) == 1
        await consumer.close()


async def refused(config: KafkaConfig, reason: str, kind: type[Exception] = PermanentError) -> None:
    with pytest.raises(kind, match=reason):
        async with asyncio.timeout(DEADLINE_S):
            await KafkaLog(config, metrics()).start()


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
async def test_users_are_known_by_their_password(guarded: Kafka, mechanism: str) -> None:
    await works(guarded.config(brokers=[guarded.sasl_address], sasl=user(mechanism)))
    await refused(guarded.config(brokers=[guarded.sasl_address], sasl=user(mechanism, "wrong")), "user or password")


async def test_brokers_are_known_by_their_certificate(guarded: Kafka) -> None:
    folder = guarded.folder.parent / "tls"
    await works(guarded.config(brokers=[guarded.tls_address], tls={"ca_file": folder / "ca.pem"}))
    await works(guarded.config(brokers=[guarded.tls_address], tls={"insecure_skip_verify": True}))
    await refused(guarded.config(brokers=[guarded.tls_address], tls={}), "not trusted")
    missing = guarded.config(brokers=[guarded.tls_address], tls={"ca_file": folder / "nothing.pem"})
    await refused(missing, "a file cannot be used")


async def test_users_are_known_behind_tls(guarded: Kafka) -> None:
    tls: dict[str, Any] = {"ca_file": guarded.folder.parent / "tls" / "ca.pem"}
    address = [guarded.sasl_tls_address]
    await works(guarded.config(brokers=address, tls=tls, sasl=user("SCRAM-SHA-512")))
    await refused(guarded.config(brokers=address, tls=tls, sasl=user("PLAIN", "wrong")), "user or password")


async def test_tls_to_a_port_without_it_is_told_from_a_broker_that_is_away(kafka: Kafka) -> None:
    await refused(kafka.config(tls={"insecure_skip_verify": True}), "TLS failed|connect", Exception)
    await refused(kafka.config(brokers=[f"127.0.0.1:{free_port()}"]), "connect to the Kafka broker", TransientError)


async def test_one_broker_of_the_list_is_enough(kafka: Kafka) -> None:
    await works(kafka.config(brokers=[f"127.0.0.1:{free_port()}", kafka.address]))


async def test_topics_are_created_as_asked_for(kafka: Kafka) -> None:
    config = kafka.config()
    async with opened(KafkaLog(config, metrics())) as log:
        name = config.topic_prefix + "metrics"
        await log.ensure_topic(TopicSpec(name, 5, retention_s=3600, retention_bytes=10**9))
        settings = await described(kafka, name)
        assert settings["message.timestamp.type"] == "LogAppendTime"
        assert settings["retention.ms"] == "3600000"
        assert settings["retention.bytes"] == "1000000000"
        assert settings["cleanup.policy"] == "delete"
        await log.ensure_topic(TopicSpec(config.topic_prefix + "settled", 1, compacted=True))
        assert (await described(kafka, config.topic_prefix + "settled"))["cleanup.policy"] == "compact"


@contextlib.asynccontextmanager
async def administrator(kafka: Kafka) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.address)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


async def described(kafka: Kafka, topic: str) -> dict[str, str]:
    async with administrator(kafka) as admin:
        (answer,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
    return {entry[0]: entry[1] for entry in answer.resources[0][4]}


async def test_records_are_as_large_as_the_smallest_topic_takes(kafka: Kafka) -> None:
    config = kafka.config()
    small, large = (Partition(config.topic_prefix + name, 0) for name in ("small", "large"))
    async with administrator(kafka) as admin:
        sizes = {small.topic: 100_000, large.topic: 4_000_000}
        await admin.create_topics(
            [NewTopic(name, 1, 1, topic_configs={"max.message.bytes": str(size)}) for name, size in sizes.items()]
        )
    async with opened(KafkaLog(config, metrics())) as log:
        await log.ensure_topic(TopicSpec(large.topic, 1))
        assert 3_900_000 < log.max_record_bytes < 4_000_000
        assert await (await log.append(large, (), bytes(log.max_record_bytes))) == 0
        await log.ensure_topic(TopicSpec(small.topic, 1))
        assert 90_000 < log.max_record_bytes < 100_000
        assert await (await log.append(small, (), bytes(log.max_record_bytes))) == 0
        # Many at once share batches, which must not be larger than the topic takes either.
        assert await append(log, small, *[bytes(40_000)] * 20) == list(range(1, 21))


async def test_a_record_that_the_brokers_refuse_as_too_large_is_told_and_the_partition_goes_on(kafka: Kafka) -> None:
    config = kafka.config()
    at = Partition(config.topic_prefix + "metrics", 0)
    async with opened(KafkaLog(config, metrics())) as log:
        await log.ensure_topic(TopicSpec(at.topic, 1))
        async with administrator(kafka) as admin:
            limit = {"max.message.bytes": "50000"}
            await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, at.topic, limit)])
        with pytest.raises(PermanentError, match="more than the brokers take"):
            await (await log.append(at, (), bytes(100_000)))
        assert await append(log, at, b"a", b"b") == [0, 1]


async def test_topics_that_cannot_be_created_are_told_with_the_reason(kafka: Kafka) -> None:
    config = kafka.config()
    async with opened(KafkaLog(config, metrics())) as log:
        with pytest.raises(PermanentError, match="fewer brokers than replicas"):
            await log.ensure_topic(TopicSpec(config.topic_prefix + "metrics", 1, replication=3))
        with pytest.raises(PermanentError, match="no legal topic name"):
            await log.ensure_topic(TopicSpec("a b", 1))
    config = kafka.config(create_topics=False)
    async with opened(KafkaLog(config, metrics())) as log:
        with pytest.raises(PermanentError, match="create_topics is off"):
            await log.ensure_topic(TopicSpec(config.topic_prefix + "metrics", 1))


async def test_nothing_acknowledged_is_lost_when_the_broker_is_killed_under_load(tmp_path: Path) -> None:
    async with Kafka(tmp_path) as kafka:
        config = kafka.config()
        topic = config.topic_prefix + "metrics"
        async with opened(KafkaLog(config, metrics())) as log:
            await log.ensure_topic(TopicSpec(topic, 3))
            consumer = await log.subscribe("g", [topic], Owner())
            acknowledged: dict[tuple[int, int], bytes] = {}
            seen: dict[tuple[int, int], bytes] = {}
            ended, produced = asyncio.Event(), asyncio.Event()

            async def produce(number: int) -> None:
                at, count = Partition(topic, number), 0
                while not ended.is_set():
                    payload = b"%d" % count + bytes(5_000)
                    try:
                        placed = [await log.append(at, (), payload) for _ in range(10)]
                    except (LogFullError, TransientError):
                        await asyncio.sleep(0.05)
                        continue
                    for offset in await asyncio.gather(*placed, return_exceptions=True):
                        if isinstance(offset, int):
                            acknowledged[number, offset] = payload
                    count += 1

            async def consume() -> None:
                while not produced.is_set() or not acknowledged.keys() <= seen.keys():
                    try:
                        found = await consumer.fetch(max_bytes=2**20, timeout_s=0.2)
                    except TransientError:
                        continue
                    for at, records in found.items():
                        seen.update({(at.number, record.offset): record.payload for record in records})

            async def kill() -> None:
                await more()
                for _ in range(2):
                    await kafka.kill()
                    await kafka.restart()
                    await more()
                ended.set()

            async def more() -> None:
                before = len(acknowledged)
                async with asyncio.timeout(DEADLINE_S):
                    while len(acknowledged) < before + 300:  # noqa: ASYNC110  # any of three tasks adds to it
                        await asyncio.sleep(0.05)

            async with asyncio.timeout(3 * DEADLINE_S):
                consuming = asyncio.create_task(consume())
                await asyncio.gather(*map(produce, range(3)), kill())
                produced.set()
                await consuming
            await consumer.close()
        assert len(acknowledged) > 600
        assert {place: seen[place] for place in acknowledged} == acknowledged
