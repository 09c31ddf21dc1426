"""Runs the whole chain (agent, gateway, Kafka, ingester) in place of one agent: a sender for `bench.differential`.

    python -m bench.differential --pages FOLDER "env PYTHONPATH=$PWD python -m bench.chain {config} {dir}"

Takes a prometheus.yml with `remote_write`, which becomes the ingester's sink; what is scraped goes through the gateway.
"""

import asyncio
import signal
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.e2e.processes import Fleet
from tests.servers.kafka import Kafka


async def main(config: Path, folder: Path) -> None:
    """Run until SIGTERM."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    given: dict[str, Any] = yaml.safe_load(config.read_text())
    write_url = given["remote_write"][0]["url"]
    chain = folder / "chain"
    chain.mkdir()
    async with Kafka(folder / "kafka") as kafka, Fleet(chain, [kafka.address], write_url) as fleet:
        fleet.add_gateway("gateway")
        fleet.add_ingester("ingester")
        cluster = given["global"]["external_labels"]["cluster"]
        interval = given["global"]["scrape_interval"]
        fleet.add_agent("agent", cluster, given["scrape_configs"], gateway=0, interval=interval)
        await fleet.start()
        await stop.wait()
        print(fleet.tails(), flush=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2])))
