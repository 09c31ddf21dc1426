"""What the ingester's tests are made of: records as an agent writes them, and a store that answers as it is told."""

import asyncio
import struct
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web
from crc32c import crc32c
from prometheus_client import CollectorRegistry

from ingester.config import IngesterConfig
from ingester.dead_letters import DeadLetter, from_record
from ingester.service import Ingester
from pipeline.log.interface import Log, Partition
from pipeline.log.open import open_log
from pipeline.telemetry import IngesterMetrics, LogMetrics
from pipeline.tracing import OFF, Tracing
from pipeline.wire import snappy
from pipeline.wire.envelope import METRICS_ENCODING, Envelope, Origin, Signal, to_headers
from pipeline.wire.remote_write import Series, decode, encode_labels, encode_sample, encode_series

METRICS = Partition("pronoia.metrics", 0)

Sample = tuple[tuple[tuple[str, str], ...], int, float]
"""(labels, timestamp in ms, value)"""


def payload_of(samples: Iterable[Sample]) -> bytes:
    parts = []
    for labels, timestamp_ms, value in samples:
        parts.append(encode_series(encode_labels(labels) + encode_sample(struct.pack("<d", value), timestamp_ms)))
    return snappy.compress(b"".join(parts))


def samples_in(payload: bytes) -> list[Sample]:
    out: list[Sample] = []
    series: Series
    for series in decode(snappy.decompress(payload)):
        out += [(series.labels, at_ms, struct.unpack("<d", value)[0]) for value, at_ms in series.samples]
    return out


def labels(name: str, **more: str) -> tuple[tuple[str, str], ...]:
    return tuple(sorted({"__name__": name, **more}.items()))


@dataclass
class Lane:
    """Numbers batches as an agent's buffer does."""

    cluster: str = "c1"
    agent: str = "a1"
    epoch: int = 0xFEED
    lane: int = 0
    tenant: str = ""
    origin: Origin = Origin.AGENT
    digest: str = ""
    sequence: int = 0
    items: int = 0

    def batch(self, samples: Sequence[Sample]) -> tuple[Envelope, bytes]:
        payload = payload_of(samples)
        envelope = Envelope(
            signal=Signal.METRICS,
            encoding=METRICS_ENCODING,
            cluster=self.cluster,
            agent=self.agent,
            epoch=self.epoch,
            lane=self.lane,
            sequence=self.sequence,
            items=len(samples),
            raw_bytes=snappy.decompressed_bytes(payload),
            created_ms=1_790_000_000_000,
            crc32c=crc32c(payload),
            tenant=self.tenant,
            lane_items=self.items,
            earliest_ms=min((at_ms for _, at_ms, _ in samples), default=0),
            latest_ms=max((at_ms for _, at_ms, _ in samples), default=0),
            origin=self.origin,
            digest=self.digest,
        )
        self.sequence += 1
        self.items += len(samples)
        return envelope, payload

    def gap(self, batches: int, items: int) -> tuple[Envelope, bytes]:
        envelope, _ = Lane(self.cluster, self.agent, self.epoch, self.lane, sequence=self.sequence).batch([])
        envelope = Envelope(
            **{name: getattr(envelope, name) for name in envelope.__slots__}
            | {"gap_to": self.sequence + batches - 1, "items": items, "lane_items": self.items, "crc32c": 0}
        )
        self.sequence += batches
        self.items += items
        return envelope, b""

    def round(self, number: int, series: int = 10) -> tuple[Envelope, bytes]:
        """One scrape: `series` samples at one timestamp, told apart by cluster, agent, lane and number."""
        return self.batch(
            [
                (
                    labels("m", agent=self.agent, cluster=self.cluster, i=f"{i:04d}", lane=str(self.lane)),
                    1_790_000_000_000 + number * 15_000,
                    float(number),
                )
                for i in range(series)
            ]
        )


async def append(log: Log, at: Partition, *batches: tuple[Envelope, bytes]) -> list[int]:
    waiting = [await log.append(at, to_headers(envelope), payload) for envelope, payload in batches]
    return [await appending for appending in waiting]


Answer = tuple[int, str] | tuple[int, str, dict[str, str]]


