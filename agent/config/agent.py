"""The agent's configuration as the rest of the agent sees it: Prometheus' sections and Pronoia's own."""

from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, model_validator

from agent.config.operator import OperatorConfig
from agent.config.scrape import GlobalConfig, ScrapeConfig
from agent.config.sharing import SharingConfig
from agent.config.store import Pattern
from pipeline.config import Address, Bytes, FilePath, ListenAddress, Seconds
from pipeline.http_config import NullableSection, TlsConfig
from pipeline.relabel import is_label_name
from pipeline.send.config import RemoteWriteConfig
from pipeline.tracing import TracingConfig

if TYPE_CHECKING:
    from agent.config.promtail import LogsConfig

    Logs = LogsConfig | None
else:
    # Its models hold all stages and inputs: `load` reads the section, and imports them only where there is one.
    Logs = Any

_GATEWAY_PORTS = {"grpc": 15610, "grpcs": 15610, "http": 15611, "https": 15611}


def _gateway_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in _GATEWAY_PORTS:
        raise ValueError(f"must begin with grpc://, grpcs://, http:// or https://, not {text!r}")
    if not parts.hostname:
        raise ValueError("names no host")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError("takes a host and a port, no path")
    try:
        port = parts.port
    except ValueError as error:
        raise ValueError(f"has a port that is none: {text!r}") from error
    return text.rstrip("/") if port else f"{text.rstrip('/')}:{_GATEWAY_PORTS[parts.scheme]}"


class GatewayClientConfig(NullableSection):
    """`gateway`: where batches are pushed to.

    The URL always has a port. TLS is meant by grpcs and https, and by a `tls_config`.
    """

    url: Annotated[str, AfterValidator(_gateway_url)]
    token: SecretStr = SecretStr("")
    token_file: FilePath | None = None
    tls_config: TlsConfig | None = None

    @model_validator(mode="after")
    def _one_token(self) -> "GatewayClientConfig":
        if self.token.get_secret_value() and self.token_file:
            raise ValueError("at most one of token & token_file must be configured")
        if self.tls_config is not None and urlsplit(self.url).scheme == "http":
            raise ValueError("tls_config needs a https:// URL")
        if self.tls_config is not None and self.scheme == "grpc":
            # gRPC's own TLS has none of these: what it cannot keep to is not promised.
            for name in ("insecure_skip_verify", "min_version", "max_version"):
                if getattr(self.tls_config, name):
                    raise ValueError(f"tls_config.{name} is not supported over gRPC")
        return self

    @property
    def scheme(self) -> str:
        """`grpc` or `http`: how batches travel."""
        return urlsplit(self.url).scheme.removesuffix("s")

    @property
    def is_secure(self) -> bool:
        """Whether the connection is encrypted."""
        return self.tls_config is not None or urlsplit(self.url).scheme.endswith("s")

    @property
    def address(self) -> str:
        """`host:port`."""
        return urlsplit(self.url).netloc


class BufferConfig(NullableSection):
    """`buffer`: where batches wait until they are acknowledged, and how many and how long at most."""

    path: FilePath | None = None
    max_bytes: Annotated[Bytes, Field(gt=0)] = 2 * 1024**3
    max_age: Annotated[Seconds, Field(gt=0)] = 86_400.0


class AgentConfig(NullableSection):
    """A whole file. Build it with `agent.config.load`, which reads the parts, fills in and checks what spans them."""

    global_config: GlobalConfig = Field(default=GlobalConfig(), alias="global")
    scrape_config_files: tuple[Pattern, ...] = ()
    scrape_configs: tuple[ScrapeConfig, ...] = ()
    operator: OperatorConfig | None = None
    sharing: SharingConfig | None = None
    remote_write: tuple[RemoteWriteConfig, ...] = ()
    tracing: TracingConfig | None = None
    logs: Logs = None

    agent: str = ""
    """The agent's name; the caller's (the node's) where it is empty."""
    cluster: str = ""
    """The value of the label that names the cluster; loading puts it among the external labels."""
    cluster_label: str = "cluster"
    canonical_bounds: bool = False
    """Write the labels `le` and `quantile` as Prometheus 3 does ("1" becomes "1.0"), not as the page has them."""
    gateway: GatewayClientConfig | None = None
    buffer: BufferConfig = BufferConfig()
    lanes: Annotated[int, Field(ge=1, le=1024)] = 8
    admin: ListenAddress = Address(host="127.0.0.1", port=15691)

    @model_validator(mode="after")
    def _cluster_is_one(self) -> "AgentConfig":
        if not is_label_name(self.cluster_label):
            raise ValueError(f'cluster_label: "{self.cluster_label}" is not a valid label name')
        label = self.global_config.external_labels.get(self.cluster_label, "")
        if self.cluster and label and self.cluster != label:
            raise ValueError(f'cluster is "{self.cluster}", but the external label {self.cluster_label} is "{label}"')
        return self
