"""The gateway's spans: `accept` from a request or batch to its answer, `append` within it until the log has it."""

from collections.abc import Iterable

from gateway.accept import Accepted
from gateway.publish import Placed
from pipeline.tracing import NO_SPAN, Span, Tracing

TRACEPARENT = "traceparent"
"""The header's name: in HTTP requests, in gRPC metadata, and in envelopes."""


def accept_span(tracing: Tracing, parent: str | None, protocol: str, size_bytes: int) -> Span:
    """Begin to accept a foreign sender's request, as a part of what the sender traces."""
    if not tracing.on:
        return NO_SPAN
    return tracing.span("accept", [parent or ""], protocol=protocol, bytes=size_bytes)


def batch_span(tracing: Tracing, headers: Iterable[tuple[str, bytes]], protocol: str, size_bytes: int) -> Span:
    """Begin to accept an agent's batch, as a part of the scrape that it came from."""
    if not tracing.on:
        return NO_SPAN
    parent = next((value for name, value in headers if name == TRACEPARENT), b"")
    return accept_span(tracing, parent.decode(errors="replace"), protocol, size_bytes)


def note_accepted(span: Span, judged: Iterable[Accepted]) -> None:
    """Say what was found in a request."""
    if span is NO_SPAN:
        return
    parts = list(judged)
    span.note(
        cluster=",".join(sorted({part.sender.cluster for part in parts})),
        items=sum(part.items for part in parts),
        refused=sum(refused.items for part in parts for refused in part.refused),
    )


def end_when_durable(span: Span, placed: Placed) -> None:
    """End a span when the log has a record, or when it will not."""
    if span is NO_SPAN:
        return

    def end(done: Placed) -> None:
        error = None if done.cancelled() else done.exception()
        span.end("given up" if done.cancelled() else str(error or ""))

    placed.add_done_callback(end)
