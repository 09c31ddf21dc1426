"""Every metric that Pronoia exposes about itself, declared once.

A component gets the section it writes; the registry is passed in, so that several components in one process (`pronoia
up`) and several tests share nothing by accident. What counts data is counted in items: samples, log entries, spans.
"""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_LATENCY_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class LogMetrics:
    """What every log implementation tells. Two logs of one process share their metrics: `beside` is the other's."""

    def __init__(self, registry: CollectorRegistry, log: str = "log", *, beside: "LogMetrics | None" = None) -> None:
        self._families: _LogFamilies = beside._families if beside is not None else _LogFamilies(registry)
        self.appended_bytes = self._families.appended_bytes
        self.append_seconds = self._families.append_seconds
        self.append_failures = self._families.append_failures
        self.discarded_records = self._families.discarded_records
        self.fsyncs = self._families.fsyncs.labels(log)
        self.stored_bytes = self._families.stored_bytes.labels(log)


class _LogFamilies:
    def __init__(self, registry: CollectorRegistry) -> None:
        self.appended_bytes = Counter(
            "pronoia_log_appended_bytes_total", "Payload bytes durably appended.", ["topic"], registry=registry
        )
        self.append_seconds = Histogram(
            "pronoia_log_append_seconds", "From append to durable.", ["topic"], buckets=_LATENCY_S, registry=registry
        )
        self.append_failures = Counter(
            "pronoia_log_append_failures_total", "Appends that failed for good.", ["topic"], registry=registry
        )
        self.fsyncs = Counter(
            "pronoia_log_fsyncs_total", "Commits that were synced to disk.", ["log"], registry=registry
        )
        self.discarded_records = Counter(
            "pronoia_log_discarded_records_total",
            "Records that the embedded log dropped because of their age or its size, read or not.",
            ["topic"],
            registry=registry,
        )
        self.stored_bytes = Gauge(
            "pronoia_log_stored_bytes",
            "Bytes that the embedded log holds on disk, its write-ahead log included.",
            ["log"],
            registry=registry,
        )


class AgentMetrics:
    """What the agent's buffer and its sending tell."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.buffered_samples = Counter(
            "pronoia_agent_buffered_samples_total", "Samples written to the disk buffer.", registry=registry
        )
        self.buffered_bytes = Gauge(
            "pronoia_agent_buffer_bytes",
            "Bytes that the disk buffer holds, its write-ahead log included.",
            registry=registry,
        )
        self.evicted = Counter(
            "pronoia_agent_evicted_samples_total",
            "Samples that had to leave a full or too old buffer unsent: lost, and a gap record says so downstream.",
            registry=registry,
        )
        self.dropped = Counter(
            "pronoia_agent_dropped_samples_total",
            "Samples that found no room in the buffer although all that may go had gone: lost.",
            registry=registry,
        )
        by_destination = ["destination"]
        self.refused = Counter(
            "pronoia_agent_refused_samples_total",
            "Samples that a destination refused for good: lost.",
            by_destination,
            registry=registry,
        )
        self.sent_bytes = Counter(
            "pronoia_agent_sent_bytes_total", "Payload bytes sent, repeats included.", by_destination, registry=registry
        )
        self.buffered_entries = Counter(
            "pronoia_agent_buffered_log_entries_total", "Log entries written to the disk buffer.", registry=registry
        )
        self.dropped_entries = Counter(
            "pronoia_agent_dropped_log_entries_total",
            "Log entries that are longer than a record of the buffer may be: lost.",
            registry=registry,
        )
        self.refused_entries = Counter(
            "pronoia_agent_refused_log_entries_total",
            "Log entries that a destination refused for good: lost.",
            by_destination,
            registry=registry,
        )
        self.logs_wait = Gauge(
            "pronoia_agent_logs_wait",
            "Whether the reading of logs waits, since the buffer has no room for them (1) or not (0).",
            registry=registry,
        )
        self.connected = Gauge(
            "pronoia_agent_destination_up",
            "Whether the last exchange with the destination went well.",
            by_destination,
            registry=registry,
        )


class LogInputMetrics:
    """What the agent's log inputs and stages tell."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.read_lines = Counter("pronoia_agent_log_lines_total", "Log lines read.", ["job"], registry=registry)
        self.read_bytes = Counter("pronoia_agent_log_bytes_total", "Bytes of log read.", ["job"], registry=registry)
        self.dropped_lines = Counter(
            "pronoia_agent_log_dropped_lines_total",
            "Lines that go no further: by a stage that was told to (its reason), or because they could not be read.",
            ["job", "reason"],
            registry=registry,
        )
        self.cut_lines = Counter(
            "pronoia_agent_log_cut_lines_total", "Lines cut at the limit of their length.", ["job"], registry=registry
        )
        self.dropped_metadata = Counter(
            "pronoia_agent_log_dropped_metadata_total",
            "Structured metadata that lines lost since Loki would refuse a line with so much of it.",
            ["job"],
            registry=registry,
        )
        self.errors = Counter(
            "pronoia_agent_log_errors_total",
            "What an input could not do and tries again, by its kind (files, journal, syslog, …).",
            ["job", "input"],
            registry=registry,
        )


