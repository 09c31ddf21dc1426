"""The Loki sink: Loki and whatever else takes its push."""

from dataclasses import dataclass

from ingester.config import SinkConfig
from ingester.sinks.kinds import SinkTools
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
    assert config.loki is not None
    return LokiSink(config.name, Loki(config.loki, tenant_header=config.tenant_header, clock=tools.clock))
