"""Traces of the pipeline's own work, off unless an endpoint is configured.

    tracing: {endpoint: "http://127.0.0.1:4318/v1/traces", ratio: 0.01}

Contexts travel as W3C `traceparent` in envelopes. The SDK (`pip install 'pronoia[tracing]'`) is needed only where an
endpoint is configured.
"""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from pipeline.config import Section
from pipeline.errors import PermanentError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span as OtelSpan
    from opentelemetry.trace import SpanContext

Attribute = str | int | float | bool
_CLOSE_MS = 5_000


class TracingConfig(Section):
    """Where traces of our own work go to (OTLP over HTTP), and how many of them."""

    endpoint: Annotated[str, Field(pattern=r"^https?://[^/]+")]
    ratio: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Share of the traces that begin here; what comes with a context follows its sender's choice."""


class Span:
    """One piece of work; without an endpoint all of it is nothing."""

    __slots__ = ("_span",)

    def __init__(self, span: "OtelSpan | None") -> None:
        self._span = span

    def note(self, **attributes: Attribute) -> None:
        """Add attributes."""
        if self._span is not None:
            self._span.set_attributes(attributes)

    @property
    def traceparent(self) -> str:
        """The context to pass on, as W3C Trace Context has it; empty where nothing is traced."""
        context = self._span.get_span_context() if self._span is not None else None
        if context is None or not context.is_valid:
            return ""
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"


_NOTHING = Span(None)


class Tracing:
    """Makes spans; give it to whoever works. Without a provider it costs next to nothing."""

    def __init__(self, provider: "TracerProvider | None" = None) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("pronoia") if provider is not None else None

    @contextmanager
    def span(self, name: str, parents: Sequence[str] = (), **attributes: Attribute) -> Iterator[Span]:
        """Trace the work in the block; an exception is noted and goes on.

        `parents` are traceparents, of which broken ones are left out: of one the span is a child, several are linked.
        """
        if self._tracer is None:
            yield _NOTHING
            return
        from opentelemetry import trace

        contexts = [context for text in parents if (context := _parse(text)) is not None]
        parent = None
        if len(contexts) == 1:
            parent = trace.set_span_in_context(trace.NonRecordingSpan(contexts[0]))
        links = [trace.Link(context) for context in contexts] if len(contexts) > 1 else []
        with self._tracer.start_as_current_span(name, context=parent, links=links, attributes=attributes) as span:
            yield Span(span)

    async def close(self) -> None:
        """Send what is left, for five seconds at most."""
        if self._provider is not None:
            await asyncio.to_thread(self._provider.force_flush, _CLOSE_MS)
            await asyncio.to_thread(self._provider.shutdown)


def open_tracing(config: TracingConfig | None, component: str) -> Tracing:
    """Return what traces one component; raises PermanentError where the SDK is asked for and not installed."""
    if config is None:
        return Tracing()
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
    except ModuleNotFoundError as error:
        raise PermanentError("tracing needs more than is installed: pip install 'pronoia[tracing]'") from error
    provider = TracerProvider(
        sampler=ParentBased(TraceIdRatioBased(config.ratio)),
        resource=Resource({"service.name": f"pronoia-{component}"}),
        shutdown_on_exit=False,
    )
    exporter = OTLPSpanExporter(endpoint=config.endpoint, timeout=10)
    provider.add_span_processor(
        BatchSpanProcessor(exporter, max_queue_size=2_048, schedule_delay_millis=1_000, max_export_batch_size=512)
    )
    return Tracing(provider)


def _parse(traceparent: str) -> "SpanContext | None":
    """Read a W3C traceparent; None for anything that is none (Trace Context, section 3.2)."""
    from opentelemetry.trace import SpanContext, TraceFlags

    parts = traceparent.split("-")
    if len(parts) < 4 or [len(part) for part in parts[:4]] != [2, 32, 16, 2]:
        return None
    try:
        trace_id, span_id, flags = (int(part, 16) for part in parts[1:4])
    except ValueError:
        return None
    context = SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags))
    return context if context.is_valid else None