class ScrapeMetrics:
    """What the agent's scraping tells."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.scrapes = Counter(
            "pronoia_scrapes_total", "Scrapes by job and result (ok, failed).", ["job", "result"], registry=registry
        )
        self.samples = Counter(
            "pronoia_scrape_samples_total", "Samples on scraped pages, before relabelling.", ["job"], registry=registry
        )
        self.dropped = Counter(
            "pronoia_scrape_dropped_samples_total",
            "Samples and exemplars on good pages that were not passed on, as Prometheus would not store them.",
            ["reason"],
            registry=registry,
        )
        self.skipped = Counter(
            "pronoia_scrape_skipped_total",
            "Scrapes left out because the one before took longer than the interval.",
            ["job"],
            registry=registry,
        )
        self.seconds = Histogram(
            "pronoia_scrape_seconds",
            "From the request to the page read.",
            buckets=_LATENCY_S,
            registry=registry,
        )


class DiscoveryMetrics:
    """What the agent tells of finding its targets."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.failures = Counter(
            "pronoia_discovery_failures_total",
            "Files, URLs and the like that could not be read; what they held before stays in use.",
            ["job", "kind"],
            registry=registry,
        )
        self.targets = Gauge("pronoia_discovery_targets", "Targets that are scraped.", ["job"], registry=registry)
        self.dropped_targets = Gauge(
            "pronoia_discovery_dropped_targets",
            "Targets that were found and are not scraped: dropped by a rule, or of no use.",
            ["job"],
            registry=registry,
        )
        self.duplicate_targets = Gauge(
            "pronoia_discovery_duplicate_targets",
            "Targets that became what another target of the job is already: one of them is scraped.",
            ["job"],
            registry=registry,
        )

    def forget(self, job: str, kinds: Iterable[str]) -> None:
        """Tell no more of a job that is not configured any longer, and of its kinds of discovery."""
        self.targets.remove(job)
        self.dropped_targets.remove(job)
        self.duplicate_targets.remove(job)
        for kind in kinds:
            self.failures.remove(job, kind)


class OperatorMetrics:
    """What the agent tells of the Prometheus operator's custom resources."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.resources = Gauge(
            "pronoia_operator_resources",
            "Custom resources that are selected, by kind: used, or refused because of what they say.",
            ["kind", "state"],
            registry=registry,
        )


class ReloadMetrics:
    """What the agent tells of reading its configuration again; the names are Prometheus', under our prefix."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.successful = Gauge(
            "pronoia_config_last_reload_successful",
            "Whether the last attempt to read the configuration went well; where not, the old one runs on.",
            registry=registry,
        )
        self.success_seconds = Gauge(
            "pronoia_config_last_reload_success_timestamp_seconds",
            "When the configuration that runs was read.",
            registry=registry,
        )


