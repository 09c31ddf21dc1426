"""Records of a real Kafka as log lines: each once, across restarts, kills, take-overs and a group that was moved."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from pydantic import ValidationError

from agent.config.kafka import KafkaSourceConfig
from agent.inputs.kafka import kafka_input
from agent.logs.input import Input
from tests.agent.inputs.parts import Desk, Memory, all_labels, running
from tests.e2e.processes import until
from tests.servers.certificates import make_certificates
from tests.servers.kafka import Kafka

pytestmark = [pytest.mark.kafka, pytest.mark.asyncio(loop_scope="session")]


class Topic:
    """A topic of a test's own, with a producer."""

    def __init__(self, kafka: Kafka, producer: AIOKafkaProducer, name: str) -> None:
        self.kafka = kafka
        self.producer = producer
        self.name = name
        self.group = f"g-{name}"

    async def write(self, *lines: str, partition: int = 0, key: bytes | None = None) -> None:
        for line in lines:
            await self.producer.send(self.name, line.encode(), partition=partition, key=key, timestamp_ms=1_000_000)
        await self.producer.flush()

    def source(self, desk: Desk, **more: Any) -> Input:
        given = {"brokers": [self.kafka.address], "topics": [self.name], "group_id": self.group, **more}
        return kafka_input(KafkaSourceConfig.model_validate(given), desk.tools())

    async def committed(self, partition: int = 0) -> int | None:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.kafka.address)
        await admin.start()
        try:
            found = await admin.list_consumer_group_offsets(self.group)
        finally:
            await admin.close()
        offset = found.get(TopicPartition(self.name, partition))
        return None if offset is None or offset.offset < 0 else int(offset.offset)

    async def move(self, offset: int) -> None:
        consumer = AIOKafkaConsumer(bootstrap_servers=self.kafka.address, group_id=self.group, enable_auto_commit=False)
        await consumer.start()
        try:
            at = TopicPartition(self.name, 0)
            consumer.assign([at])
            await consumer.commit({at: offset})
        finally:
            await consumer.stop()


@pytest_asyncio.fixture(loop_scope="session")
async def topic(kafka: Kafka) -> AsyncIterator[Topic]:
    name = f"logs-{uuid.uuid4().hex[:8]}"
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.address)
    producer = AIOKafkaProducer(bootstrap_servers=kafka.address)
    await admin.start()
    await producer.start()
    try:
        await admin.create_topics([NewTopic(name, 2, 1)])
        yield Topic(kafka, producer, name)
    finally:
        await producer.stop()
        await admin.close()


async def test_records_come_with_labels_and_are_committed_once_they_are_kept(topic: Topic) -> None:
    desk = Desk(Memory(), all_labels)
    await topic.write("one", "two", key=b"k")
    async with running(topic.source(desk, use_incoming_timestamp=True, labels={"by": "kafka"})):
        lines = await desk.memory.has(2)
        await topic.write("three", partition=1)
        await desk.memory.has(3)

        async def is_committed() -> bool:
            return (await topic.committed(), await topic.committed(1)) == (2, 1)

        await until(is_committed, "the offsets are committed")
    assert lines[0].labels == {
        "by": "kafka",
        "meta_kafka_topic": topic.name,
        "meta_kafka_partition": "0",
        "meta_kafka_group_id": topic.group,
        "meta_kafka_message_key": "k",
    }
    assert lines[0].time_ns == 1_000_000 * 10**6
    assert lines[2].labels["meta_kafka_message_key"] == "none"


async def test_restarts_neither_lose_nor_repeat(topic: Topic) -> None:
    memory, expected = Memory(), list[str]()
    for start in range(3):
        lines = [f"{start}-{number}" for number in range(100)]
        expected += lines
        await topic.write(*lines)
        async with running(topic.source(Desk(memory))):
            await memory.has(len(expected))
    assert memory.texts == expected


