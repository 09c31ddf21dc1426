"""`global` and `scrape_configs` of Prometheus' file: what is scraped, how often, and within which bounds.

Names and meanings are Prometheus' own (documentation, `<scrape_config>`); durations are seconds, sizes bytes.
"""

import re
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from agent.config.discoveries import Discoveries, TargetRule
from agent.config.lists import LabelMap
from pipeline.config import FilePath, Seconds, parse_bytes
from pipeline.http_config import HttpClientConfig, NullableSection, off
from pipeline.relabel import RelabelConfig, a_rule, is_label_name

ScrapeProtocol = Literal[
    "PrometheusProto", "OpenMetricsText1.0.0", "OpenMetricsText0.0.1", "PrometheusText1.0.0", "PrometheusText0.0.4"
]
PROTO_FIRST: tuple[ScrapeProtocol, ...] = get_args(ScrapeProtocol)
"""What a scrape asks for, best first, where native histograms are wanted: only protobuf pages have them."""
PROTOCOLS: tuple[ScrapeProtocol, ...] = PROTO_FIRST[1:]
"""What a scrape asks for otherwise, unless configured."""
ValidationScheme = Literal["legacy", "utf8"]
EscapingScheme = Literal["allow-utf-8", "underscores", "dots", "values"]


def parse_size_limit(value: object) -> int:
    """Read `10MB` or `1GiB` in bytes; as in Prometheus a unit is a must; raises ValueError."""
    if isinstance(value, str) and re.fullmatch(r"\d+", value, re.ASCII) and int(value):
        raise ValueError(f"unknown unit in {value}: write it like 10MB")
    return parse_bytes(value)


def _protocol(value: object) -> object:
    if value == "OpenMetricsText2.0.0":
        raise ValueError(f"{value} is not supported: it is an experiment, which Prometheus has behind a feature flag")
    if isinstance(value, str) and value not in PROTO_FIRST:
        raise ValueError(f"unknown scrape protocol {value}, supported: {', '.join(sorted(PROTO_FIRST))}")
    return value


def _protocols(value: object) -> object:
    if not isinstance(value, list | tuple):
        return value
    if not value:
        raise ValueError("scrape_protocols cannot be empty")
    if len({str(name).lower() for name in value}) < len(value):
        raise ValueError(f"duplicated protocol in scrape_protocols, got {' '.join(map(str, value))}")
    return value


SizeLimit = Annotated[int, BeforeValidator(parse_size_limit)]
Count = Annotated[int, Field(ge=0)]
Protocol = Annotated[ScrapeProtocol, BeforeValidator(_protocol)]
Protocols = Annotated[tuple[Protocol, ...], BeforeValidator(_protocols)]


class Limits(NullableSection):
    """What `global` and a scrape job both have; 0 means no limit, and in a job: as `global` says."""

    body_size_limit: SizeLimit = 0
    """A scrape whose uncompressed page is as large or larger fails; left out, one of 1 GiB does."""
    sample_limit: Count = 0
    """A scrape with more samples after metric_relabel_configs fails."""
    target_limit: Count = 0
    """Where a job has more targets after relabel_configs, every scrape of it fails."""
    label_limit: Count = 0
    """A scrape fails where a sample has more labels than this."""
    label_name_length_limit: Count = 0
    """A scrape fails where a label's name has more bytes than this."""
    label_value_length_limit: Count = 0
    """A scrape fails where a label's value has more bytes than this."""
    keep_dropped_targets: Count = 0
    """As many of a job's dropped targets are kept to be looked at; all are counted."""
    always_scrape_classic_histograms: bool = False
    """Keep the classic histogram of what is native, too."""
    extra_scrape_metrics: bool = False
    """Also tell of each scrape its limits and timeout, and the size of its page."""
    scrape_native_histograms: bool = False
    """Off, a histogram that is native only is scraped as a classic one with one bucket, as by Prometheus."""
    convert_classic_histograms_to_nhcb: Annotated[bool, off("is not supported: classic histograms stay classic")] = (
        False
    )
    """Send classic histograms as native ones with the same buckets."""
    scrape_failure_log_file: FilePath | None = None
    """A file that gets a line of JSON for each scrape that fails."""


class GlobalConfig(Limits):
    """`global`: defaults for every job, and the labels that tell this agent's series from others'."""

    scrape_interval: Seconds = 0.0
    """How often jobs that say nothing else are scraped; 1m where this is left out."""
    scrape_timeout: Seconds = 0.0
    """How long a scrape may take; 10s, or the interval if that is shorter, where this is left out."""
    scrape_protocols: Protocols = PROTOCOLS
    """Which formats pages are asked for in, best first."""
    external_labels: LabelMap = Field(default_factory=dict)
    """Labels of all series that do not have them; `${NAME}` comes from the environment."""
    metric_name_validation_scheme: ValidationScheme = "utf8"
    """Which names metrics and labels may have."""
    metric_name_escaping_scheme: EscapingScheme | None = None
    """How names beyond `[a-zA-Z0-9_:]` are asked for."""

    @model_validator(mode="after")
    def _consistent(self) -> "GlobalConfig":
        if self.scrape_timeout > self.interval_s:
            raise ValueError("global scrape timeout greater than scrape interval")
        if self.metric_name_validation_scheme == "legacy":
            for name in self.external_labels:
                if not is_label_name(name, legacy=True):
                    raise ValueError(f'external_labels: "{name}" is not a valid label name')
        return self

    @property
    def interval_s(self) -> float:
        """The interval of jobs that name none."""
        return self.scrape_interval or 60.0

    @property
    def timeout_s(self) -> float:
        """The timeout of jobs that name none, unless their interval is shorter."""
        return self.scrape_timeout or min(10.0, self.interval_s)