class SharingMetrics:
    """What an agent that shares work with others tells of its part."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.slots = Gauge(
            "pronoia_sharing_workers", "Slots among which the shared targets are divided.", registry=registry
        )
        self.held = Gauge("pronoia_sharing_slots_held", "Slots whose targets this agent scrapes.", registry=registry)
        self.age = Gauge(
            "pronoia_sharing_renewal_age_seconds",
            "Time since the oldest of the slots held was renewed; 0 where none is held.",
            registry=registry,
        )
        self.requests = Counter(
            "pronoia_sharing_requests_total",
            "Requests about Leases by step (take, renew, …, watch) and outcome (ok, conflict, failed).",
            ["step", "outcome"],
            registry=registry,
        )
        self.takeovers = Counter(
            "pronoia_sharing_takeovers_total", "Slots that became this agent's.", registry=registry
        )
        self.losses = Counter(
            "pronoia_sharing_losses_total",
            "Slots that ceased to be this agent's: released in order, or lost for want of a renewal.",
            ["reason"],
            registry=registry,
        )
        self.changes = Counter(
            "pronoia_sharing_changes_total", "Changes of Leases that the API server sent.", registry=registry
        )


class GatewayMetrics:
    """What the gateway tells."""

    def __init__(self, registry: CollectorRegistry) -> None:
        by_signal = ["cluster", "signal"]
        self.received = Counter(
            "pronoia_gateway_received_items_total", "Items that the log has taken.", by_signal, registry=registry
        )
        self.received_bytes = Counter(
            "pronoia_gateway_received_bytes_total",
            "Payload bytes that the log has taken, compressed.",
            by_signal,
            registry=registry,
        )
        self.refused = Counter(
            "pronoia_gateway_refused_items_total",
            "Items that were refused for good: another cluster's label, labels that no store keeps, or their size.",
            [*by_signal, "reason"],
            registry=registry,
        )
        self.requests = Counter(
            "pronoia_gateway_requests_total",
            "Requests, and batches of streams, by what became of them.",
            ["protocol", "outcome"],
            registry=registry,
        )
        self.request_seconds = Histogram(
            "pronoia_gateway_request_seconds",
            "From the whole request (or batch) to its answer.",
            ["protocol"],
            buckets=_LATENCY_S,
            registry=registry,
        )
        self.in_flight_bytes = Gauge(
            "pronoia_gateway_in_flight_bytes", "Bytes reserved for what is not in the log yet.", registry=registry
        )
        self.streams = Gauge("pronoia_gateway_streams", "Open push streams.", registry=registry)
        self.epochs = Counter(
            "pronoia_gateway_foreign_epochs_total",
            "Epochs begun for foreign senders: one at first sight, one more after each append that failed.",
            registry=registry,
        )
        self.reloads = Counter(
            "pronoia_gateway_reloads_total",
            "Configurations, tokens or certificates that were read again.",
            ["outcome"],
            registry=registry,
        )


class IngesterMetrics:
    """What an ingester tells."""

    def __init__(self, registry: CollectorRegistry) -> None:
        by_cluster = ["sink", "cluster"]
        self.received = Counter(
            "pronoia_ingester_received_items_total", "Items new in the log.", by_cluster, registry=registry
        )
        self.delivered = Counter(
            "pronoia_ingester_delivered_items_total", "Items that the store took.", by_cluster, registry=registry
        )
        self.rejected = Counter(
            "pronoia_ingester_rejected_items_total",
            "Items that the store refused for good, or that could not be read; they are in the dead letters.",
            by_cluster,
            registry=registry,
        )
        self.missing = Counter(
            "pronoia_ingester_missing_items_total",
            "Items that the lanes' sequences show as never having reached the log.",
            by_cluster,
            registry=registry,
        )
        self.late = Counter(
            "pronoia_ingester_late_items_total",
            "Items that were counted as missing and then came after all.",
            by_cluster,
            registry=registry,
        )
        self.duplicated = Counter(
            "pronoia_ingester_duplicated_items_total",
            "Items that were in the log twice and were not sent again.",
            by_cluster,
            registry=registry,
        )
        self.poison = Counter(
            "pronoia_ingester_poison_records_total",
            "Records that are none of ours or damaged; they are in the dead letters.",
            ["sink"],
            registry=registry,
        )
        self.requests = Counter(
            "pronoia_ingester_requests_total", "Requests to the store.", ["sink", "outcome"], registry=registry
        )
        self.request_seconds = Histogram(
            "pronoia_ingester_request_seconds",
            "From request to answer.",
            ["sink"],
            buckets=_LATENCY_S,
            registry=registry,
        )
        self.commit_seconds = Histogram(
            "pronoia_ingester_commit_seconds",
            "From commit to its answer.",
            ["sink"],
            buckets=_LATENCY_S,
            registry=registry,
        )
        self.active_streams = Gauge(
            "pronoia_ingester_active_streams",
            "Streams that a cluster has had lately, where a sink bounds them (Loki's max_streams).",
            by_cluster,
            registry=registry,
        )
        self.queued_bytes = Gauge(
            "pronoia_ingester_queued_bytes", "Payload bytes read and not settled.", ["sink"], registry=registry
        )
        self.group_failures = Counter(
            "pronoia_ingester_group_failures_total",
            "Errors that nobody foresaw: the sink has begun anew after each.",
            ["sink"],
            registry=registry,
        )
        self.partitions = Gauge(
            "pronoia_ingester_partitions", "Partitions that are this process'.", ["sink"], registry=registry
        )
        self.stuck_partitions = Gauge(
            "pronoia_ingester_stuck_partitions",
            "Partitions that wait for somebody: a record of a newer Pronoia, or a sink that refuses us.",
            ["sink"],
            registry=registry,
        )
        self.lag_seconds = Gauge(
            "pronoia_ingester_lag_seconds",
            "Age of the oldest record that is not settled.",
            ["sink", "partition"],
            registry=registry,
        )
        self.lag_records = Gauge(
            "pronoia_ingester_lag_records",
            "Records behind the committed offset.",
            ["sink", "partition"],
            registry=registry,
        )
        self.retention_headroom = Gauge(
            "pronoia_ingester_retention_headroom_ratio",
            "Share of what the log keeps that lies before the committed offset: at 0 unread records are about to go.",
            ["sink", "partition"],
            registry=registry,
        )


class StoreMetrics:
    """What the embedded store tells."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.samples = Counter("pronoia_store_samples_total", "Samples durably stored.", registry=registry)
        self.duplicates = Counter(
            "pronoia_store_duplicates_total",
            "Samples that were not stored again: the series has one with that timestamp.",
            registry=registry,
        )
        self.exemplars = Counter(
            "pronoia_store_exemplars_ignored_total",
            "Exemplars that the embedded store does not keep.",
            registry=registry,
        )
        self.histograms = Counter(
            "pronoia_store_histograms_ignored_total",
            "Native histograms that the embedded store does not keep.",
            registry=registry,
        )
        self.dropped = Counter(
            "pronoia_store_retention_dropped_samples_total",
            "Samples that retention dropped, by age or by size.",
            ["reason"],
            registry=registry,
        )
        self.commits = Counter("pronoia_store_commits_total", "Commits that were synced to disk.", registry=registry)
        self.series = Gauge("pronoia_store_series", "Series in the embedded store.", registry=registry)
        self.stored_bytes = Gauge(
            "pronoia_store_stored_bytes",
            "Bytes that the embedded store holds on disk, its write-ahead log included.",
            registry=registry,
        )


