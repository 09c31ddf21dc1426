"""How Loki is pushed to: promtail's `clients` entry, which the agent and the ingester's sink take.

Source: grafana/loki clients/pkg/promtail/client/config.go; Loki documentation, "Configure Promtail", `clients`.
"""

import re
from typing import Annotated, Final
from urllib.parse import urlsplit, urlunsplit

from pydantic import AfterValidator, Field, model_validator

from pipeline.config import Bytes
from pipeline.delivery import Backoff
from pipeline.go_duration import GoSeconds
from pipeline.http_config import RESERVED_HEADERS, HttpClientConfig, NullableSection, off

_REQUEST_BYTES: Final = 7 * 2**19
_LABEL_NAME: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


def _parse_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be a URL that begins with http:// or https://")
    return text


def _check_labels(labels: dict[str, str]) -> dict[str, str]:
    for name in labels:
        if not _LABEL_NAME.fullmatch(name):
            raise ValueError(f"{name!r} is not a label's name")
    return labels


class BackoffConfig(NullableSection):
    """`backoff_config`: how long to wait after a failure.

    `max_retries` is read and of no effect: nothing is dropped for a Loki that is down.
    """

    min_period: GoSeconds = 0.5
    """The first delay."""
    max_period: GoSeconds = 30.0
    """The longest delay; promtail's 5m would leave a Loki that is back without lines for minutes."""
    max_retries: int = 10
    """Read and of no effect: what Loki does not take is tried again until it does."""

    @model_validator(mode="after")
    def _in_range(self) -> "BackoffConfig":
        if self.min_period <= 0 or self.max_period < self.min_period:
            raise ValueError("min_period must be positive and not greater than max_period")
        return self


class LokiConfig(HttpClientConfig):
    """One Loki that is pushed to; durations in seconds."""

    name: str = ""
    """What it is called in metrics and logs."""
    url: Annotated[str, AfterValidator(_parse_url)]
    """Where to push: `http://loki:3100/loki/api/v1/push`."""
    headers: dict[str, str] = Field(default_factory=dict)
    """Further headers."""
    tenant_id: str = ""
    """The tenant of what has none of its own."""
    external_labels: Annotated[dict[str, str], AfterValidator(_check_labels)] = Field(default_factory=dict)
    """Labels for every stream that does not have them."""
    batchwait: GoSeconds = 1.0
    """Read and of no effect: batches wait on disk, and go as they come."""
    batchsize: Annotated[Bytes, Field(ge=1024, le=64 * 2**20)] = 2**20
    """Batches are joined into requests of about so many bytes, before compression."""
    timeout: Annotated[GoSeconds, Field(gt=0)] = 10.0
    """How long an answer is awaited."""
    backoff_config: BackoffConfig = BackoffConfig()
    """How long to wait after a failure."""
    drop_rate_limited_batches: Annotated[
        bool, off("is not supported: nothing is dropped for a Loki that throttles")
    ] = False
    """Drop what Loki asks to send later."""
    query_url: str = ""
    """Where to ask what is stored already before anything is sent again: left out, `query_range` beside the push URL;
    `none`: nowhere, and what is sent again may count twice in metric queries."""

    @model_validator(mode="after")
    def _headers_are_free(self) -> "LokiConfig":
        for name in self.headers:
            if name.lower() in RESERVED_HEADERS:
                raise ValueError(f'setting header "{name}" is not allowed')
        if self.query_url not in ("", "none"):
            _parse_url(self.query_url)
        return self

    def max_request_bytes(self) -> int:
        """Return how large a push may be before compression, unless one entry is larger.

        Loki's ingesters take 4 MiB in one gRPC message where nobody says otherwise (`grpc_server_max_recv_msg_size`).
        """
        return max(self.batchsize, _REQUEST_BYTES)

    def backoff(self) -> Backoff:
        """Return the delays between tries."""
        return Backoff(first_s=self.backoff_config.min_period, longest_s=self.backoff_config.max_period)

    def asked_url(self) -> str:
        """Return where to ask what is stored; empty where nobody is to be asked."""
        if self.query_url:
            return "" if self.query_url == "none" else self.query_url
        parts = urlsplit(self.url)
        base, found, _ = parts.path.rpartition("/loki/api/v1/push")
        return urlunsplit(parts._replace(path=f"{base}/loki/api/v1/query_range", query="")) if found else ""
