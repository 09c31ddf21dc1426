"""Writing push requests for tests."""

from collections.abc import Mapping
from typing import Any

from pipeline.wire import loki


def push(labels: Mapping[str, str], *entries: tuple[Any, ...]) -> bytes:
    """Encode one stream with entries of (time in nanoseconds, line as text or bytes, metadata as a mapping or none)."""
    return loki.encode_stream(loki.encode_labels(labels.items()), b"".join(_entry(*entry) for entry in entries))


def _entry(time_ns: int, line: str | bytes, metadata: Mapping[str, str] | None = None) -> bytes:
    return loki.encode_entry(time_ns, line if isinstance(line, bytes) else line.encode(), (metadata or {}).items())
