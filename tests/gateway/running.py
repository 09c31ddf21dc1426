"""A gateway on free ports over a real embedded log, what to send it, and what then is in the log."""

import asyncio
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
import grpc.aio
from prometheus_client import CollectorRegistry

from gateway.config import GatewayConfig
from gateway.service import Gateway
from pipeline.errors import PipelineError
from pipeline.log.interface import Appending, Partition, Record
from pipeline.log.sqlite import SqliteLog
from pipeline.telemetry import LogMetrics
from pipeline.wire import snappy
from pipeline.wire.envelope import METRICS_ENCODING, Envelope, Headers, Signal, crc32c, from_headers, to_headers
from pipeline.wire.push_pb2 import Ack, Batch, Header
from pipeline.wire.remote_write import encode_labels, encode_sample, encode_series

TIME_MS = 1_790_000_000_000
BEARER = {"Authorization": "Bearer secret-1"}
WRITE = {"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy"}
ONE_CLUSTER = [{"name": "c1", "tokens": ["secret-1"]}]


class FaultyLog(SqliteLog):
    """The embedded log, with appends that can be held back (`open` cleared) or made to fail (`failures`)."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.open = asyncio.Event()
        self.open.set()
        self.failures: list[PipelineError] = []
        self.refusals: list[PipelineError] = []

    async def append(self, at: Partition, headers: Headers, payload: bytes, *, key: bytes | None = None) -> Appending:
        """Refuse the place, or let durability fail or wait, as the test wants it."""
        if self.refusals:
            raise self.refusals.pop(0)
        failure = self.failures.pop(0) if self.failures else None
        if failure is None and self.open.is_set():
            return await super().append(at, headers, payload, key=key)
        return asyncio.ensure_future(self._later(at, headers, payload, failure))

    async def _later(self, at: Partition, headers: Headers, payload: bytes, failure: PipelineError | None) -> int:
        await self.open.wait()
        if failure is not None:
            raise failure
        return await (await super().append(at, headers, payload))


@dataclass
class Running:
    """A gateway that listens, its log, and its metrics."""

    gateway: Gateway
    log: FaultyLog
    registry: CollectorRegistry
    session: aiohttp.ClientSession
    scheme: str = "http"
    headers: dict[str, str] = field(default_factory=lambda: dict(BEARER))

    def url(self, path: str) -> str:
        return f"{self.scheme}://127.0.0.1:{self.gateway.http_port}{path}"

    async def post(
        self, path: str, body: bytes | BytesIO, headers: Mapping[str, str] | None = None, **more: Any
    ) -> tuple[int, str, Mapping[str, str]]:
        """POST; returns status, text and headers."""
        sent = {**self.headers, **(headers or {})}
        async with self.session.post(self.url(path), data=body, headers=sent, **more) as answer:
            return answer.status, (await answer.read()).decode(errors="replace"), answer.headers

    async def write(self, raw: bytes, headers: Mapping[str, str] | None = None) -> tuple[int, str, Mapping[str, str]]:
        """POST a remote write 1.0 request, given uncompressed."""
        return await self.post("/api/v1/write", snappy.compress(raw), {**WRITE, **(headers or {})})

    async def records(self, signal: Signal = Signal.METRICS) -> list[Record]:
        """Return all that is in a signal's topic, partition by partition."""
        out: list[Record] = []
        for number in range(self.log.partitions_of(f"pronoia.{signal}")):
            out += await self.log.read(Partition(f"pronoia.{signal}", number), 0, max_bytes=1 << 30)
        return out

    async def envelopes(self, signal: Signal = Signal.METRICS) -> list[Envelope]:
        """Return all envelopes in a signal's topic."""
        return [from_headers(record.headers) for record in await self.records(signal)]

    def metric(self, name: str, **labels: str) -> float:
        """Return one of our own metrics' values, 0 where it was never touched."""
        return self.registry.get_sample_value(name, labels) or 0.0


@asynccontextmanager
async def running(
    folder: Path,
    *,
    log_options: Mapping[str, Any] | None = None,
    gateway: Mapping[str, Any] | None = None,
    **config: Any,
) -> AsyncIterator[Running]:
    """Run a gateway; `config` as in its file, on free ports."""
    values = {"clusters": ONE_CLUSTER, "listen": {"http": "127.0.0.1:0", "grpc": "127.0.0.1:0"}, "name": "gw", **config}
    parsed = GatewayConfig.model_validate({"log": {"sqlite": {"path": str(folder / "log")}}, **values})
    registry = CollectorRegistry()
    log = FaultyLog(folder / "log", LogMetrics(registry), **(log_options or {}))
    await log.start()
    part = Gateway(parsed, log, registry, watch_interval_s=0.05, **(gateway or {}))
    try:
        await part.start()
        async with aiohttp.ClientSession() as session:
            yield Running(part, log, registry, session, "https" if parsed.tls else "http")
    finally:
        log.open.set()
        await part.drain()
        await log.close()


async def until(condition: Callable[[], Awaitable[bool]], what: str, deadline_s: float = 10.0) -> None:
    """Wait for a condition."""
    end = time.monotonic() + deadline_s
    while not await condition():
        assert time.monotonic() < end, f"not within {deadline_s:.0f} s: {what}"
        await asyncio.sleep(0.01)


def series(*labels: tuple[str, str], value: float = 1.0, time_ms: int = TIME_MS) -> bytes:
    """Encode one series with one sample as a request."""
    ordered = sorted([("__name__", "up"), *labels])
    return encode_series(encode_labels(ordered) + encode_sample(struct.pack("<d", value), time_ms))


def own(number: int, cluster: str = "c1") -> bytes:
    """Encode the cluster's n-th series."""
    return series(("cluster", cluster), ("n", str(number)))


def batch(raw: bytes, sequence: int, lane: int = 3, **changes: Any) -> Batch:
    """Make an agent's batch of one request; `changes` go to its envelope."""
    payload = snappy.compress(raw)
    values: dict[str, Any] = {
        "signal": Signal.METRICS,
        "encoding": METRICS_ENCODING,
        "cluster": "c1",
        "agent": "node-1",
        "epoch": 7,
        "lane": lane,
        "sequence": sequence,
        "items": 1,
        "raw_bytes": len(raw),
        "created_ms": TIME_MS,
        "crc32c": crc32c(payload),
        "lane_items": sequence,
        **changes,
    }
    return to_batch(Envelope(**values), payload)


def to_batch(envelope: Envelope, payload: bytes) -> Batch:
    """Put an envelope and a payload on the wire."""
    headers = [Header(name=name, value=value) for name, value in to_headers(envelope)]
    return Batch(headers=headers, payload=payload)


@asynccontextmanager
async def stream(port: int, token: str | None = "secret-1") -> AsyncIterator[Any]:
    """Open a push stream."""
    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        method: Any = channel.stream_stream(
            "/pronoia.push.v1.Push/Push",
            request_serializer=Batch.SerializeToString,
            response_deserializer=Ack.FromString,
        )
        yield method(metadata=metadata)
