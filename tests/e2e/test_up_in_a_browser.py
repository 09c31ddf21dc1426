"""`pronoia up` as somebody meets it who has just installed it: one command, no file, and a browser."""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from tests.e2e.processes import until
from tests.servers.chromium import Chromium
from tests.servers.processes import MissingServerError, Process, free_port

pytestmark = pytest.mark.browser

PORTS = (15610, 15611, 15690)
"""What `pronoia up` listens on without a file, besides the console."""
NEWEST = "return document.querySelector('#legend td.now')?.textContent"


class Up:
    """One process, its data and its console."""

    def __init__(self, folder: Path, *options: str) -> None:
        folder.mkdir(exist_ok=True)
        self.port = free_port()
        arguments = ("--data", "data", "--listen", f"127.0.0.1:{self.port}", *options)
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


def many(folder: Path, page: str) -> Path:
    """Write a configuration whose jobs find a thousand targets behind one address, and return its path."""
    hosts = [
        {"targets": [page], "labels": {"__meta_path": f"/{n}", "host": f"host-{n:03}", "zone": f"z{n % 3}"}}
        for n in range(900)
    ]
    pods = [
        {
            "targets": [page],
            "labels": {"__meta_path": f"/pod/{n}", "__meta_pod": f"pod-{n:03}", "__meta_on": f"{n % 5}"},
        }
        for n in range(100)
    ]
    (folder / "hosts.json").write_text(json.dumps([*hosts, hosts[7]]))
    (folder / "pods.json").write_text(json.dumps(pods))
    path = {"source_labels": ["__meta_path"], "target_label": "__metrics_path__"}
    rules = {
        "hosts": [path, {"source_labels": ["host"], "target_label": "instance"}],
        "pods": [
            path,
            {"source_labels": ["__meta_pod"], "target_label": "instance"},
            {"source_labels": ["__meta_none"], "target_label": "none"},
            {"source_labels": ["__meta_on"], "regex": "0", "action": "drop"},
            {"target_label": "kept", "replacement": "yes"},
        ],
    }
    jobs = [
        {"job_name": name, "file_sd_configs": [{"files": [f"{name}.json"]}], "relabel_configs": of}
        for name, of in rules.items()
    ]
    scraping = {"global": {"scrape_interval": "5s"}, "scrape_configs": jobs}
    listen = {name: f"127.0.0.1:{free_port()}" for name in ("http", "grpc", "admin")}
    written = folder / "up.yml"
    written.write_text(json.dumps({"agent": scraping, "gateway": {"listen": listen}}))
    return written


@pytest.fixture
async def page() -> AsyncIterator[str]:
    """A page that answers at every path but /13, as `host:port`."""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(text="a 1\n", status=503 if request.path == "/13" else 200)

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    async with TestServer(app, host="127.0.0.1") as server:
        yield f"127.0.0.1:{server.port}"


async def test_of_a_thousand_targets_the_one_that_is_down_is_seen_and_every_one_says_why(
    page: str, tmp_path: Path
) -> None:
    folder = tmp_path / "up"
    folder.mkdir()
    running = Up(folder, "--config", str(many(folder, page)))
    await running.start()
    try:
        async with Chromium(tmp_path / "chromium") as browser:
            await look_at_a_thousand(browser, f"http://127.0.0.1:{running.port}/#/targets")
        admin = json.loads((folder / "up.yml").read_text())["gateway"]["listen"]["admin"]
        asked = {"scrapePool": "pods", "labels": json.dumps({"__address__": page, "__meta_on": "0"})}
        async with ClientSession() as session:
            async with session.get(f"http://{admin}/api/v1/scrape_pools") as response:
                assert (await response.json())["data"] == {"scrapePools": ["hosts", "pods"]}
            async with session.get(f"http://{admin}/api/v1/targets/explain", params=asked) as response:
                data = (await response.json())["data"]
        assert (data["state"], data["rule"]) == ("dropped", 3), "the admin port says the same"
    finally:
        await running.process.stop()


async def look_at_a_thousand(browser: Chromium, url: str) -> None:
    text = "return document.querySelector(arguments[0])?.innerText.replace(/\\s+/g, ' ')"
    says = f"return ({text.removeprefix('return ')}) === arguments[1]"
    rows = "return document.querySelectorAll('tr.target').length === arguments[0]"
    await browser.open(url)
    await browser.until(says, "[data-job=hosts]", "hosts 899 / 900 up 1 found twice", deadline_s=40)
    await browser.until(says, "[data-job=pods]", "pods 80 / 80 up 20 dropped", deadline_s=40)
    assert await browser.run(says, "[data-state=scraped]", "Scraped 980")
    assert await browser.run(rows, 100), "as many as can be read"
    assert await browser.run(text, "tr.target .state") == "down", "the one that is down is the first"
    assert "503" in await browser.run(text, "tr.error")

    await browser.type("input[type=search]", "POD-003")
    await browser.until(rows, 1)
    await browser.click("button.open")
    await browser.until("return document.querySelectorAll('.step').length === 5")
    effects = "return [...document.querySelectorAll('.step')].map((step) => step.lastChild.innerText)"
    assert await browser.run(effects) == [
        "~ __metrics_path__ /metrics → /pod/3",
        "+ instance pod-003",
        'changes nothing · looked at ""',
        'keeps it · looked at "3"',
        "+ kept yes",
    ]

    await browser.click("[data-state=dropped]")
    await browser.until("return document.querySelector('.empty') !== null")
    await browser.open(url.replace("#", "?#") + "?job=pods&state=dropped")
    await browser.until(rows, 20)
    await browser.click("button.open")
    await browser.until(says, ".step.drops .effect", 'drops the target · looked at "0"')
    assert await browser.run(text, ".verdict-line.bad") == "Rule 3 drops it."

    await browser.click("[data-job=pods]")
    await browser.click("[data-state=duplicate]")
    await browser.until(rows, 1)
    assert "state=duplicate" in await browser.run("return location.hash"), "what is chosen stands in the address"
    await browser.click("button.open")
    await browser.until("return document.querySelector('.same')?.innerText.includes('/7')")
    assert await browser.complaints() == []


