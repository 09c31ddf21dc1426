"""Spans by OpenTelemetry's SDK, sent by its OTLP exporters from a thread of its own. Imported only where tracing is on.

Contexts are passed explicitly, never by context variables: a span above is a traceparent, or the span itself. What
cannot be sent is dropped and counted: every span that was ended is exported, failed or dropped, in the end.
"""

import asyncio
import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, Status, StatusCode, TraceFlags

from pipeline.telemetry import TracingMetrics
from pipeline.tracing.config import TracingConfig, TracingTlsConfig
from pipeline.tracing.interface import NO_SPAN, Attribute, Span, Tracing
from pipeline.wire.trace_context import TraceContext, format_traceparent, parse_traceparent

logger = logging.getLogger(__name__)

MAX_QUEUED_SPANS: Final = 2_048
MAX_BATCH_SPANS: Final = 512
SEND_EVERY_MS: Final = 1_000
MAX_LINKS: Final = 4
CLOSE_S: Final = 5.0
_DEFAULT_TIMEOUT_S: Final = 10.0


class RecordedSpan(Span):
    """A span that is kept."""

    __slots__ = ("_span", "_tracer")

    def __init__(self, tracer: trace.Tracer, span: trace.Span) -> None:
        self._tracer = tracer
        self._span = span

    @property
    def traceparent(self) -> str:
        """What is passed on."""
        context = self._span.get_span_context()
        return format_traceparent(TraceContext(context.trace_id, context.span_id, True))

    def note(self, **attributes: Attribute) -> None:
        """Add attributes."""
        self._span.set_attributes(attributes)

    def child(self, name: str, /, **attributes: Attribute) -> Span:
        """Begin a part of this work."""
        context = trace.set_span_in_context(self._span, Context())
        return RecordedSpan(self._tracer, self._tracer.start_span(name, context, attributes=attributes))

    def end(self, error: str = "") -> None:
        """End the work, and give it to the queue."""
        if not self._span.is_recording():
            return
        if error:
            self._span.set_status(Status(StatusCode.ERROR, error))
        self._span.end()


class OtlpTracing(Tracing):
    """Tracing that is on."""

    __slots__ = ("_exporter", "_provider", "_queue", "_tracer")

    def __init__(
        self, exporter: SpanExporter, config: TracingConfig, component: str, version: str, metrics: TracingMetrics
    ) -> None:
        self._exporter = _Exporter(exporter, config.endpoint, component, metrics)
        self._provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(config.sampling_fraction)),
            resource=Resource({"service.name": f"pronoia-{component}", "service.version": version}),
            shutdown_on_exit=False,
        )
        self._tracer = self._provider.get_tracer("pronoia", version)
        self._queue: _Queue | None = None

    @property
    def on(self) -> bool:
        """Whether any span may be kept."""
        return True

    def span(self, name: str, parents: Sequence[str] = (), /, **attributes: Attribute) -> Span:
        """Begin a piece of work."""
        contexts = [context for text in parents if text and (context := parse_traceparent(text)) is not None]
        kept = [context for context in dict.fromkeys(contexts) if context.sampled]
        above = Context()
        if first := kept[:1] or contexts[:1]:
            above = trace.set_span_in_context(NonRecordingSpan(_remote(first[0])), above)
        links = [Link(_remote(context)) for context in kept[1 : 1 + MAX_LINKS]]
        span = self._tracer.start_span(name, above, attributes=attributes, links=links)
        return RecordedSpan(self._tracer, span) if span.is_recording() else NO_SPAN

    async def start(self) -> None:
        """Begin to send spans."""
        # Its thread begins with it.
        self._queue = _Queue(self._exporter)
        self._provider.add_span_processor(self._queue)

    async def close(self) -> None:
        """Send what is left, for five seconds at most; what a collector that is away does not take then is dropped."""
        if self._queue is None:
            return
        self._queue.closed = True
        # The SDK waits for half a minute, and cannot be told otherwise: it waits in a thread that holds up nothing.
        stopping = threading.Thread(target=self._provider.shutdown, name="tracing: close", daemon=True)
        stopping.start()
        await asyncio.to_thread(stopping.join, CLOSE_S)
        if stopping.is_alive():
            self._exporter.shutdown()
            await asyncio.to_thread(stopping.join, 1.0)
        self._exporter.drop(self._queue.waiting)
        self._exporter.forget_reasons()


class _Queue(BatchSpanProcessor):
    """The SDK's own queue and thread. It says to nobody what it drops, so the bound is kept, and counted, before it."""

    def __init__(self, exporter: "_Exporter") -> None:
        self._taken_by = exporter
        self._put = 0
        self.closed = False
        super().__init__(
            exporter,
            max_queue_size=MAX_QUEUED_SPANS,
            schedule_delay_millis=SEND_EVERY_MS,
            max_export_batch_size=MAX_BATCH_SPANS,
        )

    @property
    def waiting(self) -> int:
        """Spans that were put in and not yet given to the exporter."""
        return self._put - self._taken_by.taken

    def on_end(self, span: ReadableSpan) -> None:
        """Take a span that has ended."""
        if self.closed or self.waiting >= MAX_QUEUED_SPANS:
            self._taken_by.drop(1)
            return
        self._put += 1
        super().on_end(span)


