"""`pronoia up` as somebody meets it who has just installed it: one command, no file, and a browser."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.e2e.processes import until
from tests.servers.chromium import Chromium
from tests.servers.processes import MissingServerError, Process, free_port

pytestmark = pytest.mark.browser

PORTS = (15610, 15611, 15690)
"""What `pronoia up` listens on without a file, besides the console."""
NEWEST = "return document.querySelector('#legend td.now')?.textContent"


class Up:
    """One process, its data and its console."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.port = free_port()
        arguments = ("--data", "data", "--listen", f"127.0.0.1:{self.port}")
        self.process = Process((sys.executable, "-m", "pronoia", "up", *arguments), folder)

    async def start(self) -> None:
        await self.process.start(self._answers)

    async def has_ended(self) -> bool:
        return not self.process.running

    async def _answers(self) -> bool:
        return self.process.said(f"http://127.0.0.1:{self.port}")


@pytest.fixture
async def up(tmp_path: Path) -> AsyncIterator[Up]:
    for port in PORTS:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                raise MissingServerError(f"`pronoia up` without a file needs port {port}, which is taken") from None
    running = Up(tmp_path / "up")
    await running.start()
    yield running
    await running.process.stop()


async def test_within_30_seconds_this_machines_series_are_seen_moving(up: Up, tmp_path: Path) -> None:
    async with Chromium(tmp_path / "chromium") as browser, asyncio.timeout(30):
        await browser.open(f"http://127.0.0.1:{up.port}/")
        await browser.until("return document.querySelector('.verdict h1')?.textContent === 'Nothing is lost'")
        await browser.until("return document.querySelector('.machine') !== null")
        await browser.click("nav a[data-page=explore]")
        await browser.type("#series-search", "node_time_seconds")
        await browser.until("return document.querySelectorAll('button.family').length === 1")
        await browser.click("button.series")
        first = await browser.until(NEWEST)
        await browser.until(f"return ({NEWEST.removeprefix('return ')}) !== arguments[0]", first)
        assert await browser.run("return document.querySelector('.uplot canvas') !== null")
        await browser.click("nav a[data-page=targets]")
        await browser.until("return document.querySelectorAll('.state.up').length === 2")
        assert await browser.complaints() == []


async def test_it_ends_when_interrupted_and_the_next_start_goes_on_where_it_was(up: Up, tmp_path: Path) -> None:
    async with Chromium(tmp_path / "chromium") as browser:
        samples = "return Number(/([0-9,]+) so far/.exec(document.body.innerText)?.[1].replaceAll(',', ''))"
        await browser.open(f"http://127.0.0.1:{up.port}/")
        before = await browser.until(samples)
        os.kill(up.process.pid, signal.SIGINT)
        await until(up.has_ended, "the process ends", 20)
        await up.process.stop()
        await browser.until("return document.body.innerText.includes('is pronoia running?')")
        await up.start()
        await browser.until(f"return ({samples.removeprefix('return ')}) > arguments[0]", before)
        assert await browser.run("return document.querySelector('.verdict h1').textContent") == "Nothing is lost"
