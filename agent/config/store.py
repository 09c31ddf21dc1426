"""The sections of Prometheus' file that belong to a store: read, so that a broken file is refused, and then left alone.

An agent evaluates no rules and keeps no series: it names these keys in one warning (ARCHITECTURE 9).
"""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from agent.config.lists import StaticConfig
from pipeline.config import Seconds, parse_bytes
from pipeline.http_config import RESERVED_HEADERS, HttpClientConfig, NullableSection
from pipeline.relabel import RelabelConfig, a_rule


def parse_pattern(text: str) -> str:
    """Return a file pattern that has its only `*` in the last part; raises ValueError."""
    if not re.fullmatch(r"[^*]*(\*[^/]*)?", text):
        raise ValueError(f'invalid file path "{text}": a * may stand in its last part only')
    return text


Pattern = Annotated[str, AfterValidator(parse_pattern)]
_AlertRule = Annotated[RelabelConfig, a_rule("empty or null alert relabeling rule")]
_AlertmanagerRule = Annotated[RelabelConfig, a_rule("empty or null Alertmanager target relabeling rule")]


class _Alertmanager(HttpClientConfig):
    # Its discovery and its signatures are not looked into: nothing is sent there.
    model_config = ConfigDict(extra="allow", frozen=True, hide_input_in_errors=True)

    scheme: str = "http"
    path_prefix: str = ""
    timeout: Seconds = 10.0
    api_version: Literal["v2"] = "v2"
    static_configs: tuple[StaticConfig, ...] = ()
    relabel_configs: tuple[_AlertmanagerRule, ...] = ()
    alert_relabel_configs: tuple[_AlertRule, ...] = ()


class _Alerting(NullableSection):
    alert_relabel_configs: tuple[_AlertRule, ...] = ()
    alertmanagers: tuple[_Alertmanager, ...] = ()


def _read_url(text: str) -> str:
    if not text:
        raise ValueError("url for remote_read is empty")
    return text


class _RemoteRead(HttpClientConfig):
    url: Annotated[str, AfterValidator(_read_url), Field(default="", validate_default=True)]
    remote_timeout: Seconds = 60.0
    chunked_read_limit: int = 50_000_000
    headers: dict[str, str] = Field(default_factory=dict)
    read_recent: bool = False
    name: str = ""
    required_matchers: dict[str, str] = Field(default_factory=dict)
    filter_external_labels: bool = True

    @model_validator(mode="after")
    def _headers_are_free(self) -> "_RemoteRead":
        for name in self.headers:
            if name.lower() in RESERVED_HEADERS:
                raise ValueError(f"{name} is a reserved header. It must not be changed")
        return self


class _Retention(NullableSection):
    time: Seconds = 0.0
    size: Any = 0
    percentage: float = 0.0

    @model_validator(mode="after")
    def _in_range(self) -> "_Retention":
        if str(self.size).startswith("-"):
            raise ValueError(f"'storage.tsdb.retention.size' must be greater than or equal to 0, got {self.size}")
        parse_bytes(self.size)
        if not 0 <= self.percentage <= 100:
            raise ValueError(
                f"'storage.tsdb.retention.percentage' must be in the range [0, 100], got {self.percentage:g}"
            )
        return self


class _ChunkEncoding(NullableSection):
    floats: Literal["", "xor", "xor2"] = ""


class _Tsdb(NullableSection):
    out_of_order_time_window: Seconds = 0.0
    stale_series_compaction_threshold: float = 0.0
    chunk_encoding: _ChunkEncoding = _ChunkEncoding()
    retention: _Retention = _Retention()


class _Exemplars(NullableSection):
    max_exemplars: int = 100_000


class _Storage(NullableSection):
    tsdb: _Tsdb = _Tsdb()
    exemplars: _Exemplars = _Exemplars()


class _Otlp(NullableSection):
    promote_all_resource_attributes: bool = False
    promote_resource_attributes: tuple[str, ...] = ()
    ignore_resource_attributes: tuple[str, ...] = ()
    translation_strategy: Literal[
        "",
        "UnderscoreEscapingWithSuffixes",
        "UnderscoreEscapingWithoutSuffixes",
        "NoUTF8EscapingWithSuffixes",
        "NoTranslation",
    ] = ""
    keep_identifying_resource_attributes: bool = False
    convert_histograms_to_nhcb: bool = False
    promote_scope_metadata: bool = False
    label_name_underscore_sanitization: bool = True
    label_name_preserve_multiple_underscores: bool = True

    @model_validator(mode="after")
    def _consistent(self) -> "_Otlp":
        if self.promote_all_resource_attributes and self.promote_resource_attributes:
            both = "'promote_all_resource_attributes' and 'promote_resource_attributes'"
            raise ValueError(f"{both} cannot be configured simultaneously")
        if self.ignore_resource_attributes and not self.promote_all_resource_attributes:
            raise ValueError(
                "'ignore_resource_attributes' cannot be configured unless 'promote_all_resource_attributes' is true"
            )
        for kind in ("ignore_resource_attributes", "promote_resource_attributes"):
            names = [name.strip() for name in getattr(self, kind)]
            if "" in names:
                raise ValueError(f"invalid '{kind}': empty OTel resource attribute")
            if len(set(names)) < len(names):
                raise ValueError(f"invalid '{kind}': duplicated OTel resource attribute")
        return self


class _Runtime(NullableSection):
    gogc: int = 75
    log_level: Literal["debug", "info", "warn", "error"] = "info"


class StoreSections(NullableSection):
    """What is read and left alone, as a file's own top-level keys."""

    alerting: _Alerting | None = None
    rule_files: tuple[Pattern, ...] | None = None
    remote_read: tuple[Annotated[_RemoteRead, a_rule("empty or null remote read config section")], ...] | None = None
    storage: _Storage | None = None
    otlp: _Otlp | None = None
    runtime: _Runtime | None = None

    @model_validator(mode="after")
    def _names_differ(self) -> "StoreSections":
        names = [read.name for read in self.remote_read or () if read.name]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f'found multiple remote read configs with job name "{name}"')
        return self


class StoreGlobals(NullableSection):
    """The keys of `global` that belong to a store."""

    evaluation_interval: Seconds | None = None
    rule_query_offset: Seconds | None = None
    query_log_file: str | None = None
