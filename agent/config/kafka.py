"""`kafka`: reading topics as logs. Names, meanings and defaults are promtail's.

Source: promtail documentation, `kafka`; grafana/loki, clients/pkg/promtail/scrapeconfig and targets/kafka.
"""

import re
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from agent.config.lists import LabelMap
from pipeline.config import FilePath
from pipeline.http_config import NullableSection
from pipeline.log.config import KafkaConfig

Assignor = Literal["range", "roundrobin", "sticky"]
_TLS: Final = ("ca_file", "cert_file", "key_file", "insecure_skip_verify")


class KafkaTlsConfig(NullableSection):
    """`tls_config` of a Kafka client, PEM files."""

    ca_file: FilePath | None = None
    """Whose certificates to trust; the system's where left out."""
    cert_file: FilePath | None = None
    """The client's certificate."""
    key_file: FilePath | None = None
    """Its key."""
    insecure_skip_verify: bool = False
    """Trust any certificate."""


class KafkaSaslConfig(KafkaTlsConfig):
    """`sasl_config`: who the agent is to the brokers; its keys of TLS count with `use_tls`."""

    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "PLAIN"
    """How the password is proven."""
    user: str = ""
    """The user's name."""
    password: SecretStr = SecretStr("")
    """The user's password."""
    use_tls: bool = False
    """Talk to the brokers by TLS."""


class KafkaAuthentication(NullableSection):
    """`authentication`: how the brokers are trusted, and know the agent."""

    type: Literal["none", "ssl", "sasl"] = "none"
    """`ssl`: by TLS, as `tls_config` says; `sasl`: as `sasl_config` says."""
    tls_config: KafkaTlsConfig = KafkaTlsConfig()
    """TLS of `type: ssl`."""
    sasl_config: KafkaSaslConfig = KafkaSaslConfig()
    """User and password of `type: sasl`."""


def _topic(name: str) -> str:
    if not name:
        raise ValueError("a topic without a name")
    if name.startswith("^"):
        try:
            re.compile(name)
        except re.error as error:
            raise ValueError(f"{name!r} is no regular expression: {error}") from error
    return name


class KafkaSourceConfig(NullableSection):
    """`kafka`: read topics as a member of a consumer group."""

    brokers: Annotated[tuple[str, ...], Field(min_length=1)]
    """Brokers to begin with, `host:port`."""
    topics: Annotated[tuple[Annotated[str, AfterValidator(_topic)], ...], Field(min_length=1)]
    """Names of topics, or regular expressions that begin with `^`."""
    group_id: str = "promtail"
    """The consumer group, whose members share the partitions."""
    assignor: Assignor = "range"
    """How they share them: as all members of the group do."""
    version: str = ""
    """Read and of no effect: client and brokers find out what both speak."""
    authentication: KafkaAuthentication = KafkaAuthentication()
    """How the brokers are trusted, and know the agent."""
    use_incoming_timestamp: bool = False
    """Take the records' own times; else the time at which they are read counts."""
    labels: LabelMap = Field(default_factory=dict)
    """Labels of every record."""

    @model_validator(mode="after")
    def _addresses(self) -> Self:
        self.connection()
        return self

    def connection(self) -> KafkaConfig:
        """Return how to connect; raises ValueError where that cannot be."""
        values: dict[str, Any] = {"brokers": list(self.brokers)}
        given = self.authentication
        if given.type == "ssl":
            values["tls"] = {name: getattr(given.tls_config, name) for name in _TLS}
        elif given.type == "sasl":
            sasl = given.sasl_config
            values["sasl"] = {"mechanism": sasl.mechanism, "username": sasl.user, "password": sasl.password}
            if sasl.use_tls:
                values["tls"] = {name: getattr(sasl, name) for name in _TLS}
        return KafkaConfig.model_validate(values)
