"""Ingesters as processes of their own on a real Kafka: killed, joined, left."""

import asyncio
import json
import random
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from prometheus_client import CollectorRegistry

from pipeline.log.config import KafkaConfig, LogConfig
from pipeline.log.interface import Log, Partition
from pipeline.log.open import open_log
from pipeline.telemetry import LogMetrics
from tests.ingester.parts import Answer, Lane, Sample, Store, append, until
from tests.servers.kafka import Kafka
from tests.servers.processes import Process, free_port

pytestmark = pytest.mark.kafka
PARTITIONS = 6
WINDOW = 200


STARTED: list[Process] = []


@pytest.fixture(autouse=True)
async def _nothing_stays() -> AsyncIterator[None]:
    """Stop what a test that failed has left running."""
    yield
    while STARTED:
        await STARTED.pop().kill()


class IngesterProcess:
    """`pronoia ingester`, with its configuration in a folder."""

    def __init__(self, folder: Path, kafka: KafkaConfig, store: Store) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        plain = {
            "log": {"kafka": kafka.model_dump(include={"brokers", "topic_prefix", "replication", "min_in_sync"})},
            "admin": f"127.0.0.1:{self.port}",
            "settle_interval": "200ms",
            "sinks": [{"name": "store", "remote_write": {"url": store.url}, "window": WINDOW, "request_items": 100}],
        }
        (folder / "ingester.yaml").write_text(yaml.safe_dump(plain))
        command = (sys.executable, "-m", "pronoia", "ingester", "--config", folder / "ingester.yaml")
        self.process = Process(command, folder)
        STARTED.append(self.process)

    async def start(self) -> None:
        await self.process.start(self._ready)

    async def _ready(self) -> bool:
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"http://127.0.0.1:{self.port}/readyz") as answer,
            ):
                return answer.status == 200
        except aiohttp.ClientError:
            return False

    async def status(self) -> dict[str, Any]:
        url = f"http://127.0.0.1:{self.port}/api/v1/status"
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            found: dict[str, Any] = json.loads(await answer.text())
            return found

    async def counts(self) -> dict[str, int]:
        clusters = (await self.status())["clusters"]
        sums: Counter[str] = Counter()
        for cluster in clusters:
            sums.update(cluster["signals"]["metrics"]["sinks"]["store"])
        return sums


@asynccontextmanager
async def opened(config: KafkaConfig) -> AsyncIterator[Log]:
    log = open_log(LogConfig(kafka=config), LogMetrics(CollectorRegistry()))
    await log.start()
    try:
        await log.ensure_topic(LogConfig(kafka=config).topic("metrics"))
        yield log
    finally:
        await log.close()


class Feeding:
    """Appends rounds of one lane in every partition until told to stop."""

    def __init__(self, log: Log, prefix: str) -> None:
        self.lanes = {Partition(prefix + "metrics", n): Lane(lane=n, agent=f"a{n}") for n in range(PARTITIONS)}
        self.log = log
        self.samples = 0
        self.stopped = asyncio.Event()

    async def run(self) -> None:
        while not self.stopped.is_set():
            for at, lane in self.lanes.items():
                await append(self.log, at, lane.round(lane.sequence))
                self.samples += 10

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Feeding"]:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.run())
            try:
                yield self
            finally:
                self.stopped.set()


async def status_command(port: int) -> dict[str, Any]:
    """Return what `pronoia status --json` says of the one sink."""
    command = (sys.executable, "-m", "pronoia", "status", "--url", f"http://127.0.0.1:{port}", "--json")
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    text, _ = await process.communicate()
    found: dict[str, Any] = json.loads(text)["clusters"][0]["signals"]["metrics"]["sinks"]["store"]
    return found


async def delivered(one: IngesterProcess, store: Store, samples: int) -> None:
    """Wait until the store has all samples and the ledger says so."""
    await until(lambda: len(store.taken) >= samples and len(set(store.taken)) == samples, 180)
    async with asyncio.timeout(20):
        while (await one.counts())["delivered"] < samples:  # noqa: ASYNC110 - the ledger is another process'
            await asyncio.sleep(0.1)


async def test_removed_and_doubled_records_show_exactly_in_the_status_command(kafka: Kafka, tmp_path: Path) -> None:
    config, rng = kafka.config(), random.Random(11)
    batches = {
        n: [lane.round(i, 1 + rng.randrange(9)) for i in range(40)]
        for n in range(PARTITIONS)
        for lane in [Lane(lane=n)]
    }
    missing = duplicated = samples = 0
    async with Store().running() as store, opened(config) as log:
        for number, lane in batches.items():
            # What is missing at a lane's end shows only with the next batch: the last one stays.
            removed = set(rng.sample(range(39), 4))
            doubled = set(rng.sample(sorted(set(range(40)) - removed), 3))
            kept = [batch for i, batch in enumerate(lane) if i not in removed]
            twice = [lane[i] for i in sorted(doubled)]
            await append(log, Partition(config.topic_prefix + "metrics", number), *kept, *twice)
            missing += sum(lane[i][0].items for i in removed)
            duplicated += sum(batch[0].items for batch in twice)
            samples += sum(batch[0].items for batch in kept)
        one = IngesterProcess(tmp_path / "one", config, store)
        await one.start()
        await delivered(one, store, samples)
        found = await status_command(one.port)
        await one.process.stop()
    counted = {name: found[name] for name in ("delivered", "rejected", "missing", "duplicated")}
    assert counted == {"delivered": samples, "rejected": 0, "missing": missing, "duplicated": duplicated}
    assert len(store.taken) == samples


