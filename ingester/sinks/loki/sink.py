"""The Loki sink: Loki and whatever else takes its push."""

from dataclasses import dataclass

from ingester.config import SinkConfig
from ingester.sinks.kinds import SinkTools
from ingester.sinks.loki.active import ActiveStreams
from pipeline.delivery import Outcome
from pipeline.send.loki.client import Loki
from pipeline.send.request import Request
from pipeline.wire.envelope import Signal


@dataclass(slots=True)
class LokiSink:
    """A `Sink` on the pipeline's Loki sender."""

    name: str
    client: Loki
    signal: Signal = Signal.LOGS

    async def start(self) -> None:
        """Open the client."""
        await self.client.start()

    async def close(self) -> None:
        """Close the client."""
        await self.client.close()

    async def send(self, request: Request) -> Outcome:
        """Send once."""
        return await self.client.send(request)


def build(config: SinkConfig, tools: SinkTools) -> LokiSink:
    """Build the sink that the configuration describes."""
    loki = config.loki
    assert loki is not None

    def told(cluster: str, active: int) -> None:
        tools.metrics.active_streams.labels(config.name, cluster).set(active)

    active = ActiveStreams(loki.max_streams, loki.active_for, told)
    client = Loki(loki, tenant_header=config.tenant_header, refuses=active.refuses, clock=tools.clock)
    return LokiSink(config.name, client)
