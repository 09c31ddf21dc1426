"""What the tests of the Elasticsearch sink are made of: records of logs as an agent writes them, and sinks."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from crc32c import crc32c
from prometheus_client import CollectorRegistry

from ingester.config import SinkConfig
from ingester.sinks.elasticsearch.config import ElasticsearchConfig
from ingester.sinks.kinds import KINDS, SinkTools
from pipeline.delivery import Backoff, Outcome, Rejected
from pipeline.send.codec import CODECS
from pipeline.send.deliver import Delivery, Tally
from pipeline.send.request import Piece, Request
from pipeline.telemetry import IngesterMetrics
from pipeline.wire import loki, snappy
from pipeline.wire.envelope import LOGS_ENCODING, Envelope, Signal

CREATED_MS = 1_790_000_000_000
"""2026-09-21, a Monday."""
DAY = "2026.09.21"

Entry = tuple[int, bytes] | tuple[int, bytes, loki.Pairs]
Streams = Sequence[tuple[dict[str, str], Sequence[Entry]]]


def payload_of(streams: Streams) -> bytes:
    return snappy.compress(
        b"".join(
            loki.encode_stream(
                loki.encode_labels(labels.items()), b"".join(loki.encode_entry(*entry) for entry in entries)
            )
            for labels, entries in streams
        )
    )


def piece_of(payload: bytes, items: int, signal: Signal = Signal.LOGS, **envelope: Any) -> Piece:
    values: dict[str, Any] = {
        "signal": signal,
        "encoding": LOGS_ENCODING,
        "cluster": "c1",
        "agent": "a1",
        "epoch": 0xFEED,
        "lane": 0,
        "sequence": 0,
        "items": items,
        "raw_bytes": snappy.decompressed_bytes(payload),
        "created_ms": CREATED_MS,
        "crc32c": crc32c(payload),
    }
    return Piece(payload, items, envelope=Envelope(**{**values, **envelope}))


@dataclass
class LogLane:
    """Numbers batches of lines as an agent's buffer does."""

    cluster: str = "c1"
    agent: str = "a1"
    lane: int = 0
    sequence: int = 0
    items: int = 0

    def batch(self, streams: Streams, source: int = 0) -> Piece:
        items = sum(len(entries) for _, entries in streams)
        at: dict[str, Any] = {
            "cluster": self.cluster,
            "agent": self.agent,
            "lane": self.lane,
            "sequence": self.sequence,
        }
        piece = piece_of(payload_of(streams), items, lane_items=self.items, **at)
        self.sequence += 1
        self.items += items
        return Piece(piece.payload, items, source, envelope=piece.envelope)

    def lines(self, lines: Iterable[bytes], source: int = 0, **labels: str) -> Piece:
        """One stream; a millisecond from one line to the next."""
        entries = [(CREATED_MS * 1_000_000 + n * 1_000_000, line) for n, line in enumerate(lines)]
        return self.batch([({"cluster": self.cluster, "job": "j", **labels}, entries)], source)


def request_of(*pieces: Piece, signal: Signal = Signal.LOGS) -> Request:
    return Request(pieces, CODECS[signal], "c1", "")


def section(*urls: str, **more: Any) -> ElasticsearchConfig:
    """A configuration with indices of its own."""
    base = {"hosts": urls or ("http://127.0.0.1:1",), "index_prefix": f"t{uuid.uuid4().hex[:12]}", "replicas": 0}
    return ElasticsearchConfig.model_validate({**base, **more})


@dataclass
class Run:
    """A started sink, and deliveries through the engine's own loop, with short rests and what was refused."""

    config: ElasticsearchConfig
    sink: Any
    outcomes: list[Outcome] = field(default_factory=list)
    refused: list[tuple[Piece, Rejected]] = field(default_factory=list)

    @property
    def indices(self) -> str:
        return f"{self.config.index_prefix}-*"

    async def send(self, request: Request) -> Outcome:
        outcome: Outcome = await self.sink.send(request)
        self.outcomes.append(outcome)
        return outcome

    async def deliver(self, *pieces: Piece) -> Tally:
        async def refuse(piece: Piece, refusal: Rejected) -> None:
            self.refused.append((piece, refusal))

        request = request_of(*pieces, signal=self.config.carries())
        return await Delivery(self.send, refuse, backoff=Backoff(0.02, 0.2), sleep=asyncio.sleep).run(request)


@asynccontextmanager
async def running(config: ElasticsearchConfig) -> AsyncIterator[Run]:
    kind = SinkConfig(name="elastic", elasticsearch=config)
    sink = KINDS["elasticsearch"](kind, SinkTools(IngesterMetrics(CollectorRegistry())))
    await sink.start()
    try:
        yield Run(config, sink)
    finally:
        await sink.close()
