"""`global` and `scrape_configs` of Prometheus' file: what is scraped, how often, and within which bounds.

Names and meanings are Prometheus' own (documentation, `<scrape_config>`); durations are seconds, sizes bytes.
"""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from pipeline.config import FilePath, Seconds, parse_bytes
from pipeline.http_client import HttpClientConfig, NullableSection
from pipeline.relabel import RelabelConfig, a_rule, is_label_name

ScrapeProtocol = Literal["OpenMetricsText1.0.0", "OpenMetricsText0.0.1", "PrometheusText1.0.0", "PrometheusText0.0.4"]
DEFAULT_PROTOCOLS: tuple[ScrapeProtocol, ...] = (
    "OpenMetricsText1.0.0",
    "OpenMetricsText0.0.1",
    "PrometheusText1.0.0",
    "PrometheusText0.0.4",
)
ValidationScheme = Literal["legacy", "utf8"]
EscapingScheme = Literal["allow-utf-8", "underscores", "dots", "values"]


def parse_size_limit(value: object) -> int:
    """Read `10MB` or `1GiB` in bytes; as in Prometheus a unit is a must; raises ValueError."""
    if isinstance(value, str) and re.fullmatch(r"\d+", value) and int(value):
        raise ValueError(f"units: unknown unit  in {value}: write it like 10MB")
    return parse_bytes(value)


SizeLimit = Annotated[int, BeforeValidator(parse_size_limit)]
Count = Annotated[int, Field(ge=0)]


def _protocols(protocols: tuple[ScrapeProtocol, ...]) -> tuple[ScrapeProtocol, ...]:
    if len(set(protocols)) < len(protocols):
        raise ValueError(f"duplicated protocol in scrape_protocols, got {' '.join(protocols)}")
    return protocols


Protocols = Annotated[tuple[ScrapeProtocol, ...], AfterValidator(_protocols)]


def _label_names(labels: dict[str, str]) -> dict[str, str]:
    for name in labels:
        if not is_label_name(name):
            raise ValueError(f'"{name}" is not a valid label name')
    return labels


LabelMap = Annotated[dict[str, str], AfterValidator(_label_names)]


class Limits(NullableSection):
    """What `global` and a scrape job both have; 0 means no limit, and in a job: as `global` says."""

    body_size_limit: SizeLimit = 0
    sample_limit: Count = 0
    target_limit: Count = 0
    label_limit: Count = 0
    label_name_length_limit: Count = 0
    label_value_length_limit: Count = 0
    keep_dropped_targets: Count = 0


class GlobalConfig(Limits):
    """`global`: defaults for every job, and the labels that tell this agent's series from others'."""

    scrape_interval: Seconds = 60.0
    scrape_timeout: Seconds = 0.0
    """0 until loaded: 10 s, or the interval if that is shorter."""
    scrape_protocols: Protocols = ()
    external_labels: LabelMap = Field(default_factory=dict)
    metric_name_validation_scheme: ValidationScheme = "utf8"
    metric_name_escaping_scheme: EscapingScheme | None = None
    always_scrape_classic_histograms: bool = False
    extra_scrape_metrics: bool = False


class StaticConfig(NullableSection):
    """One of `static_configs`: addresses that are known beforehand."""

    targets: tuple[str, ...] = ()
    labels: LabelMap = Field(default_factory=dict)


class FileSdConfig(NullableSection):
    """One of `file_sd_configs`: target groups in files (YAML or JSON), read again when they change."""

    files: tuple[FilePath, ...] = ()
    refresh_interval: Seconds = 300.0


class HttpSdConfig(HttpClientConfig):
    """One of `http_sd_configs`: target groups that a URL answers with, as JSON."""

    url: str = ""
    refresh_interval: Seconds = 60.0


class ScrapeConfig(HttpClientConfig, Limits):
    """One job. As `agent.config.load` returns it, everything that `global` may give is filled in."""

    job_name: str = ""
    honor_labels: bool = False
    honor_timestamps: bool = True
    track_timestamps_staleness: bool = False
    params: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    scrape_interval: Seconds = 0.0
    scrape_timeout: Seconds = 0.0
    scrape_protocols: Protocols = ()
    fallback_scrape_protocol: ScrapeProtocol | None = None
    always_scrape_classic_histograms: bool = False
    metrics_path: str = "/metrics"
    scheme: str = "http"
    enable_compression: bool = True
    metric_name_validation_scheme: ValidationScheme = "utf8"
    metric_name_escaping_scheme: EscapingScheme = "allow-utf-8"
    extra_scrape_metrics: bool = False

    static_configs: tuple[Annotated[StaticConfig, a_rule("empty or null section in static_configs")], ...] = ()
    file_sd_configs: tuple[Annotated[FileSdConfig, a_rule("empty or null section in file_sd_configs")], ...] = ()
    http_sd_configs: tuple[Annotated[HttpSdConfig, a_rule("empty or null section in http_sd_configs")], ...] = ()

    relabel_configs: tuple[
        Annotated[RelabelConfig, a_rule("empty or null target relabeling rule in scrape config")], ...
    ] = ()
    metric_relabel_configs: tuple[
        Annotated[RelabelConfig, a_rule("empty or null metric relabeling rule in scrape config")], ...
    ] = ()
