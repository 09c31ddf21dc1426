"""Traces of the pipeline's own work, off unless an endpoint is configured.

Contexts travel as W3C `traceparent` in the envelopes of batches, so that one trace shows a scrape, its push, what the
gateway did with it and its delivery. OpenTelemetry's SDK (`pip install 'pronoia[tracing]'`) is imported only then.
"""

from pipeline.errors import PermanentError
from pipeline.telemetry import TracingMetrics
from pipeline.tracing.config import TracingConfig
from pipeline.tracing.interface import NO_SPAN, OFF, Attribute, Span, Tracing

__all__ = ["NO_SPAN", "OFF", "Attribute", "Span", "Tracing", "TracingConfig", "open_tracing"]


def open_tracing(config: TracingConfig | None, component: str, version: str, metrics: TracingMetrics) -> Tracing:
    """Return what traces one component (`agent`, `gateway`, `ingester`); the caller starts and closes it.

    Raises PermanentError where an endpoint is configured and the SDK is not installed, or a certificate cannot be read.
    """
    if config is None:
        return OFF
    try:
        from pipeline.tracing.otlp import OtlpTracing, exporter_of

        exporter = exporter_of(config)
    except ModuleNotFoundError as error:
        reason = f"tracing needs {error.name}, which is not installed: pip install 'pronoia[tracing]'"
        raise PermanentError(reason) from error
    except OSError as error:
        raise PermanentError(f"tracing.tls_config: cannot be read: {error.filename}: {error.strerror}") from error
    return OtlpTracing(exporter, config, component, version, metrics)