class LogStoreMetrics:
    """What the embedded store of logs tells."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.entries = Counter("pronoia_log_store_entries_total", "Log entries durably stored.", registry=registry)
        self.duplicates = Counter(
            "pronoia_log_store_duplicates_total",
            "Log entries in doubt that were not stored again: the stream has them with that time, line and metadata.",
            registry=registry,
        )
        self.dropped = Counter(
            "pronoia_log_store_retention_dropped_entries_total",
            "Log entries that retention dropped, by age or by size.",
            ["reason"],
            registry=registry,
        )
        self.commits = Counter(
            "pronoia_log_store_commits_total", "Commits that were synced to disk.", registry=registry
        )
        self.streams = Gauge("pronoia_log_store_streams", "Streams in the embedded store of logs.", registry=registry)
        self.stored_bytes = Gauge(
            "pronoia_log_store_stored_bytes",
            "Bytes that the embedded store of logs holds on disk, its write-ahead log included.",
            registry=registry,
        )


class ConsoleMetrics:
    """What the console tells."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = Counter("pronoia_console_requests_total", "Requests answered.", ["status"], registry=registry)


class TracingMetrics:
    """What tracing the pipeline's own work tells."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.spans = Counter(
            "pronoia_tracing_spans_total",
            "Spans that were ended: exported, failed (the collector did not take them), dropped (no room to wait).",
            ["component", "outcome"],
            registry=registry,
        )