async def test_who_is_killed_before_committing_goes_on_behind_what_is_kept(topic: Topic) -> None:
    memory = Memory()
    await topic.write("0", "1", "2")
    async with running(topic.source(Desk(memory))):
        await memory.has(3)
    # As after a kill: the buffer has the records, the group knows of none but the first.
    await topic.move(1)
    [key] = [key for key in memory.kept if key.endswith(b"position")]
    memory.kept[key] = b"1 3"
    await topic.write("3")
    async with running(topic.source(Desk(memory))):
        await memory.has(4)
    assert memory.texts == ["0", "1", "2", "3"]


async def test_a_group_that_somebody_moved_is_followed(topic: Topic) -> None:
    memory = Memory()
    await topic.write("0", "1", "2")
    async with running(topic.source(Desk(memory))):
        await memory.has(3)
    await topic.move(1)
    async with running(topic.source(Desk(memory))):
        await memory.has(5)
    assert memory.texts == ["0", "1", "2", "1", "2"]


async def test_nothing_is_committed_while_the_buffer_is_full(topic: Topic) -> None:
    desk = Desk(Memory())
    desk.memory.room.clear()
    await topic.write("0", "1")
    async with running(topic.source(desk)):

        async def is_waiting() -> bool:
            return desk.value("lines") == 2

        await until(is_waiting, "the records are read")
        assert await topic.committed() is None
        desk.memory.room.set()
        await desk.memory.has(2)


async def test_partitions_that_another_member_takes_over_go_on_there(topic: Topic) -> None:
    first, second = Desk(Memory()), Desk(Memory())
    await topic.write("a0")
    await topic.write("b0", partition=1)
    async with running(topic.source(first, assignor="roundrobin")):
        await first.memory.has(2)
        async with running(topic.source(second, assignor="roundrobin")):
            number = 0

            async def both_work() -> bool:
                nonlocal number
                number += 1
                await topic.write(f"a{number}")
                await topic.write(f"b{number}", partition=1)
                return bool(second.memory.lines)

            await until(both_work, "the second gets records, too")

            async def all_came() -> bool:
                return len(first.memory.lines) + len(second.memory.lines) >= 2 * number + 2

            await until(all_came, "every record is taken by one of them")
    texts = sorted(first.memory.texts + second.memory.texts)
    assert texts == sorted(f"{letter}{one}" for one in range(number + 1) for letter in "ab")


async def test_topics_are_found_by_expression(topic: Topic) -> None:
    desk = Desk(Memory())
    await topic.write("found")
    async with running(topic.source(desk, topics=[f"^{topic.name[:-2]}.*"])):
        await desk.memory.has(1)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"topics": ["^("]}, "regular expression"),
        ({"topics": []}, "at least 1"),
        ({"brokers": ["nowhere"]}, "broker"),
        ({"assignor": "mine"}, "range"),
        ({"authentication": {"type": "ssl", "tls_config": {"server_name": "x"}}}, "server_name"),
    ],
)
async def test_what_cannot_be_is_refused(given: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        KafkaSourceConfig.model_validate({"brokers": ["a:1"], "topics": ["t"], **given})


async def test_brokers_that_ask_for_a_password_over_tls(tmp_path: Path) -> None:
    made = make_certificates(tmp_path / "certificates")
    desk = Desk(Memory())
    async with Kafka(tmp_path / "kafka", users={"alice": "secret"}, tls=made) as kafka:
        producer = AIOKafkaProducer(bootstrap_servers=kafka.address)
        await producer.start()
        await producer.send_and_wait("asked", b"line")
        await producer.stop()
        sasl = {"mechanism": "SCRAM-SHA-512", "user": "alice", "use_tls": True, "ca_file": made / "ca.pem"}
        given = {"brokers": [kafka.sasl_tls_address], "topics": ["asked"]}

        def source(password: str) -> Input:
            authentication = {"type": "sasl", "sasl_config": {**sasl, "password": password}}
            return kafka_input(
                KafkaSourceConfig.model_validate({**given, "authentication": authentication}), desk.tools()
            )

        async with running(source("secret")):
            await desk.memory.has(1)
        refused = source("wrong")
        task = asyncio.create_task(refused.run())

        async def is_told() -> bool:
            return "user or password" in (refused.trouble() or "")

        try:
            await until(is_told, "it says that the password is refused")
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
