"""The `log:` section of a configuration.

log: {kafka: {brokers: ["127.0.0.1:9092"], topic_prefix: "pronoia."}}
log: {sqlite: {path: data/log}}
"""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from pipeline.config import Bytes, FilePath, Seconds, Section
from pipeline.errors import PermanentError
from pipeline.log.interface import TopicSpec

Count = Annotated[int, Field(ge=1)]


class SaslConfig(Section):
    """Who we are to the brokers."""

    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]
    username: str
    password: SecretStr | None = None
    password_file: FilePath | None = None

    @model_validator(mode="after")
    def _one_password(self) -> Self:
        if (self.password is None) == (self.password_file is None):
            raise ValueError("give either password or password_file")
        return self

    def secret(self) -> str:
        """Return the password; raises PermanentError where its file cannot be read."""
        if self.password is not None:
            return self.password.get_secret_value()
        try:
            return Path(self.password_file or "").read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise PermanentError(f"sasl.password_file cannot be read: {error}") from error


class TlsConfig(Section):
    """How to tell that the brokers are who they say, and how we prove the same (PEM files)."""

    ca_file: FilePath | None = None
    cert_file: FilePath | None = None
    key_file: FilePath | None = None
    insecure_skip_verify: bool = False

    @model_validator(mode="after")
    def _whole_identity(self) -> Self:
        if self.key_file is not None and self.cert_file is None:
            raise ValueError("key_file needs cert_file beside it")
        return self


class KafkaConfig(Section):
    """A Kafka cluster. The numbers for topics count where we create them; a topic that exists stays as it is."""

    brokers: Annotated[list[str], Field(min_length=1)]
    topic_prefix: str = "pronoia."
    create_topics: bool = True
    partitions: Count = 6
    replication: Count = 3
    min_in_sync: Count = 2
    retention: Seconds | None = None
    retention_bytes: Bytes | None = None
    sasl: SaslConfig | None = None
    tls: TlsConfig | None = None
    max_pending_bytes: Bytes = 64 * 2**20

    @field_validator("brokers")
    @classmethod
    def _host_and_port(cls, brokers: list[str]) -> list[str]:
        for broker in brokers:
            host, _, port = broker.rpartition(":")
            if not host or not port.isdigit() or not 0 < int(port) < 65536:
                raise ValueError(f"not a broker's address: {broker!r}: write it like 127.0.0.1:9092")
        return brokers

    @field_validator("topic_prefix")
    @classmethod
    def _legal_prefix(cls, prefix: str) -> str:
        if not all(c.isascii() and (c.isalnum() or c in "._-") for c in prefix) or len(prefix) > 200:
            raise ValueError("takes letters, digits, '.', '_' and '-' only, and at most 200 of them")
        return prefix

    @model_validator(mode="after")
    def _enough_replicas(self) -> Self:
        if self.min_in_sync > self.replication:
            raise ValueError(f"min_in_sync {self.min_in_sync} is more than replication {self.replication}")
        return self


class SqliteConfig(Section):
    """An embedded log in one folder of a local disk, for one process.

    At `max_bytes` (or older than `max_age`) the oldest records go, read or not, as in Kafka; a reader that was to read
    them gets OffsetOutOfRangeError.
    """

    path: Path
    topic_prefix: str = "pronoia."
    partitions: Count = 4
    max_bytes: Bytes = 4 * 2**30
    max_age: Seconds = 86_400.0
    max_pending_bytes: Bytes = 64 * 2**20

    @field_validator("max_bytes")
    @classmethod
    def _room(cls, size: int) -> int:
        if size < 16 * 2**20:
            raise ValueError("is less than 16MiB")
        return size


class LogConfig(Section):
    """Where records are kept between gateway and ingester: exactly one of the two."""

    kafka: KafkaConfig | None = None
    sqlite: SqliteConfig | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.kafka is None) == (self.sqlite is None):
            raise ValueError("give exactly one of kafka and sqlite")
        return self

    def topic(self, name: str, *, compacted: bool = False, partitions: int | None = None) -> TopicSpec:
        """Say what the topic `name` (without the prefix) should be like in this log."""
        if self.kafka is not None:
            return TopicSpec(
                name=self.kafka.topic_prefix + name,
                partitions=partitions or self.kafka.partitions,
                replication=self.kafka.replication,
                min_in_sync=self.kafka.min_in_sync,
                compacted=compacted,
                retention_bytes=None if compacted else self.kafka.retention_bytes,
                retention_s=None if compacted else self.kafka.retention,
            )
        assert self.sqlite is not None
        return TopicSpec(
            name=self.sqlite.topic_prefix + name,
            partitions=partitions or self.sqlite.partitions,
            compacted=compacted,
            retention_s=None if compacted else self.sqlite.max_age,
        )