def _job_name(name: str) -> str:
    if not name:
        raise ValueError("job_name is empty")
    return name


def _scheme(value: str) -> str:
    if value.lower() not in ("http", "https"):
        raise ValueError(f'"{value}" is not a scheme: http or https')
    return value.lower()


_MetricRule = Annotated[RelabelConfig, a_rule("empty or null metric relabeling rule in scrape config")]


class ScrapeConfig(HttpClientConfig, Limits, Discoveries):
    """One job. As `agent.config` loads it, everything that `global` may give is filled in."""

    job_name: Annotated[str, AfterValidator(_job_name), Field(default="", validate_default=True)]
    """The value of the label `job`, where no rule changes it; every job needs one of its own."""
    honor_labels: bool = False
    """Labels of the page win over those of the target; else they are kept as `exported_…`."""
    honor_timestamps: bool = True
    """Take the timestamps that the page has."""
    track_timestamps_staleness: bool = False
    """End series with timestamps of their own, too, when they are gone from the page."""
    params: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Parameters of the URL."""
    scrape_interval: Seconds = 0.0
    """How often targets are scraped; as `global` says, where left out."""
    scrape_timeout: Seconds = 0.0
    """How long a scrape may take; as `global` says, where left out."""
    scrape_protocols: Protocols = PROTOCOLS
    """Which formats pages are asked for in, best first."""
    fallback_scrape_protocol: Protocol | None = None
    """The format of pages whose Content-Type names none."""
    metrics_path: str = "/metrics"
    """The path of the page."""
    scheme: Annotated[str, AfterValidator(_scheme)] = "http"
    """`http` or `https`."""
    enable_compression: bool = True
    """Ask for pages to be compressed."""
    metric_name_validation_scheme: ValidationScheme = "utf8"
    """Which names metrics and labels may have."""
    metric_name_escaping_scheme: EscapingScheme = "allow-utf-8"
    """How names beyond `[a-zA-Z0-9_:]` are asked for."""
    native_histogram_bucket_limit: Count = 0
    """Native histograms with more buckets are scraped at a lower resolution."""
    native_histogram_min_bucket_factor: float = 0.0
    """Buckets that grow by less are merged, too."""

    relabel_configs: tuple[TargetRule, ...] = ()
    """Rules that make targets of what was discovered, or drop it."""
    metric_relabel_configs: tuple[_MetricRule, ...] = ()
    """Rules that change or drop the samples of a page."""

    @model_validator(mode="after")
    def _targets_are_addresses(self) -> "ScrapeConfig":
        # With relabelling anything may become an address (the blackbox exporter's pattern).
        if not self.relabel_configs:
            for target in (target for group in self.static_configs for target in group.targets):
                if "/" in target:
                    raise ValueError(f'"{target}" is not a valid hostname')
        return self

    @property
    def pool(self) -> str:
        """Its name among all jobs, of metrics and of logs."""
        return self.job_name

    @property
    def legacy_names(self) -> bool:
        """Whether names of labels and metrics are bound to letters, digits and underscores."""
        return self.metric_name_validation_scheme == "legacy"

    def inherit(self, given: GlobalConfig) -> "ScrapeConfig":
        """Return the job with everything filled in that it leaves to `global`; raises ValueError."""
        interval_s = self.scrape_interval or given.interval_s
        if self.scrape_timeout > interval_s:
            raise ValueError(
                f'scrape timeout greater than scrape interval for scrape config with job name "{self.job_name}"'
            )
        update: dict[str, Any] = {
            "scrape_interval": interval_s,
            "scrape_timeout": self.scrape_timeout or min(given.timeout_s, interval_s),
            **self._names_by(given),
        }
        for name in Limits.model_fields:
            value = getattr(self, name)
            # A limit of 0 is no limit of its own; false is one's own choice.
            if name not in self.model_fields_set or (value == 0 and not isinstance(value, bool)):
                update[name] = getattr(given, name)
        job = self.model_copy(update=update)
        if "scrape_protocols" not in self.model_fields_set:
            own = PROTO_FIRST if job.scrape_native_histograms else PROTOCOLS
            protocols = given.scrape_protocols if "scrape_protocols" in given.model_fields_set else own
            job = job.model_copy(update={"scrape_protocols": protocols})
        for rule in (*job.relabel_configs, *job.metric_relabel_configs):
            if (reason := rule.mistake(job.legacy_names)) is not None:
                raise ValueError(reason)
        return job

    def _names_by(self, given: GlobalConfig) -> dict[str, str]:
        """Return how names are validated and escaped; escaping follows from validating where it is left open."""
        own = "metric_name_validation_scheme" in self.model_fields_set
        validation = self.metric_name_validation_scheme if own else given.metric_name_validation_scheme
        if "metric_name_escaping_scheme" in self.model_fields_set:
            escaping: str | None = self.metric_name_escaping_scheme
        else:
            escaping = None if own else given.metric_name_escaping_scheme
        escaping = escaping or ("underscores" if validation == "legacy" else "allow-utf-8")
        if escaping == "allow-utf-8" and validation == "legacy":
            raise ValueError("utf8 metric names requested but validation scheme is not set to UTF8")
        return {"metric_name_validation_scheme": validation, "metric_name_escaping_scheme": escaping}
