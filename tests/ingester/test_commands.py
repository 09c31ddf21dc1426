"""The commands as people run them: against a running ingester, and against the log where none runs."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import yaml
from prometheus_client import CollectorRegistry

from ingester.config import IngesterConfig
from ingester.service import Ingester
from pipeline.config import Address
from pipeline.log.interface import Log
from pipeline.service import Admin
from pipeline.telemetry import IngesterMetrics
from tests.ingester.parts import METRICS, Answer, Lane, Sample, Store, append, config_of, ingesting, opened_log, until
from tests.servers.processes import free_port


async def pronoia(*arguments: str, ok: bool = True) -> str:
    command = (sys.executable, "-m", "pronoia", *arguments)
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, errors = await process.communicate()
    assert (process.returncode == 0) is ok, errors.decode()
    return out.decode() if ok else errors.decode()


def write(folder: Path, config: IngesterConfig, port: int) -> tuple[Path, IngesterConfig]:
    """Write the configuration as a file for the commands."""
    config = config.model_copy(update={"admin": Address(host="127.0.0.1", port=port)})
    file = folder / "ingester.yaml"
    [sink] = config.sinks
    assert config.log.sqlite is not None
    assert sink.remote_write is not None
    plain = {
        "log": {"sqlite": {"path": str(config.log.sqlite.path), "partitions": config.log.sqlite.partitions}},
        "admin": f"127.0.0.1:{port}",
        "sinks": [{"name": sink.name, "remote_write": {"url": sink.remote_write.url}}],
    }
    file.write_text(yaml.safe_dump(plain))
    return file, config


@asynccontextmanager
async def served(config: IngesterConfig, log: Log) -> AsyncIterator[Ingester]:
    registry = CollectorRegistry()
    ingester = Ingester(config, log, IngesterMetrics(registry))
    admin = Admin(config.admin, registry, [ingester])
    ingester.add_routes(admin.app)
    await ingester.start()
    await admin.start()
    try:
        yield ingester
    finally:
        await admin.drain()
        await ingester.drain()


class Picky(Store):
    """Refuses series 0007 of the third round until it is told otherwise."""

    strict = True

    def judge(self, samples: list[Sample], _: Any) -> Answer:
        bad = [s for s in samples if dict(s[0])["i"] == "0007" and s[2] == 3.0]
        return (400, "not on a Sunday") if bad and self.strict else (204, "")


async def test_status_shows_what_the_ledger_says(tmp_path: Path) -> None:
    lane = Lane()
    async with Store().running() as store:
        file, config = write(tmp_path, config_of(tmp_path / "log", store.url), free_port())
        async with opened_log(config) as log, served(config, log):
            await append(log, METRICS, *(lane.round(n) for n in range(10) if n != 4))
            lane.round(4)
            await until(lambda: len(store.taken) == 90)
            url = f"http://127.0.0.1:{config.admin.port}"
            found = json.loads(await pronoia("status", "--url", url, "--json"))
            lines = (await pronoia("status", "--config", str(file))).splitlines()
    [cluster] = found["clusters"]
    sink = cluster["signals"]["metrics"]["sinks"]["store"]
    assert cluster["name"] == "c1"
    assert cluster["signals"]["metrics"]["received"] == 90
    assert {name: sink[name] for name in ("delivered", "rejected", "missing", "duplicated")} == {
        "delivered": 90,
        "rejected": 0,
        "missing": 0,
        "duplicated": 0,
    }
    assert isinstance(sink["lag_s"], float)
    assert lines[0].split()[:4] == ["cluster", "signal", "sink", "received"]
    assert lines[1].split()[:5] == ["c1", "metrics", "store", "90", "90"]


async def test_status_says_who_cannot_be_reached() -> None:
    assert "no status" in await pronoia("status", "--url", f"http://127.0.0.1:{free_port()}", ok=False)


async def test_dead_letters_are_listed_shown_and_redriven_once(tmp_path: Path) -> None:
    lane = Lane()
    store = Picky()
    store.answer = store.judge
    async with store.running():
        file, config = write(tmp_path, config_of(tmp_path / "log", store.url), free_port())
        where = ("--config", str(file))
        async with opened_log(config) as log, served(config, log):
            await append(log, METRICS, *(lane.round(n) for n in range(5)))
            await until(lambda: len(store.taken) == 49)
            [letter] = json.loads(await pronoia("dead-letters", "list", *where, "--json"))["dead_letters"]
            assert (letter["sink"], letter["cluster"], letter["items"]) == ("store", "c1", 1)
            assert letter["reason"] == "HTTP 400: not on a Sunday"
            assert letter["source"] == {"topic": "pronoia.metrics", "partition": 0, "offset": 3}
            assert "not on a Sunday" in await pronoia("dead-letters", "list", *where)
            shown = await pronoia("dead-letters", "show", str(letter["id"]), *where)
            assert 'i="0007"' in shown
            assert "3.0 1790000045000" in shown
            refused = await pronoia("dead-letters", "redrive", "--all", *where, ok=False)
            assert refused == ""
            store.strict = False
        # Nobody runs now: the commands open the log themselves.
        results = json.loads(await pronoia("dead-letters", "redrive", str(letter["id"]), *where, "--json"))
        assert results == [{"id": letter["id"], "redriven": True, "delivered": 1, "rejected": 0, "reason": ""}]
        assert len(store.taken) == 50
        again = json.loads(await pronoia("dead-letters", "redrive", str(letter["id"]), *where, "--json"))
        assert again[0]["reason"] == "was redriven before"
        assert len(store.taken) == 50
        assert json.loads(await pronoia("dead-letters", "list", *where, "--json")) == {"dead_letters": [], "total": 0}
        assert "there is no dead letter 77" in await pronoia("dead-letters", "show", "77", *where, ok=False)


async def test_replay_delivers_a_window_of_the_log_again(tmp_path: Path) -> None:
    one, two = Lane(), Lane(cluster="c2", lane=1)
    async with Store().running() as store:
        file, config = write(tmp_path, config_of(tmp_path / "log", store.url), free_port())
        async with opened_log(config) as log:
            batches = [lane.round(n) for n in range(5) for lane in (one, two)]
            await append(log, METRICS, *batches, batches[0])
            async with ingesting(config, log):
                await until(lambda: len(store.taken) == 100)
            start, _ = await log.bounds(METRICS)
            first_ms = (await log.read(METRICS, start, max_bytes=1))[0].append_time_ms
        store.taken.clear()
        where = ("--config", str(file), "--sink", "store", "--to", "2100-01-01T00:00:00Z", "--json")
        counts = json.loads(await pronoia("replay", *where, "--from", str(first_ms / 1000)))
        assert (counts["delivered"], counts["rejected"], counts["duplicated"]) == (100, 0, 10)
        assert len(store.taken) == len(set(store.taken)) == 100
        store.taken.clear()
        counts = json.loads(await pronoia("replay", *where, "--from", str(first_ms / 1000), "--cluster", "c2"))
        assert counts["delivered"] == 50
        assert {dict(sample[0])["cluster"] for sample in store.taken} == {"c2"}
        counts = json.loads(await pronoia("replay", *where, "--from", "2099-01-01"))
        assert counts["records"] == 0


async def test_replay_through_a_running_ingester_leaves_its_offsets_alone(tmp_path: Path) -> None:
    lane = Lane()
    async with Store().running() as store:
        file, config = write(tmp_path, config_of(tmp_path / "log", store.url), free_port())
        async with opened_log(config) as log, served(config, log):
            await append(log, METRICS, *(lane.round(n) for n in range(5)))
            await until(lambda: len(store.taken) == 50)
            counts = json.loads(
                await pronoia(
                    *("replay", "--config", str(file), "--sink", "store", "--from", "0", "--to", "2100-01-01", "--json")
                )
            )
            assert counts["delivered"] == 50
            assert len(store.taken) == 100
            assert (await log.committed("pronoia.store", [METRICS]))[METRICS] == 5


async def test_a_wrong_configuration_is_told_with_file_line_and_key(tmp_path: Path) -> None:
    file = tmp_path / "i.yaml"
    file.write_text("log: {sqlite: {path: d}}\nsinks:\n- name: s\n  remote_write: {url: 'http://x/', nonsense: 1}\n")
    assert f"{file}:4: sinks[0].remote_write.nonsense: unknown key" in await pronoia(
        "ingester", "--config", str(file), ok=False
    )
