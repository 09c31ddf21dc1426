"""What a target's job says of its pages: how they are read, labelled and sent."""

from agent.config.scrape import ScrapeConfig
from agent.scrape.labelling import LabelLimits, Labelling
from agent.scrape.page import MAX_PART_SAMPLES, PageOptions
from agent.scrape.table import TableOptions
from agent.target import Target
from pipeline.relabel import compile_rules, relabel
from pipeline.wire.exposition import Format
from pipeline.wire.histogram import Shape, schema_for
from pipeline.wire.remote_write import Labels


def labelling_of(target: Target, external: Labels, cluster_label: str) -> Labelling:
    """Return how the labels of a target's series are made."""
    config = target.config
    rules = compile_rules(config.metric_relabel_configs, config.legacy_names)
    return Labelling(
        target=target.labels,
        honor_labels=config.honor_labels,
        relabel=(lambda labels: relabel(labels, rules)) if rules else None,
        external=external,
        cluster_label=cluster_label,
        limits=LabelLimits(config.label_limit, config.label_name_length_limit, config.label_value_length_limit),
        legacy_names=config.legacy_names,
    )


def page_options(target: Target, max_samples: int = MAX_PART_SAMPLES, *, canonical_bounds: bool = False) -> PageOptions:
    """Return how a target's pages are read and sent."""
    config = target.config
    return PageOptions(
        table=TableOptions(
            config.honor_timestamps,
            config.track_timestamps_staleness,
            config.sample_limit,
            canonical_bounds,
            _either(target.scrape_native_histograms, config.scrape_native_histograms),
            _either(target.always_scrape_classic_histograms, config.always_scrape_classic_histograms),
            Shape(config.native_histogram_bucket_limit, schema_for(config.native_histogram_min_bucket_factor)),
        ),
        fallback=fallback_format(config),
        extra_reports=config.extra_scrape_metrics,
        timeout_s=target.timeout_s,
        max_samples=max_samples,
    )


def _either(own: bool | None, of_job: bool) -> bool:
    return of_job if own is None else own


def fallback_format(config: ScrapeConfig) -> Format | None:
    """Return the format of a page whose Content-Type names none."""
    match config.fallback_scrape_protocol:
        case None:
            return None
        case "PrometheusProto":
            return Format.PROTOBUF
        case "OpenMetricsText1.0.0" | "OpenMetricsText0.0.1":
            return Format.OPENMETRICS
        case _:
            return Format.TEXT
