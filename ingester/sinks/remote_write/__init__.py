"""The remote-write sink: Prometheus, Mimir, Thanos, VictoriaMetrics and whatever else takes remote write 1.0 or 2.0."""

import asyncio
import logging
from dataclasses import dataclass

from ingester.config import SinkConfig
from ingester.sinks.kinds import SinkTools
from pipeline.delivery import Delivered, Outcome, Rejected
from pipeline.send.remote_write import RemoteWrite
from pipeline.send.request import Request
from pipeline.send.rewrite import Rewrite, rewrite_for
from pipeline.wire.envelope import Signal
from pipeline.wire.errors import MalformedError

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class RemoteWriteSink:
    """A `Sink` on the pipeline's remote-write sender."""

    name: str
    client: RemoteWrite
    rewrite: Rewrite | None = None
    """What `write_relabel_configs` and the like make of a payload; None where it goes as it is."""
    signal: Signal = Signal.METRICS

    async def start(self) -> None:
        """Open the client, and warn where a Prometheus would refuse what comes late."""
        await self.client.start()
        window_s = await self.client.out_of_order_window_s()
        if window_s == 0:
            logger.warning(
                "the store has no storage.tsdb.out_of_order_time_window: samples that come late, after an outage or"
                " from a slow agent, will be refused and go to the dead letters; set it to the agents' buffer.max_age",
                extra={"sink": self.name},
            )

    async def close(self) -> None:
        """Close the client."""
        await self.client.close()

    async def send(self, request: Request) -> Outcome:
        """Send once. What the sink's own rules drop is delivered: nothing of it was to go there."""
        try:
            payload = request.payload
            if self.rewrite is not None:
                payload, _ = await asyncio.to_thread(self.rewrite.apply, payload)
                if not payload:
                    return Delivered("dropped by write_relabel_configs")
            return await self.client.send(payload, tenant=request.tenant)
        except MalformedError as error:
            return Rejected(str(error), 0)


def build(config: SinkConfig, tools: SinkTools) -> RemoteWriteSink:
    """Build the sink that the configuration describes."""
    assert config.remote_write is not None
    client = RemoteWrite(config.remote_write, tenant_header=config.tenant_header)
    return RemoteWriteSink(config.name, client, rewrite_for(config.remote_write))
