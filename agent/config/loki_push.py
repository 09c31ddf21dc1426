"""`loki_push_api`: taking Loki's push requests. Names, meanings and defaults are promtail's.

Source: promtail documentation, `loki_push_api`; grafana/loki, clients/pkg/promtail/targets/lokipush; dskit's server.
"""

from typing import Annotated

from pydantic import Field

from agent.config.lists import LabelMap
from agent.config.syslog import ListenTlsConfig
from pipeline.config import Bytes
from pipeline.http_config import NullableSection


class PushServerConfig(NullableSection):
    """`server`: where push requests are taken."""

    http_listen_address: str = ""
    """The address to listen on; every one where left out."""
    http_listen_port: Annotated[int, Field(ge=0, le=65535)]
    """The port; 0 is a free one."""
    http_tls_config: ListenTlsConfig = ListenTlsConfig()
    """How the listener proves itself, and who may send."""
    grpc_listen_address: str = ""
    """Read and of no effect: push requests come over HTTP."""
    grpc_listen_port: int = 0
    """Read and of no effect: push requests come over HTTP."""
    log_level: str = ""
    """Read and of no effect: the agent's own level counts."""
    log_format: str = ""
    """Read and of no effect: the agent's own format counts."""


class LokiPushConfig(NullableSection):
    """`loki_push_api`: take push requests as Loki does, and answer when they are on disk."""

    server: PushServerConfig
    """Where they are taken."""
    labels: LabelMap = Field(default_factory=dict)
    """Labels of every entry."""
    use_incoming_timestamp: bool = False
    """Keep the entries' own times; else the time at which they came counts."""
    max_send_msg_size: Annotated[Bytes, Field(ge=1024, le=1 << 30)] = 32 * 1024 * 1024
    """The largest request, in bytes, before and after decompression."""