@dataclass
class Store:
    """A remote-write receiver on a real socket. `answer` sees the samples and the headers of each request."""

    answer: Callable[[list[Sample], Any], Answer] = lambda samples, headers: (204, "")
    port: int = 0
    taken: list[Sample] = field(default_factory=list)
    requests: list[tuple[int, int, Any]] = field(default_factory=list)
    """(status, samples, headers) of every request."""
    config_yaml: str = "storage:\n  tsdb:\n    out_of_order_time_window: 1h\n"
    hold: asyncio.Event | None = None
    arrived: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api/v1/write"

    async def write(self, request: web.Request) -> web.Response:
        samples = samples_in(await request.read())
        self.arrived += len(samples)
        if self.hold is not None:
            await self.hold.wait()
        status, text, *headers = self.answer(samples, request.headers)
        self.requests.append((status, len(samples), request.headers))
        if status < 300:
            self.taken += samples
        return web.Response(status=status, text=text or None, headers=headers[0] if headers else None)

    async def config(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "success", "data": {"yaml": self.config_yaml}})

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Store"]:
        app = web.Application(client_max_size=1 << 30)
        app.router.add_post("/api/v1/write", self.write)
        app.router.add_get("/api/v1/status/config", self.config)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self.port)
        await site.start()
        self.port = runner.addresses[0][1]
        try:
            yield self
        finally:
            if self.hold is not None:
                self.hold.set()
            await runner.cleanup()


class Nobody:
    """A member of the group that does nothing with its partitions."""

    def __init__(self) -> None:
        self.owns = asyncio.Event()

    async def assigned(self, partitions: Collection[Partition]) -> None:
        self.owns.set()

    async def revoked(self, partitions: Collection[Partition]) -> None:
        pass


async def until(condition: Callable[[], bool], deadline_s: float = 20.0) -> None:
    """Wait for a condition; fails loudly at the deadline."""
    async with asyncio.timeout(deadline_s):
        while not condition():  # noqa: ASYNC110 - the condition may lie in another process
            await asyncio.sleep(0.01)


async def until_committed(log: Log, offset: int, at: Partition = METRICS, deadline_s: float = 60.0) -> None:
    """Wait until the sink has committed everything before the offset."""
    async with asyncio.timeout(deadline_s):
        while (await log.committed("pronoia.store", [at])).get(at, -1) < offset:  # noqa: ASYNC110 - see `until`
            await asyncio.sleep(0.01)


def counts(status: dict[str, Any], cluster: str = "c1", sink: str = "store") -> dict[str, Any]:
    """Pick one sink's counts of one cluster out of a status; empty where there is nothing yet."""
    for found in status["clusters"]:
        if found["name"] == cluster:
            out: dict[str, Any] = found["signals"]["metrics"]["sinks"][sink]
            return out
    return {}


async def letters(log: Log) -> list[DeadLetter]:
    records = await log.read(Partition("pronoia.dead-letters", 0), 0, max_bytes=1 << 24)
    return [from_record(record) for record in records]


async def ledger(ingester: Ingester, cluster: str = "c1", **expected: int) -> dict[str, Any]:
    """Wait until the ledger says what is expected; return all it says."""
    found: dict[str, Any] = {}
    deadline_s = asyncio.get_running_loop().time() + 30
    while asyncio.get_running_loop().time() < deadline_s:
        found = counts(await ingester.status(), cluster)
        if expected.items() <= found.items():
            break
        await asyncio.sleep(0.02)
    assert {name: found.get(name) for name in expected} == expected
    return found


def config_of(folder: Path, url: str, **sink: Any) -> IngesterConfig:
    return IngesterConfig.model_validate(
        {
            "log": {"sqlite": {"path": str(folder), "partitions": 2}},
            "admin": "127.0.0.1:0",
            "settle_interval": "50ms",
            "sinks": [
                {
                    "name": "store",
                    "remote_write": {"url": url, "queue_config": {"min_backoff": "10ms", "max_backoff": "50ms"}},
                    **sink,
                }
            ],
        }
    )


@asynccontextmanager
async def opened_log(config: IngesterConfig) -> AsyncIterator[Log]:
    log = open_log(config.log, LogMetrics(CollectorRegistry()))
    await log.start()
    try:
        await log.ensure_topic(config.log.topic("metrics"))
        yield log
    finally:
        await log.close()


@asynccontextmanager
async def ingesting(config: IngesterConfig, log: Log, tracing: Tracing = OFF) -> AsyncIterator[Ingester]:
    ingester = Ingester(config, log, IngesterMetrics(CollectorRegistry()), tracing=tracing)
    await ingester.start()
    try:
        yield ingester
    finally:
        await ingester.drain()
