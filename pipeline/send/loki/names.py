"""Streams by their labels: as they were sent, and as Loki names them, which may be with one more. Pure."""

from typing import Final

from pipeline.wire.loki import Pairs, parse_labels

_ADDED: Final = "service_name"
"""What Loki makes up of other labels where a stream has none (its `discover_service_name`)."""


def pairs_of(labels: str) -> Pairs:
    """Return a stream's labels as Loki keeps them, without empty ones; raises MalformedError."""
    return tuple(pair for pair in parse_labels(labels) if pair[1])


def without_added(pairs: Pairs) -> Pairs:
    """Return labels that Loki names without what it may have added."""
    return tuple(pair for pair in pairs if pair[0] != _ADDED)
