"""`ec2_sd_configs`. Source: Prometheus documentation, `<ec2_sd_config>`."""

from importlib.util import find_spec

from pydantic import SecretStr, model_validator

from agent.config.sd import Filter, Interval, Port
from pipeline.http_config import HttpClientConfig


class Ec2SdConfig(HttpClientConfig):
    """One of `ec2_sd_configs`: the instances of one account in one region."""

    endpoint: str = ""
    """Another endpoint than AWS' own, as a URL."""
    region: str = ""
    """The region; left out, what the SDK's configuration says, or the instance that the agent runs on."""
    access_key: str = ""
    """An access key, with `secret_key`; left out, the SDK looks in its own places: environment, profile, roles."""
    secret_key: SecretStr = SecretStr("")
    """Its secret."""
    profile: str = ""
    """A profile of the SDK's files."""
    role_arn: str = ""
    """A role to take on."""
    external_id: str = ""
    """What the role asks to be named."""
    port: Port = 80
    """The targets' port."""
    filters: tuple[Filter, ...] = ()
    """EC2's own filters of instances."""
    refresh_interval: Interval = 60.0
    """How often EC2 is asked, and how long an answer may take."""

    @model_validator(mode="after")
    def _askable(self) -> "Ec2SdConfig":
        if find_spec("botocore") is None:
            raise ValueError("needs AWS' SDK, which is not installed: pip install 'pronoia[ec2]'")
        if any(not entry.values for entry in self.filters):
            raise ValueError("EC2 SD configuration filter values cannot be empty")
        if self.endpoint and not self.endpoint.startswith(("http://", "https://")):
            raise ValueError(f'endpoint "{self.endpoint}" is not a URL: http:// or https://')
        for name in ("basic_auth", "authorization", "oauth2", "bearer_token_file"):
            if getattr(self, name) is not None:
                raise ValueError(f"{name} is not supported: requests to AWS are signed")
        if self.bearer_token.get_secret_value():
            raise ValueError("bearer_token is not supported: requests to AWS are signed")
        return self
