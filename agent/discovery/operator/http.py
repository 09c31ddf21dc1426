"""What custom resources say of an HTTP client. Source: the operator's API, HTTPConfig, ProxyConfig, SafeTLSConfig."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from agent.discovery.operator.part import KeyRef, KeySource, Part, SecretKey, SecretRef
from pipeline.http_config import TlsVersion


class Tls(Part):
    """`tlsConfig`: whom to trust, and the client's own certificate."""

    ca: KeyRef = None
    cert: KeyRef = None
    key: SecretRef = Field(default=None, alias="keySecret")
    server_name: str = ""
    insecure_skip_verify: bool = False
    min_version: TlsVersion | None = None
    max_version: TlsVersion | None = None

    @model_validator(mode="after")
    def _consistent(self) -> "Tls":
        if self.min_version and self.max_version and self.max_version < self.min_version:
            raise ValueError("maxVersion must be more than or equal to minVersion")
        return self


class TlsWithFiles(Tls):
    """`tlsConfig` of a ServiceMonitor's endpoint, which may name files where the agent runs."""

    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that it names."""
        return tuple(path for path in (self.ca_file, self.cert_file, self.key_file) if path is not None)


class BasicAuth(Part):
    """`basicAuth`."""

    username: SecretKey
    password: SecretKey


class Authorization(Part):
    """`authorization`: the type of the header, and its credentials."""

    type: str = "Bearer"
    credentials: SecretKey


class Proxy(Part):
    """The keys of ProxyConfig, which stand beside others."""

    proxy_url: str = ""
    no_proxy: str = ""
    proxy_from_environment: bool = False
    proxy_connect_header: dict[str, tuple[SecretKey, ...]] = Field(default_factory=dict)


class OAuth2(Proxy):
    """`oauth2`: a token that is asked for."""

    client_id: KeySource
    client_secret: SecretKey
    token_url: str
    scopes: tuple[str, ...] = ()
    endpoint_params: dict[str, str] = Field(default_factory=dict)
    tls_config: Tls | None = None


class Credentials(Part):
    """How a client proves itself: one of three ways."""

    basic_auth: BasicAuth | None = None
    authorization: Authorization | None = None
    oauth2: OAuth2 | None = None

    @model_validator(mode="after")
    def _one_identity(self) -> "Credentials":
        ways = {"authorization": self.authorization, "basicAuth": self.basic_auth, "oauth2": self.oauth2}
        if len(names := [name for name, way in ways.items() if way is not None]) > 1:
            raise ValueError(f"{' and '.join(names)} cannot be configured at the same time")
        return self


class Http(Credentials):
    """HTTPConfig of monitors and probes."""

    bearer_token: SecretRef = Field(default=None, alias="bearerTokenSecret")
    tls_config: Tls | None = None
    follow_redirects: bool = True
    enable_http2: bool = True

    @model_validator(mode="after")
    def _one_token(self) -> "Http":
        if self.bearer_token is not None and (self.authorization or self.basic_auth or self.oauth2):
            raise ValueError("bearerTokenSecret cannot be configured beside authorization, basicAuth or oauth2")
        return self


class SdHttp(Credentials, Proxy):
    """What a discovery of a ScrapeConfig says of its client."""

    tls_config: Tls | None = None
    follow_redirects: bool = True
    enable_http2: bool = Field(default=True, alias="enableHTTP2")


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _a_scheme(value: str) -> str:
    if value not in ("http", "https"):
        raise ValueError(f'"{value}" is not a scheme: HTTP or HTTPS')
    return value


Scheme = Annotated[str, BeforeValidator(_lower), AfterValidator(_a_scheme)]
