"""Logs straight from the buffer to a Loki: each tenant's by itself, and what is refused, in Loki's words."""

import asyncio
import logging
import time
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from agent.buffer_file import BufferFile, Identity
from agent.logs.buffer import LogBatch, LogBuffer
from agent.push.direct import DirectPush, joined
from pipeline.log.interface import Partition, Record
from pipeline.log.sqlite import SqliteLog
from pipeline.send.loki.client import Loki as Client
from pipeline.send.loki.config import LokiConfig
from pipeline.telemetry import AgentMetrics, LogMetrics
from pipeline.wire import snappy
from pipeline.wire.envelope import Envelope, Signal, to_headers
from pipeline.wire.loki import encode_entry, encode_labels, encode_stream
from tests.e2e.processes import until
from tests.servers.loki import Loki

NAME = "loki:test"
HOUR_NS = 3600 * 10**9


def batch(number: int, *lines: bytes, tenant: str = "") -> LogBatch:
    at_ns = time.time_ns() - 10 * 10**9 + number * 10**6
    entries = b"".join(encode_entry(at_ns + place, line) for place, line in enumerate(lines))
    raw = encode_stream(encode_labels([("job", "x")]), entries)
    at_ms = at_ns // 10**6
    return LogBatch(snappy.compress(raw), len(lines), len(raw), at_ms, at_ms, tenant)


def record(offset: int, items: int, raw_bytes: int, tenant: str = "") -> Record:
    envelope = Envelope(
        signal=Signal.LOGS, encoding="e", cluster="c", agent="a", epoch=1, lane=0, sequence=offset, items=items,
        raw_bytes=raw_bytes, created_ms=1, crc32c=1, tenant=tenant,
    )  # fmt: skip
    return Record(Partition("logs", 0), offset, 0, None, to_headers(envelope), b"x")


def test_a_request_has_one_tenant_and_keeps_to_its_bounds() -> None:
    def groups(*records: Record) -> list[list[int]]:
        return [[one.offset for one in group] for group in joined(records, 10, 100)]

    assert groups(record(0, 5, 10), record(1, 5, 10), record(2, 1, 10)) == [[0, 1], [2]]
    assert groups(record(0, 1, 60), record(1, 1, 60), record(2, 1, 500), record(3, 1, 1)) == [[0], [1], [2], [3]]
    tenants = [record(0, 1, 1, "a"), record(1, 1, 1, "a"), record(2, 1, 1, "b"), record(3, 1, 1, "a")]
    assert groups(*tenants) == [[0, 1], [2], [3]], "in the order of the lane"


@pytest.mark.loki
async def test_tenants_are_kept_apart_and_a_line_that_is_refused_is_lost_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    limits = {"max_line_size": "1KB"}
    async with Loki(tmp_path / "loki", limits=limits, tenants={"a": limits, "b": limits}) as loki:
        registry = CollectorRegistry()
        metrics = AgentMetrics(registry)
        file = BufferFile(SqliteLog(tmp_path / "buffer", LogMetrics(registry)), Identity("c1", "a1", 1))
        buffer = LogBuffer(file, [NAME], metrics)
        await buffer.start()
        await buffer.append(0, [batch(0, b"one", b"x" * 2000, b"two", tenant="a"), batch(1, b"three", tenant="b")], {})
        await buffer.append(0, [batch(2, b"four")], {})
        client = Client(LokiConfig(url=loki.push_url, tenant_id="b"), user_agent="test")
        pushing = asyncio.create_task(DirectPush(NAME, buffer, client, metrics).run())
        buffer.tell_changed()
        try:
            with caplog.at_level(logging.ERROR):
                await until(lambda: _is_done(buffer), "everything is acknowledged")
        finally:
            pushing.cancel()
            await asyncio.gather(pushing, return_exceptions=True)
            await buffer.close()
        assert await lines(loki, "a") == ["one", "two"]
        assert await lines(loki, "b") == ["three", "four"], "what has no tenant is of the client's"
        assert metrics.refused_entries.labels(NAME)._value.get() == 1
        assert any("1 log entries" in message and "max entry size" in message.lower() for message in caplog.messages)


async def lines(loki: Loki, tenant: str) -> list[str]:
    now_ns = time.time_ns()
    found = await loki.entries('{job="x"}', start_ns=now_ns - HOUR_NS, end_ns=now_ns + HOUR_NS, tenant=tenant)
    return [entry.line for entry in found]


async def _is_done(buffer: LogBuffer) -> bool:
    return buffer.acknowledged(NAME) == buffer.ends()
