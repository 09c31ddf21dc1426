"""`consul_sd_configs`. Source: Prometheus documentation, `<consul_sd_config>`; hashicorp/consul, api/api.go."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator

from agent.config.sd import Interval
from pipeline.http_config import HttpClientConfig


def _server(server: str) -> str:
    if not server.strip():
        raise ValueError("consul SD configuration requires a server address")
    scheme, separator, rest = server.partition("://")
    if separator and scheme not in ("http", "https", "unix"):
        raise ValueError(f"unknown protocol scheme: {scheme}")
    if not (rest if separator else server).strip("/"):
        raise ValueError(f'"{server}" names no server: write it like localhost:8500')
    return server


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


class ConsulSdConfig(HttpClientConfig):
    """One of `consul_sd_configs`: the instances of services in a Consul catalogue."""

    server: Annotated[str, AfterValidator(_server)] = "localhost:8500"
    """Where Consul is: an address, an `http://` or `https://` URL, or `unix:///path`."""
    path_prefix: str = ""
    """What stands before every path, where Consul is behind a proxy."""
    scheme: Annotated[Literal["http", "https"], BeforeValidator(_lower)] = "http"
    """`http` or `https`, where `server` does not say."""
    token: SecretStr = SecretStr("")
    """An ACL token."""
    datacenter: str = ""
    """The datacentre to ask for; left out, the server's own."""
    namespace: str = ""
    """The namespace to ask for (Consul Enterprise)."""
    partition: str = ""
    """The admin partition to ask for (Consul Enterprise)."""
    username: str = ""
    """The user of Basic authentication."""
    password: SecretStr = SecretStr("")
    """Its password."""
    services: tuple[str, ...] = ()
    """Only these services; left out, all."""
    tags: tuple[str, ...] = ()
    """Only instances with all of these tags."""
    node_meta: dict[str, str] = Field(default_factory=dict)
    """Only nodes with all of these metadata."""
    filter: str = ""
    """An expression that services of the catalogue must meet."""
    health_filter: str = ""
    """An expression that instances must meet."""
    tag_separator: str = ","
    """What stands around and between the tags in the label."""
    allow_stale: bool = True
    """Let any server answer, not the leader alone."""
    refresh_interval: Interval = 30.0
    """The least time between two questions for the same thing."""

    @model_validator(mode="after")
    def _one_consul_identity(self) -> "ConsulSdConfig":
        if self.has_user and self.basic_auth:
            raise ValueError(
                "at most one of consul SD configuration username and password and basic auth can be configured"
            )
        if self.has_user and (self.authorization or self.oauth2 or self.has_bearer):
            raise ValueError("username and password cannot be configured with another authorization")
        if self.token.get_secret_value() and (self.authorization or self.oauth2 or self.has_bearer):
            raise ValueError("at most one of consul SD token, authorization, or oauth2 can be configured")
        return self

    @property
    def has_user(self) -> bool:
        """Whether it has a user name or a password of its own, beside `basic_auth`."""
        return bool(self.username or self.password.get_secret_value())

    @property
    def has_bearer(self) -> bool:
        """Whether it has a bearer token, inline or in a file."""
        return bool(self.bearer_token.get_secret_value() or self.bearer_token_file)

    @property
    def follows_catalog(self) -> bool:
        """Whether the catalogue says which services there are, rather than this section alone."""
        return not self.services or bool(self.tags) or bool(self.filter)
