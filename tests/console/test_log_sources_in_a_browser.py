"""The page of log sources in a real Chromium."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.console.conftest import Running
from tests.servers.chromium import Chromium

pytestmark = pytest.mark.browser

HOSTILE = '<img src=x onerror="window.stolen = 1">'
ROWS_ARE = "return document.querySelectorAll('.of-log-sources tbody tr:not(.error):not(.why)').length === arguments[0]"
TEXT = "return document.querySelector(arguments[0])?.innerText.replace(/\\s+/g, ' ')"
SAYS = f"return ({TEXT.removeprefix('return ')})?.includes(arguments[1])"
STATES = ("failing", "behind", "reading", "nothing", "duplicate", "unusable", "dropped", "elsewhere")


@pytest.fixture
async def browser(tmp_path: Path) -> AsyncIterator[Chromium]:
    async with Chromium(tmp_path / "chromium") as browser:
        yield browser


def job(kind: str, lines: int, lost: dict[str, int] | None = None, **counts: int) -> dict[str, Any]:
    read = {"lines": lines, "bytes": lines * 80, "cut": 0, "dropped": lost or {}}
    return {"input": kind, "trouble": None, "counts": dict.fromkeys(STATES, 0) | counts, "read": read}


def file(name: str, /, **changed: Any) -> dict[str, Any]:
    discovered = {"__path__": "/var/log/*.log", "job": "host"}
    shown: dict[str, Any] = {
        "state": "reading",
        "scrapePool": "logs/host",
        "name": name,
        "path": "/var/log/*.log",
        "pathExclude": "",
    }
    shown |= {"discoveredLabels": discovered, "labels": {"job": "host"}, "trouble": "", "lines": 5, "offset": 400}
    return shown | {"lastRead": time.time() - 3, "behindBytes": 0} | changed


@pytest.fixture
async def reading(console: Running) -> Running:
    """A console on an agent that reads files, some with trouble, and the journal."""
    shown = console.shown
    shown.log_jobs = {
        "logs/host": job(
            "files", 1000, {"drop stage": 7, "line_too_long": 1}, failing=1, behind=1, reading=1, dropped=1
        ),
        "logs/journal": job("journal", 50, reading=1),
    }
    why = {"trouble": "/var/log/secret.log cannot be read: Permission denied", "lines": 0, "offset": None}
    journal = {"name": "journal", "scrapePool": "logs/journal", "discoveredLabels": None, "path": "", "lines": None}
    dropped = {"state": "dropped", "scrapePool": "logs/host", "discoveredLabels": {"__path__": "/var/log/x"}, "rule": 0}
    shown.log_rows = [
        file("/var/log/secret.log", state="failing", lastRead=None, behindBytes=None, **why),
        file("/var/log/busy.log", state="behind", behindBytes=5 << 20),
        file("/var/log/quiet.log"),
        file("journal", **journal, offset=None, behindBytes=None, lastRead=None),
        {**dropped, "reason": "relabel_configs[0]: drop"},
    ]
    rule = {"action": "drop", "regex": ".*x", "separator": ";", "replacement": "$1", "source_labels": ["__path__"]}
    step = {"rule": rule, "output": {}, "keep": False, "value": "/var/log/x", "changes": []}
    gone = {"state": "dropped", "reason": "…", "rule": 0, "labels": None, "path": None, "pathExclude": None}
    shown.explained = {
        "logs/host": {
            "scrapePool": "logs/host",
            "discoveredLabels": {"__path__": "/var/log/x"},
            "steps": [step],
            **gone,
        }
    }
    return console


async def test_what_cannot_be_read_is_seen_first_and_how_far_the_rest_is(reading: Running, browser: Chromium) -> None:
    await browser.open(f"{reading.url}/#/overview")
    await browser.until(SAYS, "#sources-failing", "1")
    await browser.click("nav a[data-page=log-sources]")
    await browser.until(ROWS_ARE, 4)
    assert await browser.run(TEXT, ".state") == "failing"
    assert await browser.run(SAYS, "tr.error", "Permission denied")
    assert await browser.run(SAYS, "td.warn", "5 MiB")
    assert await browser.run(SAYS, "[data-job='logs/host']", "1 failing, 1 behind")
    assert await browser.run(SAYS, "[data-job='logs/journal']", "journal: 50 lines")
    await browser.click("summary")
    assert await browser.run(SAYS, ".losses", "drop stage 7")
    assert await browser.run(SAYS, ".losses", "line_too_long 1")
    await browser.run("document.querySelector('.losses summary').focus()")
    await browser.until("return document.querySelectorAll('td.number[title]')[1].textContent === '0'")
    assert await browser.run("return document.activeElement.closest('details').open"), "what is drawn anew stays open"
    await browser.press("/")
    await browser.type("input[type=search]", "Quiet")
    await browser.until(ROWS_ARE, 1)
    assert "q=Quiet" in await browser.run("return location.hash")
    assert await browser.complaints() == []


async def test_lines_a_second_are_known_once_more_came(reading: Running, browser: Chromium) -> None:
    await browser.open(f"{reading.url}/#/log-sources?q=busy")
    await browser.until(ROWS_ARE, 1)
    reading.shown.log_rows[1]["lines"] = 100_000
    rate = "return document.querySelector('td.number[title]')"
    await browser.until(
        f"{rate}?.title.startsWith('100,000') && /k/.test(({rate.removeprefix('return ')}).textContent)"
    )


async def test_a_row_says_by_which_rule_it_is_left_out(reading: Running, browser: Chromium) -> None:
    await browser.open(f"{reading.url}/#/log-sources?state=dropped")
    await browser.until(ROWS_ARE, 1)
    assert await browser.run(SAYS, "div.reason", "relabel_configs[0]: drop")
    await browser.run("document.querySelector('button.open').focus()")
    await browser.press("\ue007")  # Enter
    await browser.until(SAYS, ".step.drops .effect", "drops the target")
    assert await browser.run(SAYS, ".explained", "Is not read")
    assert reading.shown.asked[-1] == ("logs/host", {"__path__": "/var/log/x"})
    assert await browser.run("return document.activeElement.matches('button.open')"), "it is still under the cursor"
    assert await browser.complaints() == []


async def test_a_files_lines_are_a_click_away(reading: Running, browser: Chromium) -> None:
    await browser.open(f"{reading.url}/#/log-sources?q=quiet")
    await browser.until(ROWS_ARE, 1)
    await browser.click("td a")
    await browser.until(SAYS, ".chip.filter", "/var/log/quiet.log")


async def test_a_buffer_that_takes_nothing_is_said_above_all(reading: Running, browser: Chromium) -> None:
    reading.shown.log_trouble = "the buffer cannot be written: No space left on device"
    await browser.open(f"{reading.url}/#/log-sources")
    await browser.until(SAYS, ".verdict", "No space left on device")


async def test_where_nothing_is_read_it_says_what_to_do(console: Running, browser: Chromium) -> None:
    await browser.open(f"{console.url}/#/log-sources")
    await browser.until("return document.body.innerText.includes('pronoia targets')")


async def test_text_of_strangers_stays_text(reading: Running, browser: Chromium) -> None:
    reading.shown.log_jobs = {HOSTILE: job(HOSTILE, 1, {HOSTILE: 1}, failing=1), "b": job("files", 1, failing=1)}
    reading.shown.log_rows = [
        file(HOSTILE, state="failing", trouble=HOSTILE, scrapePool=HOSTILE, labels={"x": HOSTILE})
    ]
    reading.shown.log_trouble = HOSTILE
    await browser.open(f"{reading.url}/#/log-sources")
    await browser.until(ROWS_ARE, 1)
    await browser.click("summary")
    assert "onerror=" in await browser.run("return document.body.innerText")
    assert await browser.run("return document.querySelectorAll('main img').length") == 0
    assert await browser.run("return window.stolen === undefined")
    assert await browser.complaints() == []


@pytest.mark.parametrize(("width", "dark"), [(400, False), (1600, True)])
async def test_the_page_fits_its_window(reading: Running, tmp_path: Path, width: int, dark: bool) -> None:
    async with Chromium(tmp_path / "other", width=width, dark=dark) as browser, asyncio.timeout(60):
        await browser.open(f"{reading.url}/#/log-sources")
        await browser.until(ROWS_ARE, 4)
        assert await browser.run("return document.documentElement.scrollWidth <= innerWidth"), "nothing sticks out"
