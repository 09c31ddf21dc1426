"""`tracing`: where spans of the pipeline's own work go, with the keys of Prometheus' `<tracing_config>`.

tracing: {client_type: grpc, endpoint: "127.0.0.1:4317", insecure: true, sampling_fraction: 0.01}
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from pipeline.config import Seconds
from pipeline.http_config import RESERVED_HEADERS, NullableSection, TlsConfig, off

_NO_SUCH_EXPORTER = "is not supported: the exporters of OpenTelemetry's SDK have no such option"


def _compression(text: str) -> str:
    if text not in ("", "gzip"):
        raise ValueError(f"invalid compression type {text} provided, valid options: gzip")
    return text


class TracingTlsConfig(TlsConfig):
    """`tls_config` as far as OpenTelemetry's exporters can."""

    insecure_skip_verify: Annotated[bool, off(f"{_NO_SUCH_EXPORTER}; name the authority with ca_file")] = False
    min_version: None = None
    max_version: None = None

    @field_validator("min_version", "max_version", mode="before")
    @classmethod
    def _no_versions(cls, value: object) -> object:
        if value is not None:
            raise ValueError(_NO_SUCH_EXPORTER)
        return value


class TracingConfig(NullableSection):
    """`tracing`: a collector that takes OTLP, and how many traces it gets. Without it nothing is traced."""

    client_type: Literal["grpc", "http"] = "grpc"
    endpoint: str = ""
    """`host:port`; over HTTP the path is `/v1/traces`."""
    sampling_fraction: Annotated[float, Field(ge=0, le=1)] = 0.0
    """The share of the traces that begin here; what comes with a context follows its sender's choice."""
    insecure: bool = False
    """Without TLS; `tls_config` then is of no effect, as in Prometheus."""
    headers: dict[str, str] = Field(default_factory=dict)
    compression: Annotated[str, AfterValidator(_compression)] = ""
    timeout: Seconds = 10.0
    tls_config: TracingTlsConfig = TracingTlsConfig()

    @field_validator("headers")
    @classmethod
    def _allowed(cls, headers: dict[str, str]) -> dict[str, str]:
        for name in headers:
            if name.lower() == "authorization":
                raise ValueError("custom authorization header configuration is not yet supported")
            if name.lower() in RESERVED_HEADERS:
                raise ValueError(f"{name} is a reserved header. It must not be changed")
        return headers

    @model_validator(mode="after")
    def _complete(self) -> "TracingConfig":
        if not self.endpoint:
            raise ValueError("tracing endpoint must be set")
        host, colon, port = self.endpoint.rpartition(":")
        if not (host and colon and port.isascii() and port.isdigit()) or "/" in self.endpoint:
            raise ValueError(f"endpoint must be host:port, without a scheme or a path, not {self.endpoint!r}")
        tls = self.tls_config
        if self.client_type == "http" and not self.insecure:
            inline = {"ca": tls.ca, "cert": tls.cert, "key": tls.key.get_secret_value(), "server_name": tls.server_name}
            if given := [name for name, value in inline.items() if value]:
                raise ValueError(f"tls_config.{given[0]} {_NO_SUCH_EXPORTER} over HTTP; files, and grpc, have")
        return self
