"""The topics of a Kafka cluster: made where they are not there, and refused where they would lose what has to stay."""

import asyncio
import contextlib
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from aiokafka.admin import NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.conn import create_conn
from aiokafka.errors import for_code

from pipeline.errors import PermanentError, PipelineError, TransientError
from pipeline.log.interface import TopicSpec
from pipeline.log.kafka_connection import REQUEST_S
from pipeline.log.kafka_faults import explain

logger = logging.getLogger(__name__)

DEFAULT_MAX_MESSAGE_BYTES: Final = 1_048_588
UNKNOWN_TOPIC: Final = 3
TOPIC_EXISTS: Final = 36


@dataclass(frozen=True, slots=True)
class Topic:
    """What has to be known of a topic to append to it. The broker measures a batch against `max_message_bytes`."""

    partitions: int
    max_message_bytes: int
    compacted: bool


async def ensure(admin: Any, spec: TopicSpec, *, may_create: bool) -> Topic:
    """Return a topic, made where it is not there; raises PipelineError, and what the client raises."""
    partitions = await count_partitions(admin, spec.name)
    if partitions is None:
        if not may_create:
            raise PermanentError(f"topic {spec.name} is not there, and log.kafka.create_topics is off")
        await _create(admin, spec)
        partitions = await _await_leaders(admin, spec.name)
    return Topic(partitions, await _check_settings(admin, spec), spec.compacted)


async def count_partitions(admin: Any, topic: str) -> int | None:
    """Return how many partitions a topic has, all with a leader; None where there is no such topic."""
    # A broker, as it comes, makes a topic that is asked for by its name, with settings of its own.
    if topic not in await admin.list_topics():
        return None
    found = (await admin.describe_topics([topic]))[0]
    if found["error_code"] == UNKNOWN_TOPIC:
        return None
    if found["error_code"]:
        raise for_code(found["error_code"])(topic)
    if any(partition["leader"] == -1 for partition in found["partitions"]):
        raise TransientError(f"topic {topic} has a partition without a leader: are enough brokers up?", 1.0)
    return len(found["partitions"])


async def _create(admin: Any, spec: TopicSpec) -> None:
    settings = {
        # A sender's clock must not expire acknowledged records.
        "message.timestamp.type": "LogAppendTime",
        "min.insync.replicas": str(spec.min_in_sync),
        "cleanup.policy": "compact" if spec.compacted else "delete",
    }
    if spec.retention_bytes is not None:
        settings["retention.bytes"] = str(spec.retention_bytes)
    if spec.retention_s is not None:
        settings["retention.ms"] = str(round(spec.retention_s * 1000))
    topic = NewTopic(spec.name, spec.partitions, spec.replication, topic_configs=settings)
    answer = await admin.create_topics([topic])
    for _, code, *message in answer.topic_errors:
        if code == 0:
            logger.info("created a Kafka topic", extra={"topic": spec.name, "partitions": spec.partitions})
        # Another process may have been quicker.
        elif code != TOPIC_EXISTS:
            raise for_code(code)(message[0] if message else spec.name)


async def _await_leaders(admin: Any, topic: str) -> int:
    """Wait until every broker's answer shows a new topic with all its leaders."""
    async with asyncio.timeout(REQUEST_S):
        while True:
            with contextlib.suppress(TransientError):
                if (partitions := await count_partitions(admin, topic)) is not None:
                    return partitions
            await asyncio.sleep(0.1)


async def _check_settings(admin: Any, spec: TopicSpec) -> int:
    """Return how large a batch the topic takes; raises PermanentError where it would lose what has to stay."""
    answers = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, spec.name)])
    found: dict[str, str] = {}
    for code, message, _, name, entries in answers[0].resources:
        if code:
            raise for_code(code)(message or name)
        found |= {entry[0]: entry[1] for entry in entries}
    compacted = "compact" in found.get("cleanup.policy", "")
    if compacted != spec.compacted:
        needed = "compact" if spec.compacted else "delete"
        raise PermanentError(f"topic {spec.name} must have cleanup.policy={needed}; it has {found['cleanup.policy']}")
    if found.get("message.timestamp.type") != "LogAppendTime":
        logger.warning(
            "the topic keeps its senders' timestamps: a wrong clock can expire acknowledged records; "
            "set message.timestamp.type=LogAppendTime",
            extra={"topic": spec.name},
        )
    return int(found.get("max.message.bytes", DEFAULT_MAX_MESSAGE_BYTES))


async def probe(brokers: Iterable[str], connection: Mapping[str, Any]) -> None:
    """Connect to one broker after the other until one takes us: the client itself hides why it could not.

    `connection` is `kafka_connection.connection_arguments`. Raises PipelineError.
    """
    faults: list[PipelineError] = []
    options = {k: v for k, v in connection.items() if k not in ("bootstrap_servers", "retry_backoff_ms")}
    for broker in brokers:
        host, _, port = broker.rpartition(":")
        try:
            opened = await create_conn(host.strip("[]"), int(port), **options)
        except Exception as error:  # noqa: BLE001  # told to the caller, unless another broker takes us
            faults.append(explain(error, f"connect to the Kafka broker {broker}"))
            continue
        opened.close()
        return
    raise next((fault for fault in faults if isinstance(fault, PermanentError)), faults[0])
