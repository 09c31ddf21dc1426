"""Where batches go: a push for each destination, begun anew by itself when a reload changes its section."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from agent.config import AgentConfig, GatewayClientConfig
from agent.push.direct import MAX_ITEMS, DirectPush
from agent.push.gateway import GATEWAY, GatewayPush, Transport, destination_label
from agent.push.http import HttpTransport
from agent.signal_buffer import SignalBuffer
from pipeline.send.config import RemoteWriteConfig
from pipeline.send.remote_write import RemoteWrite
from pipeline.send.rewrite import rewrite_for
from pipeline.service import vital
from pipeline.telemetry import AgentMetrics
from pipeline.tracing import OFF, Tracing
from pipeline.wire.envelope import Signal

if TYPE_CHECKING:
    from pipeline.send.loki.config import LokiConfig


def destination_names(config: AgentConfig, signal: Signal) -> list[str]:
    """Return the names under which a signal's buffer knows where each destination stands."""
    return [name for name, _ in _sections(config, signal)]


def part_samples(config: AgentConfig) -> int:
    """Return the samples of a batch: what a receiver was configured to take in a request, where that is less."""
    return min([MAX_ITEMS, *(_limit(write) for write in config.remote_write)])


@dataclass(slots=True)
class _Running:
    made_of: object
    task: asyncio.Task[None]


@dataclass(slots=True)
class Destinations:
    """The pushes of one signal at work. Their names are the buffer's, and stay the same as long as it is open."""

    buffer: SignalBuffer
    metrics: AgentMetrics
    user_agent: str
    tracing: Tracing = OFF
    _running: dict[str, _Running] = field(default_factory=dict)

    async def configure(self, config: AgentConfig) -> None:
        """Push as this configuration says; a push whose section is as it was goes on undisturbed.

        One that is begun anew goes on behind what its destination has acknowledged, as a restarted agent would.
        """
        for name, section in _sections(config, self.buffer.signal):
            before = self._running.get(name)
            if before is not None and before.made_of == section:
                continue
            begin = self._prepare(name, config)
            if before is not None:
                await _end(before.task)
            # Only now does the buffer say for good what was acknowledged.
            label = destination_label(name, self.buffer.signal)
            task = asyncio.create_task(begin().run(), name=f"agent-push {label}")
            self._running[name] = _Running(section, vital(task))

    async def stop(self) -> None:
        """End all pushes."""
        await asyncio.gather(*(_end(running.task) for running in self._running.values()))

    def ready(self) -> str | None:
        """Return None while every push runs; a destination that is down is no reason, batches wait on disk."""
        ended = (f"pushing to {name} has ended" for name, running in self._running.items() if running.task.done())
        return next(ended, None)

    def _prepare(self, name: str, config: AgentConfig) -> Callable[[], GatewayPush | DirectPush]:
        """Make ready what a push needs and may not be had, and return how to begin it."""
        if name == GATEWAY:
            assert config.gateway is not None
            transport = _transport(config.gateway)
            return lambda: GatewayPush(self.buffer, transport, self.metrics, self.tracing)
        if self.buffer.signal is Signal.LOGS:
            return self._loki(name, config)
        write = next(write for write in config.remote_write if _name(write) == name)
        client = RemoteWrite(write, user_agent=self.user_agent)
        rewrite = rewrite_for(write, _legacy(config))
        return lambda: DirectPush(
            name, self.buffer, client, self.metrics, _limit(write), rewrite=rewrite, tracing=self.tracing
        )

    def _loki(self, name: str, config: AgentConfig) -> Callable[[], DirectPush]:
        from pipeline.send.loki.client import Loki

        section = next(section for known, section in _clients(config) if known == name)
        client = Loki(section, user_agent=self.user_agent)
        return lambda: DirectPush(
            name, self.buffer, client, self.metrics, max_bytes=section.batchsize, tracing=self.tracing
        )


def _sections(config: AgentConfig, signal: Signal) -> Iterator[tuple[str, object]]:
    """Yield each destination's name, and all that its push is made of."""
    if config.gateway is not None:
        yield GATEWAY, config.gateway
    if signal is Signal.LOGS:
        yield from _clients(config)
        return
    for write in config.remote_write:
        # What the file leaves out means something else than its default: `send_exemplars`, `max_samples_per_send`.
        said = frozenset(write.model_fields_set), frozenset(write.queue_config.model_fields_set)
        yield _name(write), (write, said, _legacy(config))


def _clients(config: AgentConfig) -> "Iterator[tuple[str, LokiConfig]]":
    for client in config.logs.all_clients if config.logs is not None else ():
        yield f"loki:{client.name or client.url}", client


def _name(config: RemoteWriteConfig) -> str:
    """Return a receiver's name in the buffer: its own, or its URL, so that changing others does not move it."""
    return f"remote_write:{config.name or config.url}"


def _legacy(config: AgentConfig) -> bool:
    return config.global_config.metric_name_validation_scheme == "legacy"


def _limit(config: RemoteWriteConfig) -> int:
    queue = config.queue_config
    return queue.max_samples_per_send if "max_samples_per_send" in queue.model_fields_set else MAX_ITEMS


def _transport(config: GatewayClientConfig) -> Transport:
    if config.scheme == "http":
        return HttpTransport(config)
    # gRPC costs an agent 20 MiB: only one that speaks it pays.
    from agent.push.grpc import GrpcTransport

    return GrpcTransport(config)


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])
