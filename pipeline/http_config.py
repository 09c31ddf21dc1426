"""What Prometheus' files say of an HTTP client: how it proves itself, whom it trusts, what else it sends.

One vocabulary serves scrape jobs, HTTP discovery and remote write: derive a section from `HttpClientConfig`, and make
one `pipeline.http_client.HttpAccess` of it. Source: prometheus/common, config/http_config.go; Prometheus
documentation, `<http_config>`.
"""

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import AfterValidator, Field, SecretStr, model_validator

from pipeline.config import FilePath, Section
from pipeline.http_proxy import ProxyKeys

RESERVED_HEADERS = frozenset(
    (
        *("authorization", "host", "content-encoding", "content-length", "content-type", "user-agent", "connection"),
        *("keep-alive", "proxy-authenticate", "proxy-authorization", "www-authenticate", "accept-encoding"),
        *("x-prometheus-remote-write-version", "x-prometheus-remote-read-version"),
        *("x-prometheus-scrape-timeout-seconds", "x-amz-date", "x-amz-security-token", "x-amz-content-sha256"),
    )
)
"""Headers that a configuration may not set: they are the connection's, or ours."""

TlsVersion = Literal["TLS10", "TLS11", "TLS12", "TLS13"]


@dataclass(frozen=True, slots=True)
class Off:
    """Refuses a switch that is on; docs/options.md shows the reason."""

    reason: str

    def __call__(self, value: bool) -> bool:
        """Return the switch, which is off; raises ValueError."""
        if value:
            raise ValueError(self.reason)
        return value


def off(reason: str) -> AfterValidator:
    """Refuse a switch that is on: `Annotated[bool, off("is not supported")]`."""
    return AfterValidator(Off(reason))


class NullableSection(Section):
    """A section in which a key without a value (`labels:`) is as good as none, as in Prometheus' files.

    So is a file with an empty name.
    """

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {k: v for k, v in value.items() if v is not None and not (v == "" and str(k).endswith("_file"))}


class TlsConfig(NullableSection):
    """`tls_config`: whom to trust, and the client's own certificate, each from a file or inline as PEM."""

    ca: str = ""
    """The certificates to trust, as PEM; the system's where left out."""
    ca_file: FilePath | None = None
    """The same in a file, read again when it changes."""
    cert: str = ""
    """The client's certificate, as PEM."""
    cert_file: FilePath | None = None
    """The same in a file, read again when it changes."""
    key: SecretStr = SecretStr("")
    """The client's key, as PEM."""
    key_file: FilePath | None = None
    """The same in a file, read again when it changes."""
    server_name: str = ""
    """The name that the server's certificate has to have."""
    insecure_skip_verify: bool = False
    """Trust any certificate."""
    min_version: TlsVersion | None = None
    """The lowest version of TLS."""
    max_version: TlsVersion | None = None
    """The highest version of TLS."""

    @model_validator(mode="after")
    def _one_of_each(self) -> "TlsConfig":
        key = bool(self.key.get_secret_value())
        given = (
            ("ca", self.ca, self.ca_file),
            ("cert", self.cert, self.cert_file),
            ("key", key, self.key_file),
        )
        for name, inline, file in given:
            if inline and file:
                raise ValueError(f"at most one of {name} and {name}_file must be configured")
        if bool(self.cert or self.cert_file) != bool(key or self.key_file):
            raise ValueError("a client certificate needs both cert or cert_file and key or key_file")
        return self


class BasicAuth(NullableSection):
    """`basic_auth`: a user name and a password, each from the file or from a file of its own."""

    username: str = ""
    """The user name."""
    username_file: FilePath | None = None
    """The same in a file, read again when it changes."""
    password: SecretStr = SecretStr("")
    """The password."""
    password_file: FilePath | None = None
    """The same in a file, read again when it changes."""

    @model_validator(mode="after")
    def _one_of_each(self) -> "BasicAuth":
        if self.username and self.username_file:
            raise ValueError("at most one of basic_auth username & username_file must be configured")
        if self.password.get_secret_value() and self.password_file:
            raise ValueError("at most one of basic_auth password & password_file must be configured")
        return self


