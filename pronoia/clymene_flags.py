"""The flags and environment variables of Clymene's agent, and what each of them means to ours.

Source: Clymene 2.x, cmd/agent, cmd/flags, pkg/config and plugin/storage. docs/clymene.md is made of these tables.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Does(StrEnum):
    """What a flag does here."""

    WORKS = "works"
    NOTHING = "no effect"
    REFUSED = "refused"
    OURS = "ours"


@dataclass(frozen=True, slots=True)
class Flag:
    """`storage` is the type that STORAGE_TYPE must name for the flag to exist; `note` what it becomes, or the reason.

    A switch may stand without a value.
    """

    name: str
    default: str
    does: Does
    note: str
    storage: str = ""
    is_switch: bool = False

    @property
    def variable(self) -> str:
        """The environment variable that says the same; the flag goes before it."""
        return re.sub(r"[.-]", "_", self.name).upper()


STORAGE_TYPE: Final = "STORAGE_TYPE"
STORAGES: Final = ("gateway", "prometheus", "cortex")
REFUSED_STORAGES: Final = {
    "elasticsearch": "an agent does not write to Elasticsearch: push to a gateway",
    "kafka": "an agent does not write to Kafka: push to a gateway, which appends to it and proves what arrived",
    "influxdb": "InfluxDB is not supported: no sink writes to it",
    "opentsdb": "OpenTSDB is not supported: no sink writes to it",
    "tdengine": "TDengine is not supported: no sink writes to it",
    "kdb": "kdb is not supported, and Clymene does not know it either",
    "loki": "Loki takes no metrics: for logs give promtail's file to `pronoia agent`",
}
OTHER_VARIABLES: Final = {
    "TS_STORAGE_TYPE": (Does.REFUSED, "Clymene refuses it, too: use STORAGE_TYPE"),
    "DEPENDENCY_STORAGE_TYPE": (Does.NOTHING, "Clymene reads it, and no agent of it writes there"),
}
PREFIXES: Final = {
    # Whose flags these are; none of them is looked into.
    "es.": "elasticsearch",
    "es-archive.": "elasticsearch",
    "kafka.producer.": "kafka",
    "influxdb.": "influxdb",
    "opentsdb.": "opentsdb",
    "tdengine.": "tdengine",
    "loki.": "loki",
}

GRPC, HTTP = "gateway.grpc-client", "gateway.http-client"
_LOGGED_WHOLE = "what a receiver says of a refusal is logged whole"
_NAMED = "the agent names itself: Pronoia/<version>"
_REQUEST_SIZE = "for remote write: `queue_config.max_samples_per_send`; batches for a gateway have their own bounds"

FLAGS: Final = (
    Flag(
        "config.file",
        "/etc/clymene/clymene.yml",
        Does.WORKS,
        "the file of `pronoia agent`, Pronoia's own keys included",
    ),
    Flag("http.port", "15692", Does.WORKS, "`POST /api/reload` is answered there, and on the admin port"),
    Flag("metric.split.length", "1024", Does.WORKS, _REQUEST_SIZE),
    Flag(
        "enable.new-service-discovery-manager", "true", Does.NOTHING, "there is one kind of discovery", is_switch=True
    ),
    Flag("log-level", "info", Does.WORKS, "`--log-level`; dpanic, panic and fatal mean critical"),
    Flag("admin.http.host-ports", ":15691", Does.WORKS, "`admin`: `/metrics`, `/healthz`, `/readyz`, `/-/reload`"),
    Flag("metrics-backend", "prometheus", Does.WORKS, "`prometheus`; `expvar` and `none` are refused"),
    Flag("metrics-http-route", "/metrics", Does.WORKS, "`/metrics`; other routes are refused"),
    Flag("gateway.service-type", "grpc", Does.WORKS, "whether the `gateway` is pushed to by gRPC or HTTP", "gateway"),
    Flag(
        f"{GRPC}.host-port", "localhost:15610", Does.WORKS, "`gateway.url`: one gateway (a list is refused)", "gateway"
    ),
    Flag(f"{GRPC}.retry.max", "3", Does.NOTHING, "batches wait on disk and are tried until they are taken", "gateway"),
    Flag(
        f"{GRPC}.discovery.min-peers",
        "3",
        Does.NOTHING,
        "it concerns a discovery that Clymene never begins",
        "gateway",
    ),
    Flag(f"{GRPC}.tls.enabled", "false", Does.WORKS, "`gateway.url` with grpcs://", "gateway", is_switch=True),
    Flag(f"{GRPC}.tls.ca", "", Does.WORKS, "`gateway.tls_config.ca_file`", "gateway"),
    Flag(f"{GRPC}.tls.cert", "", Does.WORKS, "`gateway.tls_config.cert_file`", "gateway"),
    Flag(f"{GRPC}.tls.key", "", Does.WORKS, "`gateway.tls_config.key_file`", "gateway"),
    Flag(f"{GRPC}.tls.server-name", "", Does.WORKS, "`gateway.tls_config.server_name`", "gateway"),
    Flag(
        f"{GRPC}.tls.skip-host-verify",
        "false",
        Does.REFUSED,
        "gRPC cannot leave out the check: name the gateway's authority with tls.ca",
        "gateway",
        is_switch=True,
    ),
    Flag(f"{HTTP}.url", "http://localhost:15611/api/metrics", Does.WORKS, "`gateway.url`, without its path", "gateway"),
    Flag(
        f"{HTTP}.logs.url", "http://localhost:15611/api/logs", Does.NOTHING, "Clymene's agent sends no logs", "gateway"
    ),
    Flag(f"{HTTP}.timeout", "10s", Does.NOTHING, "a push has a minute; what is not answered is sent again", "gateway"),
    Flag(f"{HTTP}.user.agent", "Clymene/<version>", Does.REFUSED, _NAMED, "gateway"),
    Flag(f"{HTTP}.max-err-msg-len", "256", Does.NOTHING, _LOGGED_WHOLE, "gateway"),
    *(
        flag
        for storage, prefix, url in (
            ("prometheus", "prometheus.remote", "http://localhost:9090/api/v1/write"),
            ("cortex", "cortex.distributor", "http://localhost/api/v1/push"),
        )
        for flag in (
            Flag(f"{prefix}.url", url, Does.WORKS, "`remote_write[].url`", storage),
            Flag(f"{prefix}.timeout", "10s", Does.WORKS, "`remote_write[].remote_timeout`", storage),
            Flag(f"{prefix}.user.agent", "Clymene/<version>", Does.REFUSED, _NAMED, storage),
            Flag(f"{prefix}.max.err.msg.len", "256", Does.NOTHING, _LOGGED_WHOLE, storage),
        )
    ),
    Flag("cortex.distributor.kafka.encoding", "protobuf", Does.NOTHING, "remote write has one encoding", "cortex"),
    Flag("data", "data", Does.OURS, "the folder of the disk buffer, which Clymene's agent has not"),
    Flag(
        "gateway.token-file", "", Does.OURS, "`gateway.token_file`: what a gateway with `clusters` asks for", "gateway"
    ),
)
BY_NAME: Final = {flag.name: flag for flag in FLAGS}
