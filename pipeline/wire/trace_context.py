"""W3C Trace Context's `traceparent`: which trace a piece of work belongs to, which span is above it, if it is kept.

Specification: Trace Context, level 1, section 3.2.
"""

import re
from typing import Final, NamedTuple

_TRACEPARENT: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)
_SAMPLED: Final = 1
MAX_CHARS: Final = 512
"""A longer header is none: what a later version may add has no need of more."""


class TraceContext(NamedTuple):
    """A span of somebody's: the trace's number (128 bits), its own (64 bits), and whether its sender keeps it."""

    trace_id: int
    span_id: int
    sampled: bool


def parse_traceparent(text: str) -> TraceContext | None:
    """Read a `traceparent`; None for anything that is none, which is to be taken as if nothing had come."""
    match = _TRACEPARENT.fullmatch(text) if len(text) <= MAX_CHARS else None
    if match is None:
        return None
    version, trace_id, span_id, flags, more = match.groups()
    # Version 00 ends behind the flags; what a later one adds there is not ours to read.
    if version == "ff" or (version == "00" and more is not None):
        return None
    context = TraceContext(int(trace_id, 16), int(span_id, 16), bool(int(flags, 16) & _SAMPLED))
    return context if context.trace_id and context.span_id else None


def format_traceparent(context: TraceContext) -> str:
    """Write a `traceparent`."""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.sampled):02x}"