class Authorization(NullableSection):
    """`authorization`: the Authorization header's type and credentials."""

    type: str = "Bearer"
    """What stands before the credentials."""
    credentials: SecretStr = SecretStr("")
    """The credentials."""
    credentials_file: FilePath | None = None
    """The same in a file, read again when it changes."""

    @model_validator(mode="after")
    def _one_of_each(self) -> "Authorization":
        if self.credentials.get_secret_value() and self.credentials_file:
            raise ValueError("at most one of authorization credentials & credentials_file must be configured")
        if self.type.strip().lower() == "basic":
            raise ValueError('authorization type cannot be set to "basic", use "basic_auth" instead')
        return self


class OAuth2(NullableSection, ProxyKeys):
    """`oauth2`: a token fetched with the client_credentials grant (RFC 6749, section 4.4)."""

    client_id: str = ""
    """The client's id."""
    client_secret: SecretStr = SecretStr("")
    """The client's secret."""
    client_secret_file: FilePath | None = None
    """The same in a file, read again when it changes."""
    grant_type: Literal["", "client_credentials"] = ""
    """How a token is got."""
    scopes: tuple[str, ...] = ()
    """The scopes to ask for."""
    token_url: str = ""
    """Where tokens are."""
    endpoint_params: dict[str, str] = Field(default_factory=dict)
    """Further parameters of the request for a token."""
    tls_config: TlsConfig = TlsConfig()
    """How to connect to where tokens are."""

    @model_validator(mode="after")
    def _complete(self) -> "OAuth2":
        if not self.client_id:
            raise ValueError("oauth2 client_id must be configured")
        if not self.token_url:
            raise ValueError("oauth2 token_url must be configured")
        if self.client_secret.get_secret_value() and self.client_secret_file:
            raise ValueError("at most one of oauth2 client_secret & client_secret_file must be configured")
        return self


class Header(NullableSection):
    """One of `http_headers`: its values, some of them secrets, some in files."""

    values: tuple[str, ...] = ()
    """Values as they are."""
    secrets: tuple[SecretStr, ...] = ()
    """Values that are shown nowhere."""
    files: tuple[FilePath, ...] = ()
    """Files with values, read again when they change."""


class HttpClientConfig(NullableSection, ProxyKeys):
    """The keys that every HTTP client of Prometheus' file has."""

    basic_auth: BasicAuth | None = None
    """A user name and a password."""
    authorization: Authorization | None = None
    """The Authorization header."""
    oauth2: OAuth2 | None = None
    """A token that is asked for."""
    bearer_token: SecretStr = SecretStr("")
    """A token; older than `authorization`."""
    bearer_token_file: FilePath | None = None
    """The same in a file, read again when it changes."""
    tls_config: TlsConfig = TlsConfig()
    """How to connect by TLS."""
    follow_redirects: bool = True
    """Go where a redirect points to."""
    enable_http2: bool = True
    """Read and of no effect: requests are HTTP/1.1, which every server of HTTP/2 speaks too."""
    http_headers: dict[str, Header] = Field(default_factory=dict)
    """Further headers."""

    @model_validator(mode="after")
    def _one_identity(self) -> "HttpClientConfig":
        bearer = [bool(self.bearer_token.get_secret_value()), self.bearer_token_file is not None]
        if all(bearer):
            raise ValueError("at most one of bearer_token & bearer_token_file must be configured")
        if any(bearer) and (self.basic_auth or self.oauth2):
            raise ValueError("at most one of basic_auth, oauth2, bearer_token & bearer_token_file must be configured")
        if any(bearer) and self.authorization:
            raise ValueError("authorization is not compatible with bearer_token & bearer_token_file")
        if sum(part is not None for part in (self.basic_auth, self.oauth2, self.authorization)) > 1:
            raise ValueError("at most one of basic_auth, oauth2 & authorization must be configured")
        return self

    @model_validator(mode="after")
    def _usable(self) -> "HttpClientConfig":
        for name in self.http_headers:
            if name.lower() in RESERVED_HEADERS:
                raise ValueError(f'setting header "{name}" is not allowed')
        return self
