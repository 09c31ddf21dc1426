"""`syslog`: listening for syslog messages. Names, meanings and defaults are promtail's.

Source: promtail documentation, `syslog`; grafana/loki, clients/pkg/promtail/scrapeconfig and targets/syslog.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from agent.config.lists import LabelMap
from pipeline.config import FilePath, ListenAddress
from pipeline.go_duration import GoSeconds
from pipeline.http_config import NullableSection


class ListenTlsConfig(NullableSection):
    """`tls_config` of a listener: its certificate, and whose certificates its senders need."""

    cert_file: FilePath | None = None
    """The listener's certificate, as PEM; read again when it changes."""
    key_file: FilePath | None = None
    """Its key, as PEM."""
    ca_file: FilePath | None = None
    """The authorities that senders' certificates must be of; left out, senders need none."""
    min_version: Literal["TLS12", "TLS13"] = "TLS12"
    """The oldest version of TLS that is spoken."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.cert_file is None) != (self.key_file is None) or (self.ca_file and not self.cert_file):
            raise ValueError("a listener's certificate needs cert_file and key_file")
        return self


class SyslogConfig(NullableSection):
    """`syslog`: listen for messages of RFC 5424 or RFC 3164 over TCP, TLS or UDP."""

    listen_address: ListenAddress
    """Where to listen, `host:port`."""
    listen_protocol: Literal["tcp", "udp"] = "tcp"
    """`tcp` (with `tls_config`: TLS) or `udp`."""
    idle_timeout: GoSeconds = 120.0
    """A connection on which nothing comes for that long is closed."""
    label_structured_data: bool = False
    """Make labels `__syslog_message_sd_<id>_<name>` of the structured data."""
    labels: LabelMap = Field(default_factory=dict)
    """Labels of every message."""
    use_incoming_timestamp: bool = False
    """Take the message's own time; else the time at which it came counts."""
    use_rfc5424_message: bool = False
    """Keep the whole message, as it was sent, as the line; else its text alone."""
    syslog_format: Literal["rfc5424", "rfc3164"] = "rfc5424"
    """`rfc3164` reads every message as one of the older kind; else those that do not begin as RFC 5424 says are."""
    max_message_length: Annotated[int, Field(ge=1, le=16 * 1024 * 1024)] = 8192
    """A longer message is cut, in bytes."""
    tls_config: ListenTlsConfig = ListenTlsConfig()
    """How the listener proves itself, and who may send."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.listen_protocol == "udp" and self.tls_config.cert_file is not None:
            raise ValueError("tls_config is of TCP only: DTLS is not supported")
        if self.idle_timeout <= 0:
            raise ValueError("idle_timeout must be more than 0")
        return self