async def test_lines_written_to_a_file_are_seen_as_they_come_and_found(tmp_path: Path) -> None:
    folder = tmp_path / "up"
    (folder / "logs").mkdir(parents=True)
    shop, mail = folder / "logs" / "shop.log", folder / "logs" / "mail.log"
    shop.write_text("".join(f"level=info request {n} from 10.1.2.{n % 250}\n" for n in range(1_000)))
    files = {"targets": ["localhost"], "labels": {"job": "shop", "__path__": f"{folder}/logs/*.log"}}
    listen = {name: f"127.0.0.1:{free_port()}" for name in ("http", "grpc", "admin")}
    logs = {"scrape_configs": [{"job_name": "shop", "static_configs": [files]}]}
    (folder / "up.yml").write_text(json.dumps({"agent": {"logs": logs}, "gateway": {"listen": listen}}))
    running = Up(folder, "--config", "up.yml")
    await running.start()
    try:
        async with Chromium(tmp_path / "chromium") as browser:
            await look_at_logs(browser, f"http://127.0.0.1:{running.port}/#/logs", shop, mail)
            await browser.click("nav a[data-page=log-sources]")
            await browser.until("return document.querySelectorAll('.state.reading').length === 2")
            behind = (
                "[...document.querySelectorAll('tr.target td:nth-child(6)')].map((cell) => cell.textContent).join()"
            )
            await browser.until(f"return {behind} === '0 B,0 B'")
            await browser.click("button.open")
            await browser.until("return document.querySelector('.explained')?.innerText.includes('__path__')")
            await browser.click("nav a[data-page=overview]")
            delivered = "return document.querySelector('main').innerText.includes('1,004')"
            await browser.until(delivered)
        async with ClientSession() as session:
            url = f"http://{listen['admin']}/api/v1/logs/reading"
            async with session.get(url, params={"q": "MAIL.log", "state": "reading"}) as response:
                [row] = (await response.json())["data"]["rows"]
            assert (row["offset"], row["behindBytes"], row["lines"]) == (mail.stat().st_size, 0, 2)
            async with session.get(url, params={"limit": "many"}) as response:
                assert (response.status, (await response.json())["errorType"]) == (400, "bad_data")
    finally:
        await running.process.stop()


def write(file: Path, text: str) -> None:
    with file.open("a") as opened:
        opened.write(text)


async def look_at_logs(browser: Chromium, url: str, shop: Path, mail: Path) -> None:
    rows = "return document.querySelectorAll('.entry').length === arguments[0]"
    first = "return document.querySelector('.entry .line')?.textContent === arguments[0]"
    await browser.open(url)
    await browser.until(rows, 200, deadline_s=40)
    await browser.until("return document.getElementById('log-status').textContent.startsWith('1,000 lines')")
    assert await browser.run("return document.querySelector('rect.column.info') !== null"), "the histogram is drawn"
    write(shop, "level=error order 550e8400-e29b-41d4-a716-446655440000 failed\n")
    await browser.until(first, "level=error order 550e8400-e29b-41d4-a716-446655440000 failed")
    write(mail, "a first line of another file\nTraceback\n")
    await browser.until(first, "Traceback")
    await browser.type("#log-search", "e29b-41d4")
    await browser.until(rows, 1)
    write(shop, "level=warn again E29B-41D4\n")
    await browser.until(first, "level=warn again E29B-41D4")
    await browser.run("location.hash = '#/logs'")
    await browser.until(rows, 200)
    await browser.click("#add-filter")
    await browser.click("[data-name=filename]")
    await browser.click(f"[data-value='{mail}']")
    await browser.until(rows, 2)
    assert await browser.complaints() == []


async def test_without_a_file_this_machines_logs_and_its_own_are_seen(up: Up, tmp_path: Path) -> None:
    async with Chromium(tmp_path / "chromium") as browser:
        only = json.dumps([["job", "=", "pronoia"]])
        await browser.open(f"http://127.0.0.1:{up.port}/#/logs?match={only}&q=partitions")
        await browser.until("return document.querySelectorAll('.entry').length === 2", deadline_s=40)
        await browser.click(".entry")
        await browser.until("return document.querySelector('.detail pre').textContent.includes('store-logs')")
        assert await browser.complaints() == []
