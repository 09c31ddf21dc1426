"""`elasticsearch`: an Elasticsearch 8 or OpenSearch 2 that logs or metrics are indexed into."""

import re
import string
from collections.abc import Mapping
from typing import Annotated, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, model_validator

from pipeline.config import Bytes, FilePath, Seconds
from pipeline.http_config import Authorization, HttpClientConfig
from pipeline.wire.envelope import Signal

DEFAULT_FIELDS: Final = {"level": "log.level", "detected_level": "log.level", "service_name": "service.name"}
OUR_FIELDS: Final = frozenset({"@timestamp", "message", "labels", "metadata", "metrics", "special", "histograms"})
"""First parts of the fields that documents have anyway."""

_DATASET: Final = re.compile(r"[a-z0-9][a-z0-9_.]{0,99}")
_FIELD: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")


def _parse_host(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"must begin with http:// or https:// and name a host, not {url!r}")
    if parts.username or parts.password:
        raise ValueError("holds a user or password: use basic_auth, whose password may be in a file")
    if parts.query or parts.fragment:
        raise ValueError("must end with its path")
    return url.rstrip("/")


def _parse_dataset(text: str) -> str:
    for _, field, spec, conversion in string.Formatter().parse(text):
        if field is not None and (not field.replace("_", "a").isalnum() or spec or conversion):
            raise ValueError(f"{{{field}}} is no label's name")
    return text


def _parse_dataset_name(text: str) -> str:
    if not _DATASET.fullmatch(text):
        raise ValueError(f"{text!r} cannot be part of an index's name: use a-z, 0-9, _ and ., at most 100 of them")
    return text


def _parse_field(name: str) -> str:
    if not _FIELD.fullmatch(name):
        raise ValueError(f"{name!r} is no field's name")
    if name.partition(".")[0] in OUR_FIELDS:
        raise ValueError(f"{name!r} is a field of the sink's own")
    return name


class ElasticsearchConfig(HttpClientConfig):
    """One cluster of Elasticsearch or OpenSearch; all hosts are of the same cluster, and share the requests."""

    hosts: Annotated[tuple[Annotated[str, AfterValidator(_parse_host)], ...], Field(min_length=1)]
    """Addresses like https://es-1:9200; a path behind it is kept."""
    api_key: SecretStr = SecretStr("")
    """An API key as Elasticsearch gives it out (`encoded`)."""
    api_key_file: FilePath | None = None
    """The same in a file, read again when it changes."""
    signal: Literal["logs", "metrics"] = "logs"
    """What the sink takes."""
    index_prefix: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.]{0,49}$")] = "pronoia"
    """What the names of indices and of the template begin with."""
    dataset: Annotated[str, AfterValidator(_parse_dataset)] = "default"
    """The middle of an index's name; with `{label}` it follows what the label says, as far as `datasets` has it."""
    datasets: tuple[Annotated[str, AfterValidator(_parse_dataset_name)], ...] = ()
    """The values of a `dataset` with labels in it that get indices of their own; all others go to `default`."""
    fields: dict[str, Annotated[str, AfterValidator(_parse_field)]] = Field(default_factory=lambda: {**DEFAULT_FIELDS})
    """Labels and structured metadata that are written to a field of their own, too (logs)."""
    data_stream: bool = False
    """Write to data streams instead of an index a day. What a rollover can double is in the documentation."""
    template: bool = True
    """Put the index template, and keep it at this version; if not, a template of yours has to be there."""
    shards: Annotated[int, Field(ge=1)] = 1
    """Primary shards of a new index."""
    replicas: Annotated[int, Field(ge=0)] = 1
    """Copies of each shard."""
    refresh_interval: Annotated[str, Field(pattern=r"^(-1|\d+(ms|s|m))$")] = "5s"
    """How soon a new index shows what came."""
    max_fields: Annotated[int, Field(ge=100)] = 5000
    """How many fields an index may have: one for each name of a metric (metrics)."""
    lifecycle_policy: str = ""
    """The ILM policy of new indices (Elasticsearch). OpenSearch's ISM attaches its policies by itself."""
    max_request_bytes: Annotated[Bytes, Field(ge=2**16, le=2**26)] = 8 * 2**20
    """What a bulk request may hold, before compression; one document is always allowed."""
    timeout: Seconds = 60.0
    """How long an answer may take."""
    compression: Literal["none", "gzip"] = "none"
    """How requests are compressed: gzip costs about as much as all the rest, and saves nine tenths of the network."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.is_dataset_followed != bool(self.datasets):
            raise ValueError("dataset with a {label} and datasets need one another: every dataset is an index a day")
        if not self.is_dataset_followed:
            _parse_dataset_name(self.dataset)
        if self.signal == "metrics" and "fields" in self.model_fields_set:
            raise ValueError("fields is for logs: the labels of metrics are searched as labels.NAME")
        keys = [bool(self.api_key.get_secret_value()), self.api_key_file is not None]
        others = (self.basic_auth, self.authorization, self.oauth2, self.bearer_token_file)
        bearer = bool(self.bearer_token.get_secret_value())
        if sum(keys) > 1 or (any(keys) and (bearer or any(other is not None for other in others))):
            raise ValueError("at most one of api_key, api_key_file & the other ways to authenticate must be configured")
        return self

    @property
    def is_dataset_followed(self) -> bool:
        """Whether the dataset depends on labels."""
        return any(field is not None for _, field, _, _ in string.Formatter().parse(self.dataset))

    def dataset_of(self, labels: Mapping[str, str]) -> str:
        """Return the dataset of what has these labels."""
        if not self.is_dataset_followed:
            return self.dataset
        wanted = re.sub(r"[^a-z0-9_.]", "_", self.dataset.format_map(_Labels(labels)).lower())
        return wanted if wanted in self.datasets else "default"

    def carries(self) -> Signal:
        """Return the signal that the sink takes."""
        return Signal(self.signal)

    def http(self) -> HttpClientConfig:
        """Return the same with an API key as what it is in HTTP: an Authorization header."""
        if not self.api_key.get_secret_value() and self.api_key_file is None:
            return self
        key = Authorization(type="ApiKey", credentials=self.api_key, credentials_file=self.api_key_file)
        return self.model_copy(update={"authorization": key})


class _Labels(dict[str, str]):
    def __missing__(self, name: str) -> str:
        return ""