async def test_an_ingester_killed_mid_flight_loses_nothing_and_repeats_no_more_than_its_window(
    kafka: Kafka, tmp_path: Path
) -> None:
    config = kafka.config()
    async with Store().running() as store, opened(config) as log:
        one = IngesterProcess(tmp_path / "one", config, store)
        feeding = Feeding(log, config.topic_prefix)
        async with feeding.running():
            for _ in range(3):
                await one.start()
                seen = len(store.taken)
                await until(lambda seen=seen: len(store.taken) > seen + 1000, 60)  # type: ignore[misc]
                await one.process.kill()
        await one.start()
        await delivered(one, store, feeding.samples)
        found = await one.counts()
        await one.process.stop()
    assert (found["delivered"], found["rejected"], found["missing"], found["duplicated"]) == (feeding.samples, 0, 0, 0)
    assert len(store.taken) - feeding.samples <= 3 * PARTITIONS * WINDOW


async def test_ingesters_that_join_and_leave_pass_partitions_on_without_losing_or_repeating(
    kafka: Kafka, tmp_path: Path
) -> None:
    config = kafka.config()
    async with Store().running() as store, opened(config) as log:
        one, two = (IngesterProcess(tmp_path / name, config, store) for name in ("one", "two"))
        feeding = Feeding(log, config.topic_prefix)
        async with feeding.running():
            await one.start()
            await until(lambda: len(store.taken) > 500)
            await two.start()
            async with asyncio.timeout(60):
                while not (await two.status())["sinks"][0]["partitions"]:  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
            seen = len(store.taken)
            await until(lambda: len(store.taken) > seen + 1000)
            await one.process.stop()
            seen = len(store.taken)
            await until(lambda: len(store.taken) > seen + 1000)
        await delivered(two, store, feeding.samples)
        found = await two.counts()
        await two.process.stop()
    assert len(store.taken) == feeding.samples
    assert (found["delivered"], found["missing"], found["duplicated"]) == (feeding.samples, 0, 0)


async def test_one_of_two_ingesters_is_killed_and_the_other_takes_over(kafka: Kafka, tmp_path: Path) -> None:
    config = kafka.config()
    async with Store().running() as store, opened(config) as log:
        one, two = (IngesterProcess(tmp_path / name, config, store) for name in ("one", "two"))
        feeding = Feeding(log, config.topic_prefix)
        async with feeding.running():
            await one.start()
            await two.start()
            await until(lambda: len(store.taken) > 1000)
            await one.process.kill()
            await until(lambda: len(store.taken) > 3000)
        await delivered(two, store, feeding.samples)
        found = await two.counts()
        await two.process.stop()
    assert (found["delivered"], found["rejected"], found["missing"]) == (feeding.samples, 0, 0)
    assert len(store.taken) - feeding.samples <= PARTITIONS * WINDOW


async def test_a_broker_that_is_killed_holds_the_sink_and_nothing_is_lost(tmp_path: Path) -> None:
    async with Kafka(tmp_path / "kafka") as broker, Store().running() as store:
        config = broker.config()
        async with opened(config) as log:
            one = IngesterProcess(tmp_path / "one", config, store)
            feeding = Feeding(log, config.topic_prefix)
            async with feeding.running():
                await one.start()
                await until(lambda: len(store.taken) > 500)
            await broker.kill()
            await broker.restart()
            again = Feeding(log, config.topic_prefix)
            again.lanes, again.samples = feeding.lanes, feeding.samples
            async with again.running():
                seen = len(store.taken)
                await until(lambda: len(store.taken) > seen + 500, 90)
            await delivered(one, store, again.samples)
            found = await one.counts()
            await one.process.stop()
    assert (found["delivered"], found["missing"]) == (again.samples, 0)


async def test_single_refused_samples_are_found_in_a_stream_of_many(kafka: Kafka, tmp_path: Path) -> None:
    def judge(samples: list[Sample], _: Any) -> Answer:
        return (400, "bad luck") if any(s[2] % 7 == 0 and dict(s[0])["i"] == "0003" for s in samples) else (204, "")

    config = kafka.config()
    async with Store(judge).running() as store, opened(config) as log:
        lanes = {Partition(config.topic_prefix + "metrics", n): Lane(lane=n) for n in range(PARTITIONS)}
        for at, lane in lanes.items():
            await append(log, at, *(lane.round(n) for n in range(50)))
        bad = PARTITIONS * len([n for n in range(50) if n % 7 == 0])
        one = IngesterProcess(tmp_path / "one", config, store)
        await one.start()
        await delivered(one, store, 500 * PARTITIONS - bad)
        found = await one.counts()
        await one.process.stop()
    assert (found["delivered"], found["rejected"]) == (500 * PARTITIONS - bad, bad)
