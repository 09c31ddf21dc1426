"""The gateway's configuration.

    listen: {grpc: "127.0.0.1:15610", http: "127.0.0.1:15611", admin: "127.0.0.1:15690"}
    log: {kafka: {brokers: ["127.0.0.1:9092"], topic_prefix: "pronoia."}}
    clusters: [{name: c1, token_file: t, limits: {samples_per_second: 100000, entries_per_second: 50000}}]

Without `clusters` nobody's identity is asked for: the gateway then listens on loopback only, and takes the cluster from
the data.
"""

import socket
from ipaddress import ip_address
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, model_validator

from pipeline.config import Address, Bytes, FilePath, ListenAddress, Seconds, Section
from pipeline.log.config import LogConfig
from pipeline.tracing import TracingConfig
from pipeline.wire.envelope import Signal

Text = Annotated[str, Field(min_length=1, max_length=200)]
LabelName = Annotated[str, Field(pattern=r"^[a-zA-Z_][a-zA-Z0-9_]*$")]
Positive = Annotated[int, Field(ge=1)]
Signals = Literal[Signal.METRICS, Signal.LOGS]


class ListenConfig(Section):
    """Where the gateway listens; null for one of `grpc` and `http` leaves it out."""

    grpc: ListenAddress | None = Address(host="127.0.0.1", port=15610)
    http: ListenAddress | None = Address(host="127.0.0.1", port=15611)
    admin: ListenAddress = Address(host="127.0.0.1", port=15690)

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.grpc is None and self.http is None:
            raise ValueError("give at least one of grpc and http")
        return self


class RateLimits(Section):
    """How much one cluster may send a second, with a burst of `burst` seconds' worth; left out: as much as comes."""

    bytes_per_second: Annotated[Bytes, Field(ge=1)] | None = None
    """Compressed, as received; of all signals together."""
    samples_per_second: Positive | None = None
    entries_per_second: Positive | None = None
    """Of logs."""
    burst: Annotated[Seconds, Field(gt=0)] = 5.0


class ClusterConfig(Section):
    """One cluster, and how it proves that it is the one: any of its tokens, or any of its certificates' names."""

    name: Text
    token_file: FilePath | None = None
    """One token a line, `#` begins a comment; all of them are valid, so that they can be changed without a break."""
    tokens: tuple[SecretStr, ...] = ()
    certificates: tuple[Text, ...] = ()
    """Common names or subject alternative names (DNS, URI, e-mail, IP address) of client certificates."""
    tenant: str = ""
    limits: RateLimits = RateLimits()

    @model_validator(mode="after")
    def _provable(self) -> Self:
        if self.token_file is None and not self.tokens and not self.certificates:
            raise ValueError("give at least one of token_file, tokens and certificates")
        if any(not token.get_secret_value().strip() for token in self.tokens):
            raise ValueError("a token is empty")
        return self


class ServerTlsConfig(Section):
    """The gateway's own certificate, and the authority of its clients' certificates (PEM files)."""

    cert_file: FilePath
    key_file: FilePath
    client_ca_file: FilePath | None = None
    require_client_certificate: bool = False

    @model_validator(mode="after")
    def _authority(self) -> Self:
        if self.require_client_certificate and self.client_ca_file is None:
            raise ValueError("require_client_certificate needs client_ca_file beside it")
        return self


class Limits(Section):
    """What the gateway takes at most, over all its clients."""

    body: Annotated[Bytes, Field(ge=1024)] = 32 * 2**20
    """One request's body, or one batch of a stream, as received."""
    decompressed: Annotated[Bytes, Field(ge=1024)] = 128 * 2**20
    """The same when decompressed, read from the snappy block before it is."""
    in_flight: Annotated[Bytes, Field(ge=1024)] = 256 * 2**20
    """All bodies between being read and being in the log."""
    streams: Positive = 4096
    """Calls over gRPC at the same time."""
    stream_age: Annotated[Seconds, Field(gt=0)] = 600.0
    """A stream ends after 0.8 to 1.2 times this, so that new gateways get their share."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.in_flight < self.body:
            raise ValueError("in_flight is less than body: a request of the allowed size would never be taken")
        return self


class GatewayConfig(Section):
    """One gateway process."""

    log: LogConfig
    listen: ListenConfig = ListenConfig()
    signals: Annotated[tuple[Signals, ...], Field(min_length=1)] = (Signal.METRICS, Signal.LOGS)
    """What is taken; each signal has a topic of its own in the log, which has to be there or is created."""
    name: Text = Field(default_factory=socket.gethostname)
    """The agent's name in the envelopes of foreign senders' batches (remote write, Loki push, Clymene)."""
    clusters: Annotated[tuple[ClusterConfig, ...], Field(min_length=1)] | None = None
    default_cluster: Text = "default"
    """Without `clusters`: the cluster of series and streams that carry no cluster label."""
    tls: ServerTlsConfig | None = None
    limits: Limits = Limits()
    tracing: TracingConfig | None = None
    lanes: Annotated[int, Field(ge=1, le=65_536)] = 8
    cluster_label: LabelName = "cluster"
    on_foreign_label: Literal["refuse", "overwrite"] = "refuse"
    """What happens to series and streams of logs that carry another cluster's label; those without one get it added."""
    identity_cache: Bytes = 64 * 2**20
    """Bytes of label sets, of all clusters, remembered so as not to read them again: those of streams of logs, and
    without the compiled scan those of series."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.clusters is None:
            for name, address in (("grpc", self.listen.grpc), ("http", self.listen.http)):
                if address is not None and not is_loopback(address.host):
                    reason = f"{address.host} can be reached by others: configure clusters, or listen on 127.0.0.1"
                    raise ValueError(f"listen.{name}: {reason}")
            return self
        names = [cluster.name for cluster in self.clusters]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"clusters: {', '.join(twice)} stands twice")
        if any(cluster.certificates for cluster in self.clusters):
            self._check_certificates()
        return self

    def _check_certificates(self) -> None:
        if self.tls is None or self.tls.client_ca_file is None:
            raise ValueError("clusters: certificates need tls.client_ca_file")
        if self.listen.grpc is not None and not self.tls.require_client_certificate:
            # gRPC's server either requires certificates of its clients or does not ask for them.
            raise ValueError(
                "clusters: certificates over gRPC need tls.require_client_certificate: true (or listen.grpc: null)"
            )


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach a listener on `host`."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
