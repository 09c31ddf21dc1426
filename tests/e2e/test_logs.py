"""Logs from files through an agent of its own process: kills, a buffer that is full, and the whole way over Kafka."""

import asyncio
import base64
import random
import sqlite3
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from tests.e2e.processes import Fleet, Member, until
from tests.servers.kafka import Kafka
from tests.servers.loki import Found, Loki
from tests.servers.processes import free_port

HOUR_NS: Final = 3600 * 10**9
LIMITS: Final = {"ingestion_rate_mb": 100, "ingestion_burst_size_mb": 100, "per_stream_rate_limit": "100MB"}


def agent(folder: Path, files: Path, url: str, stages: list[Any], **more: Any) -> Member:
    """Describe an agent that reads files and pushes straight to a Loki."""
    admin = free_port()
    job = {
        "job_name": "files",
        "static_configs": [{"labels": {"job": "x", "__path__": str(files)}}],
        "pipeline_stages": stages,
    }
    clients = [{"url": url, "backoff_config": {"min_period": "100ms", "max_period": "500ms"}}]
    config = {"cluster": "c1", "admin": f"127.0.0.1:{admin}", "logs": {"clients": clients, "scrape_configs": [job]}}
    return Member(folder, "agent", {**config, **more}, admin)


async def entries(loki: Loki) -> list[Found]:
    """Return everything of the cluster that a Loki holds, in the order of time, as often as it holds it."""
    now_ns = time.time_ns()
    return await loki.entries('{job="x", cluster="c1"}', start_ns=now_ns - HOUR_NS, end_ns=now_ns + HOUR_NS)


async def lines(loki: Loki) -> list[str]:
    return [entry.line for entry in await entries(loki)]


async def holds(loki: Loki, wanted: list[str]) -> bool:
    return await lines(loki) == wanted


def states(folder: Path) -> Mapping[bytes, bytes]:
    """Return the state that an agent's buffer holds on disk."""
    file = folder / "data" / "buffer" / "log.db"
    if not file.exists():
        return {}
    with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as db:
        return dict(db.execute("SELECT key, value FROM state").fetchall())


@pytest.mark.loki
async def test_an_entry_of_several_lines_survives_a_kill_in_its_middle(tmp_path: Path, loki: Loki) -> None:
    file = tmp_path / "a.log"
    stages = [{"multiline": {"firstline": "^START", "max_wait_time": "3600s"}}]
    reader = agent(tmp_path / "agent", file, loki.push_url, stages)
    file.write_text("START 0\nSTART 1\n  of three\n")
    await reader.start()
    try:
        await until(lambda: holds(loki, ["START 0"]), "what is whole is in Loki")

        async def held() -> bool:
            kept = await asyncio.to_thread(states, tmp_path / "agent")
            return any(key.startswith(b"files\0") and b'"held"' in value for key, value in kept.items())

        await until(held, "what is held back is on disk")
        await reader.process.kill()
        with file.open("a") as log:
            log.write("  lines\nSTART 2\n")
        await reader.start()
        await until(lambda: holds(loki, ["START 0", "START 1\n  of three\n  lines"]), "the rest is joined to it")
    finally:
        await reader.process.stop()
    assert await lines(loki) == ["START 0", "START 1\n  of three\n  lines"], "START 2 is held for what may follow"


def numbered(first: int, count: int) -> list[str]:
    """Return lines that nothing compresses."""
    source = random.Random(first)
    return [
        f"{number:08d} {base64.b64encode(source.randbytes(750)).decode()}" for number in range(first, first + count)
    ]


@pytest.mark.loki
async def test_with_a_full_buffer_files_wait_even_rotated_ones_and_nothing_is_lost(tmp_path: Path) -> None:
    file = tmp_path / "a.log"
    async with Loki(tmp_path / "loki", limits=LIMITS) as loki:
        await loki.kill()
        reader = agent(tmp_path / "agent", file, loki.push_url, [], buffer={"max_bytes": "16MiB"})
        written = numbered(0, 15_000)
        file.write_text("\n".join(written) + "\n")
        await reader.start()
        try:
            await until(lambda: tells(reader, "pronoia_agent_logs_wait 1.0"), "the buffer is full")
            assert (await reader.get("/readyz"))[0] == 200, "a Loki that is down is no reason"
            file.rename(tmp_path / "a.log.1")
            more = numbered(15_000, 5_000)
            file.write_text("\n".join(more) + "\n")
            await loki.restart()
            await until(lambda: counts(loki, 20_000), "everything is in Loki", deadline_s=120)
            assert sorted(await lines(loki)) == written + more
            await until(lambda: tells(reader, "pronoia_agent_logs_wait 0.0"), "reading goes on")
        finally:
            await reader.process.stop()


async def tells(member: Member, line: str) -> bool:
    return f"\n{line}\n" in (await member.get("/metrics"))[1]


async def counts(loki: Loki, wanted: int) -> bool:
    return await loki.count('{job="x"}', end_ns=time.time_ns(), window_s=3600) >= wanted


@pytest.mark.kafka
@pytest.mark.loki
async def test_lines_go_from_a_file_through_gateway_kafka_and_ingester_to_loki(
    tmp_path: Path, kafka: Kafka, loki: Loki
) -> None:
    file, wanted = tmp_path / "a.log", [f"line {number}" for number in range(3000)]
    file.write_text("".join(f"{line}\n" for line in wanted))
    job = {"job_name": "files", "static_configs": [{"labels": {"job": "x", "__path__": str(file)}}]}
    job["pipeline_stages"] = [
        {"regex": {"expression": r"(?P<number>\d+)$"}},
        {"structured_metadata": {"number": None}},
        {"labeldrop": ["cluster", "filename"]},
    ]
    async with Fleet(tmp_path, [kafka.address], "http://127.0.0.1:1/none", prefix="logs.") as fleet:
        fleet.add_gateway("gateway")
        fleet.add_ingester("ingester", sinks=[{"name": "loki", "loki": {"url": loki.push_url}}])
        fleet.add_agent("agent", "c1", [], gateway=0, logs={"scrape_configs": [job]})
        try:
            await fleet.start()
            await until(lambda: holds(loki, wanted), "every line is in Loki, in its order")
            (labels,) = {found.labels for found in await entries(loki)}
            assert dict(labels) == {"cluster": "c1", "job": "x"}, "no stage takes the cluster away"
            assert [dict(found.metadata)["number"] for found in await entries(loki)] == [str(n) for n in range(3000)]
            await until(lambda: proven(fleet, 3000), "the ledger shows it")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{fleet.tails()}") from error


async def proven(fleet: Fleet, entries: int) -> bool:
    """Return whether the ledger tells that all were received and delivered, and none is missing."""
    for cluster in (await fleet.status())["clusters"]:
        logs = cluster["signals"].get("logs")
        if cluster["name"] == "c1" and logs is not None:
            sink = logs["sinks"]["loki"]
            return (logs["received"], sink["delivered"], sink["missing"]) == (entries, entries, 0)
    return False
