"""Appends to the log that the first argument (JSON) configures until it is killed, printing each durable offset."""

import asyncio
import sys

from prometheus_client import CollectorRegistry

from pipeline.log import LogFullError, Partition
from pipeline.log.config import LogConfig
from pipeline.log.open import open_log
from pipeline.telemetry import LogMetrics


async def main() -> None:
    config = LogConfig.model_validate_json(sys.argv[1])
    log = open_log(config, LogMetrics(CollectorRegistry()))
    await log.start()
    spec = config.topic("metrics", partitions=2)
    await log.ensure_topic(spec)
    number = 0
    tasks: set[asyncio.Future[None]] = set()
    while True:
        for partition in range(2):
            try:
                appending = await log.append(Partition(spec.name, partition), (), b"%d" % number * 1000)
            except LogFullError:
                await asyncio.sleep(0.01)
                continue
            telling = asyncio.ensure_future(tell(partition, number, appending))
            tasks.add(telling)
            telling.add_done_callback(tasks.discard)
        number += 1
        if number % 20 == 0:
            await appending


async def tell(partition: int, number: int, appending: object) -> None:
    offset = await appending  # type: ignore[misc]
    print(partition, offset, number, flush=True)


asyncio.run(main())
