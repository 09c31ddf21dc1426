"""Every metric that Pronoia exposes about itself, declared once.

A component gets the section it writes; the registry is passed in, so that several components in one process (`pronoia
up`) and several tests share nothing by accident. What counts data is counted in items: samples, log entries, spans.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_LATENCY_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class LogMetrics:
    """What every log implementation tells."""

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
        self.fsyncs = Counter("pronoia_log_fsyncs_total", "Commits that were synced to disk.", registry=registry)
        self.stored_bytes = Gauge(
            "pronoia_log_stored_bytes",
            "Bytes that the embedded log holds on disk, its write-ahead log included.",
            registry=registry,
        )


class AgentMetrics:
    """What the agent tells."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry


class GatewayMetrics:
    """What the gateway tells."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry


class IngesterMetrics:
    """What an ingester tells."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
