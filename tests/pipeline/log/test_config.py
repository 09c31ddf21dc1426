from pathlib import Path

import pytest

from pipeline.config import ConfigError, parse, validate
from pipeline.errors import PermanentError
from pipeline.log import TopicSpec
from pipeline.log.config import LogConfig, SaslConfig
from pipeline.log.kafka import KafkaLog
from pipeline.log.open import open_log
from pipeline.log.sqlite import SqliteLog
from tests.contracts.beds import metrics


def read(text: str) -> LogConfig:
    return validate(parse(text, "gateway.yml"), LogConfig)


def test_a_line_is_enough_for_either_log() -> None:
    kafka = read('kafka: {brokers: ["127.0.0.1:9092"]}').kafka
    assert kafka is not None
    assert (kafka.topic_prefix, kafka.create_topics, kafka.partitions) == ("pronoia.", True, 6)
    assert (kafka.replication, kafka.min_in_sync) == (3, 2)
    sqlite = read("sqlite: {path: data/log}").sqlite
    assert sqlite is not None
    assert (sqlite.path, sqlite.max_bytes) == (Path("data/log"), 4 * 2**30)


async def test_the_configured_log_is_opened() -> None:
    assert isinstance(open_log(read('kafka: {brokers: ["127.0.0.1:9092"]}'), metrics()), KafkaLog)
    assert isinstance(open_log(read("sqlite: {path: data/log}"), metrics()), SqliteLog)


def test_topics_are_named_and_shaped_by_the_configuration() -> None:
    config = read('kafka: {brokers: ["h:1"], topic_prefix: x-, partitions: 12, retention: 7d, retention_bytes: 1GiB}')
    assert config.topic("metrics") == TopicSpec(
        "x-metrics", 12, replication=3, min_in_sync=2, retention_bytes=2**30, retention_s=604_800.0
    )
    assert config.topic("settled", compacted=True, partitions=1) == TopicSpec(
        "x-settled", 1, replication=3, min_in_sync=2, compacted=True
    )
    assert read("sqlite: {path: p, max_age: 1h}").topic("metrics") == TopicSpec(
        "pronoia.metrics", 4, retention_s=3600.0
    )


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("{}", 1, "give exactly one of kafka and sqlite"),
        ("kafka: {brokers: ['h:1']}\nsqlite: {path: p}", 1, "give exactly one of kafka and sqlite"),
        ("kafka:\n  brokers: []", 2, "at least 1 item"),
        ("kafka:\n  brokers: [localhost]", 2, "not a broker's address: 'localhost'"),
        ("kafka:\n  brokers: ['h:1']\n  acks: 1", 3, "unknown key"),
        ("kafka:\n  brokers: ['h:1']\n  partitions: 0", 3, "greater than or equal to 1"),
        ("kafka:\n  brokers: ['h:1']\n  topic_prefix: a/b", 3, "letters, digits"),
        ("kafka:\n  brokers: ['h:1']\n  replication: 1", 1, "min_in_sync 2 is more than replication 1"),
        ("kafka:\n  brokers: ['h:1']\n  sasl: {mechanism: GSSAPI, username: u, password: p}", 3, "SCRAM-SHA-512"),
        ("kafka:\n  brokers: ['h:1']\n  sasl: {mechanism: PLAIN, username: u}", 3, "either password or password_file"),
        ("kafka:\n  brokers: ['h:1']\n  tls: {key_file: k}", 3, "key_file needs cert_file"),
        ("sqlite:\n  path: p\n  max_bytes: 1MiB", 3, "less than 16MiB"),
    ],
)
def test_mistakes_are_told_with_their_line(text: str, line: int, reason: str) -> None:
    with pytest.raises(ConfigError) as raised:
        read(text)
    (mistake,) = raised.value.mistakes
    assert mistake.line == line
    assert reason in mistake.reason


def test_passwords_come_from_the_file_or_from_a_file_of_their_own_and_are_not_shown(tmp_path: Path) -> None:
    config = SaslConfig.model_validate({"mechanism": "PLAIN", "username": "u", "password": "geheim"})
    assert config.secret() == "geheim"
    assert "geheim" not in repr(config)
    file = tmp_path / "password"
    file.write_text("geheim\n")
    given = {"mechanism": "PLAIN", "username": "u", "password_file": file}
    assert SaslConfig.model_validate(given).secret() == "geheim"
    file.unlink()
    with pytest.raises(PermanentError, match="password_file"):
        SaslConfig.model_validate(given).secret()
