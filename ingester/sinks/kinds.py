"""Every kind of sink, by the key of `SinkConfig` that holds its section."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Final

from ingester.config import SinkConfig
from ingester.sinks import Sink
from pipeline.telemetry import IngesterMetrics


@dataclass(frozen=True, slots=True)
class SinkTools:
    """What sinks work with beside their configuration. `clock` gives Unix seconds."""

    metrics: IngesterMetrics
    clock: Callable[[], float] = time.time


Build = Callable[[SinkConfig, SinkTools], Sink]


def _of(module: str) -> Build:
    """Import a kind's module when it is configured: only who uses it pays for its libraries."""

    def build(config: SinkConfig, tools: SinkTools) -> Sink:
        sink: Sink = import_module(f"ingester.sinks.{module}").build(config, tools)
        return sink

    return build


KINDS: Final[dict[str, Build]] = {
    "elasticsearch": _of("elasticsearch.build"),
    "remote_write": _of("remote_write"),
    "loki": _of("loki.sink"),
}
"""A new kind is a line here. `store` is built by `pronoia up`, which has the store."""
