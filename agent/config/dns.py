"""`dns_sd_configs`. Source: Prometheus documentation, `<dns_sd_config>`."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from agent.config.sd import Interval, Port
from pipeline.http_config import NullableSection

RecordType = Literal["SRV", "A", "AAAA", "MX", "NS"]


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


class DnsSdConfig(NullableSection):
    """One of `dns_sd_configs`: the records of some names, asked for again and again."""

    names: Annotated[tuple[str, ...], Field(min_length=1, default=(), validate_default=True)]
    """Names whose records are the targets; search domains complete those that are not rooted."""
    type: Annotated[RecordType, BeforeValidator(_upper)] = "SRV"
    """The records to ask for."""
    port: Port = 0
    """The targets' port; SRV records have their own."""
    refresh_interval: Interval = 30.0
    """How often the names are asked for."""

    @model_validator(mode="after")
    def _has_a_port(self) -> "DnsSdConfig":
        if self.type != "SRV" and not self.port:
            raise ValueError("a port is required in DNS-SD configs for all record types except SRV")
        return self
