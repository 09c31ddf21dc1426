"""`pronoia up` killed with -9 again and again while a file is written: each line is in its store exactly once."""

import asyncio
import json
import random
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientError, ClientSession

from tests.e2e.processes import until
from tests.servers.processes import Process, free_port

KILLS = 5
LINES_A_ROUND = 200


class Up:
    """One process over and over, and what its console says of its logs."""

    def __init__(self, folder: Path) -> None:
        (folder / "logs").mkdir()
        self.file, self.port = folder / "logs" / "numbers.log", free_port()
        files = {"targets": ["localhost"], "labels": {"job": "numbers", "__path__": f"{folder}/logs/*.log"}}
        listen = {name: f"127.0.0.1:{free_port()}" for name in ("http", "grpc", "admin")}
        agent = {"logs": {"scrape_configs": [{"job_name": "numbers", "static_configs": [files]}]}}
        (folder / "up.yml").write_text(json.dumps({"agent": agent, "gateway": {"listen": listen}}))
        options = ("--config", "up.yml", "--data", "data", "--listen", f"127.0.0.1:{self.port}")
        self.process = Process((sys.executable, "-m", "pronoia", "up", *options), folder)

    async def start(self) -> None:
        await self.process.start(self._answers)

    async def stored(self) -> int:
        return int((await self._get("labels"))["entries"])

    async def stored_more_than(self, count: int) -> None:
        async def are_stored() -> bool:
            return await self.stored() > count

        await until(are_stored, f"more than {count} lines are stored")

    async def lines(self) -> AsyncIterator[str]:
        """Give every stored line, page by page."""
        parameters = {"limit": "1000"}
        while True:
            page = await self._get("entries", **parameters)
            for entry in page["entries"]:
                yield entry["line"]
            if page["next"] is None:
                return
            parameters["after"] = page["next"]

    async def write(self) -> None:
        """Append numbered lines until cancelled."""
        with self.file.open("a", buffering=1) as file:
            number = 0
            while True:
                file.write("".join(f"line {n}\n" for n in range(number, number + LINES_A_ROUND)))
                number += LINES_A_ROUND
                await asyncio.sleep(0.1)

    async def _answers(self) -> bool:
        try:
            await self._get("labels")
        except ClientError:
            return False
        return True

    async def _get(self, path: str, **parameters: str) -> Any:
        url = f"http://127.0.0.1:{self.port}/api/console/logs/{path}"
        async with ClientSession() as session, session.get(url, params=parameters) as response:
            return (await response.json())["data"]


@pytest.mark.parametrize("seed", [20])
async def test_each_line_is_stored_once_however_often_it_is_killed(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    up = Up(tmp_path)
    writing = asyncio.create_task(up.write())
    try:
        for _ in range(KILLS):
            await up.start()
            await up.stored_more_than(await up.stored() + LINES_A_ROUND)
            await asyncio.sleep(chance.random() * 0.7)  # where in its work the kill finds it
            await up.process.kill()
        writing.cancel()
        await asyncio.wait([writing])
        written = up.file.read_text().splitlines()
        await up.start()
        await up.stored_more_than(len(written) - 1)
        found = Counter([line async for line in up.lines()])
    finally:
        writing.cancel()
        await up.process.stop()
    assert set(found.values()) == {1}
    assert found.keys() == set(written)
    assert len(written) > KILLS * LINES_A_ROUND
