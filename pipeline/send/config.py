"""`remote_write` of Prometheus' file: where samples are written to, and how (documentation, `<remote_write>`)."""

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from pipeline.config import Seconds
from pipeline.http_config import RESERVED_HEADERS, HttpClientConfig, NullableSection, off
from pipeline.relabel import RelabelConfig, a_rule

WriteMessage = Literal["prometheus.WriteRequest", "io.prometheus.write.v2.Request"]
WRITE_V1: WriteMessage = "prometheus.WriteRequest"
WRITE_V2: WriteMessage = "io.prometheus.write.v2.Request"


def parse_url(text: str) -> str:
    """Return the URL if it is one; raises ValueError.

    Prometheus loads URLs without http:// or https:// too, and then cannot send: `is_sendable` tells.
    """
    if not text:
        raise ValueError("url for remote_write is empty")
    urlsplit(text)
    return text


def _no_age(seconds: float) -> float:
    if seconds:
        raise ValueError("is not supported: the buffer's max_age bounds how old a sample may get")
    return seconds


class QueueConfig(NullableSection):
    """`queue_config`: how much goes into a request, how many requests at once, and how long to wait after a failure.

    Batches wait on disk, and are sent as they come: `capacity`, `min_shards` and `batch_send_deadline` are read and of
    no effect, and so is `retry_on_http_429`, since nothing is dropped for a receiver that asks to wait.
    """

    capacity: int = 10_000
    max_shards: int = 50
    min_shards: int = 1
    max_samples_per_send: int = 2_000
    batch_send_deadline: Seconds = 5.0
    min_backoff: Seconds = 0.03
    max_backoff: Seconds = 5.0
    retry_on_http_429: bool = False
    sample_age_limit: Annotated[Seconds, AfterValidator(_no_age)] = 0.0

    @model_validator(mode="after")
    def _in_range(self) -> "QueueConfig":
        for name in ("max_shards", "min_shards", "max_samples_per_send", "capacity"):
            if getattr(self, name) <= 0:
                raise ValueError(f"remote write queue {name} must be positive")
        if self.min_shards > self.max_shards:
            raise ValueError("remote write queue min_shards must not be greater than max_shards")
        if self.max_backoff < self.min_backoff:
            raise ValueError("remote write queue max_backoff must not be less than min_backoff")
        return self


class MetadataConfig(NullableSection):
    """`metadata_config`: whether the types, help texts and units of metrics are sent, and how often."""

    send: bool = True
    send_interval: Seconds = 60.0
    max_samples_per_send: int = 2_000


_WriteRule = Annotated[RelabelConfig, a_rule("empty or null relabeling rule in remote write config")]


class RemoteWriteConfig(HttpClientConfig):
    """One receiver of remote write; durations in seconds."""

    url: Annotated[str, AfterValidator(parse_url)] = Field(default="", validate_default=True)
    remote_timeout: Seconds = 30.0
    headers: dict[str, str] = Field(default_factory=dict)
    write_relabel_configs: tuple[_WriteRule, ...] = ()
    name: str = ""
    send_exemplars: bool = False
    send_native_histograms: bool = False
    protobuf_message: WriteMessage = WRITE_V1
    round_robin_dns: Annotated[bool, off("is not supported")] = False
    failed_request_logging: Annotated[bool, off("is not supported: every refusal is logged")] = False
    enable_http2: bool = False
    queue_config: QueueConfig = QueueConfig()
    metadata_config: MetadataConfig = MetadataConfig()

    @property
    def is_sendable(self) -> bool:
        """Whether the URL is one of HTTP."""
        parts = urlsplit(self.url)
        return parts.scheme in ("http", "https") and bool(parts.hostname)

    @model_validator(mode="after")
    def _headers_are_free(self) -> "RemoteWriteConfig":
        for name in self.headers:
            if name.lower() == "authorization":
                raise ValueError(
                    "authorization header must be changed via the basic_auth, authorization or oauth2 parameter"
                )
            if name.lower() in RESERVED_HEADERS:
                raise ValueError(f"{name} is a reserved header. It must not be changed")
        return self