class _Exporter(SpanExporter):
    """One of the SDK's exporters; counts what becomes of spans, and says once when they do not get through."""

    def __init__(self, inner: SpanExporter, endpoint: str, component: str, metrics: TracingMetrics) -> None:
        self.taken = 0
        self._inner = inner
        self._endpoint = endpoint
        self._exported, self._failed, self._dropped = (
            metrics.spans.labels(component, outcome) for outcome in ("exported", "failed", "dropped")
        )
        self._reasons = _Reasons(inner)
        self._trouble = False
        self._closed = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send a batch; called by the queue's thread only."""
        if self._closed:
            return SpanExportResult.FAILURE  # as good as never taken: counted as dropped
        self.taken += len(spans)
        with self._reasons:
            result = self._inner.export(spans)
        sent = result is SpanExportResult.SUCCESS
        (self._exported if sent else self._failed).inc(len(spans))
        if sent and self._trouble:
            logger.info("spans reach %s again", self._endpoint)
        elif not sent and not self._trouble:
            logger.warning("spans do not reach %s, they are dropped: %s", self._endpoint, self._reasons.first)
        self._trouble = not sent
        return result

    def drop(self, spans: int) -> None:
        """Count spans that nobody tries to send."""
        if spans > 0:
            self._dropped.inc(spans)

    def forget_reasons(self) -> None:
        """Leave the SDK's loggers as they were."""
        self._reasons.remove()

    def shutdown(self) -> None:
        """Give up what is being sent and tried again."""
        if not self._closed:
            self._closed = True
            self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Return true: nothing waits here."""
        return True


class _Reasons(logging.Filter):
    """Takes an exporter's own words out of the log, where it would repeat them for every batch, and keeps the first.

    Those of others in the same process stay: each exporter sends from a thread of its own.
    """

    def __init__(self, exporter: SpanExporter) -> None:
        super().__init__()
        self.first = ""
        self._thread: int | None = None
        modules = {kind.__module__ for kind in type(exporter).__mro__}
        self._loggers = [logging.getLogger(name) for name in modules if name.startswith("opentelemetry.exporter.")]
        for one in self._loggers:
            one.addFilter(self)

    def __enter__(self) -> None:
        self.first, self._thread = "", threading.get_ident()

    def __exit__(self, *_: object) -> None:
        self._thread = None

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a line is none of ours."""
        if record.thread != self._thread:
            return True
        self.first = self.first or record.getMessage()
        return False

    def remove(self) -> None:
        """Stop listening."""
        for one in self._loggers:
            one.removeFilter(self)


def exporter_of(config: TracingConfig) -> SpanExporter:
    """Return the SDK's exporter; raises ModuleNotFoundError, or OSError for a certificate that cannot be read."""
    timeout_s = config.timeout or _DEFAULT_TIMEOUT_S
    headers = {name.lower(): value for name, value in config.headers.items()}
    return (_grpc if config.client_type == "grpc" else _http)(config, headers, timeout_s)


def _http(config: TracingConfig, headers: dict[str, str], timeout_s: float) -> SpanExporter:
    import requests
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    tls: dict[str, Any] = {}
    if not config.insecure:
        given = config.tls_config
        names = {
            "certificate_file": given.ca_file,
            "client_certificate_file": given.cert_file,
            "client_key_file": given.key_file,
        }
        for name, file in names.items():
            if _pem(file, "") is not None:
                tls[name] = str(file)
    session = requests.Session()
    # Else a bundle of authorities that the environment names would replace ca_file, and ~/.netrc add credentials.
    session.trust_env = False
    return OTLPSpanExporter(
        session=session,
        endpoint=f"{'http' if config.insecure else 'https'}://{config.endpoint}/v1/traces",
        headers=headers,
        timeout=timeout_s,
        compression=Compression.Gzip if config.compression else Compression.NoCompression,
        **tls,
    )


def _grpc(config: TracingConfig, headers: dict[str, str], timeout_s: float) -> SpanExporter:
    import grpc
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

    tls: dict[str, Any] = {"insecure": config.insecure}
    if not config.insecure:
        tls["credentials"] = grpc.ssl_channel_credentials(*_pems(config.tls_config))
        if config.tls_config.server_name:
            tls["channel_options"] = (("grpc.ssl_target_name_override", config.tls_config.server_name),)
    return OTLPSpanExporter(
        endpoint=config.endpoint,
        headers=tuple(headers.items()),
        timeout=timeout_s,
        compression=grpc.Compression.Gzip if config.compression else grpc.Compression.NoCompression,
        **tls,
    )


def _pems(tls: TracingTlsConfig) -> tuple[bytes | None, bytes | None, bytes | None]:
    """Return authorities, key and certificate as gRPC wants them."""
    key = tls.key.get_secret_value()
    return _pem(tls.ca_file, tls.ca), _pem(tls.key_file, key), _pem(tls.cert_file, tls.cert)


def _pem(file: Path | None, inline: str) -> bytes | None:
    return file.read_bytes() if file is not None else inline.encode() or None


def _remote(context: TraceContext) -> SpanContext:
    flags = TraceFlags(TraceFlags.SAMPLED if context.sampled else TraceFlags.DEFAULT)
    return SpanContext(context.trace_id, context.span_id, is_remote=True, trace_flags=flags)
