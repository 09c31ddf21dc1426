"""The page of logs in a real Chromium."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.console.conftest import Running
from tests.pipeline.store.logs.requests import push
from tests.servers.chromium import Chromium

pytestmark = pytest.mark.browser

HOSTILE = '<img src=x onerror="window.stolen = 1">'
ROWS = "return document.querySelectorAll('.entry').length"
ROWS_ARE = f"{ROWS} === arguments[0]"
FIRST = "return document.querySelector('.entry .line')?.textContent"
STATUS = "return document.getElementById('log-status').textContent"

CLICK_A_BAR = """
const box = document.querySelector('rect.column').getBoundingClientRect();
const at = {clientX: box.x + 1, clientY: box.y, bubbles: true, button: 0, pointerId: 1};
const image = document.querySelector('.histogram');
image.setPointerCapture = () => {};  // there is no pointer behind these events
for (const kind of ['pointerdown', 'pointerup']) image.dispatchEvent(new PointerEvent(kind, at));
"""


@pytest.fixture
async def browser(tmp_path: Path) -> AsyncIterator[Chromium]:
    async with Chromium(tmp_path / "chromium") as browser:
        yield browser


@pytest.fixture
async def filled(console: Running) -> Running:
    """A console on 300 lines of the last ten minutes: two applications, some errors, one with everything."""
    now_ns = time.time_ns()
    for app in ("shop", "mail"):
        lines = [
            (now_ns - (150 - n) * 4 * 10**9, f"level={'error' if n % 50 == 7 else 'info'} {app} line {n:03}")
            for n in range(150)
        ]
        await console.logs.append(push({"app": app, "cluster": "c1"}, *lines))
    return console


async def test_lines_are_found_by_text_label_and_level_and_the_address_says_so(
    filled: Running, browser: Chromium
) -> None:
    await browser.open(f"{filled.url}/#/logs")
    await browser.until(ROWS_ARE, 200)
    await browser.until(f"{STATUS}.startsWith('300 lines')")
    await browser.press("/")
    await browser.type("#log-search", 'SHOP "line 01" -013')
    await browser.until(ROWS_ARE, 9)
    marks = "return [...document.querySelectorAll('.entry:nth-of-type(1) mark')].map((mark) => mark.textContent)"
    assert await browser.run(marks) == ["shop", "line 01"]
    await browser.run("document.getElementById('log-search').value = ''")
    await browser.type("#log-search", "line")
    await browser.until(ROWS_ARE, 200)

    await browser.click("#add-filter")
    await browser.click("[data-name=app]")
    await browser.click("[data-value=mail]")
    await browser.until(ROWS_ARE, 150)
    await browser.click("[data-level=error]")
    await browser.until(ROWS_ARE, 3)
    assert "levels=error" in await browser.run("return location.hash")
    await browser.run("location.reload()")
    await browser.until(ROWS_ARE, 3)
    assert "mail" in await browser.run("return document.querySelector('.chip.filter').textContent")
    await browser.click(".operator")
    await browser.until("return document.querySelector('.entry .line')?.textContent.includes('shop')")
    await browser.click(".chip.filter .remove")
    await browser.until(ROWS_ARE, 6)
    await browser.click(".entry")
    await browser.until("return document.querySelectorAll('.detail dt').length === 2")
    await browser.click(".detail button[title='Only app=mail']")
    await browser.until(ROWS_ARE, 3)
    assert await browser.complaints() == []


async def test_lines_come_by_themselves_and_wait_while_somebody_reads_further_down(
    filled: Running, browser: Chromium
) -> None:
    await browser.open(f"{filled.url}/#/logs")
    await browser.until(ROWS_ARE, 200)
    await filled.logs.append(push({"app": "shop", "cluster": "c1"}, (time.time_ns(), "just came")))
    await browser.until(f"({FIRST.removeprefix('return ')}) === 'just came'".join(("return ", "")))
    await browser.run("document.getElementById('entries').scrollTop = 900")
    await filled.logs.append(push({"app": "shop", "cluster": "c1"}, (time.time_ns(), "waits"), (time.time_ns(), "too")))
    await browser.until("return document.querySelector('.new-lines:not([hidden])')?.textContent === '2 new lines'")
    assert await browser.run("return document.getElementById('entries').scrollTop") >= 900
    await browser.click(".new-lines")
    await browser.until(f"({FIRST.removeprefix('return ')}) === 'too'".join(("return ", "")))
    await browser.click("#live")
    assert await browser.run("return document.getElementById('live').getAttribute('aria-pressed')") == "false"
    assert await browser.complaints() == []


async def test_a_bar_of_the_histogram_opens_its_time(filled: Running, browser: Chromium) -> None:
    await browser.open(f"{filled.url}/#/logs")
    await browser.until("return document.querySelectorAll('rect.column.info').length > 20")
    assert await browser.run("return document.querySelectorAll('rect.column.error').length") >= 3
    await browser.run("document.querySelector('.histogram').focus()")
    await browser.press("\ue014")  # arrow to the right
    await browser.until("return /none|info/.test(document.querySelector('.tip').textContent)")
    await browser.run(CLICK_A_BAR)
    await browser.until("return location.hash.includes('from=')")
    await browser.until("const rows = document.querySelectorAll('.entry').length; return rows > 0 && rows < 20")
    await browser.click(".live")
    await browser.until(ROWS_ARE, 200)
    await browser.click("#older")
    await browser.until(ROWS_ARE, 300)
    assert await browser.complaints() == []


async def test_the_keyboard_walks_the_list(filled: Running, browser: Chromium) -> None:
    await browser.open(f"{filled.url}/#/logs")
    await browser.until(ROWS_ARE, 200)
    await browser.run("document.querySelector('.entry').focus()")
    await browser.press("\ue015")  # arrow down
    await browser.press("j")
    assert await browser.run("return [...document.querySelectorAll('.entry')].indexOf(document.activeElement)") == 2
    await browser.press("\ue007")  # Enter
    assert await browser.run("return document.activeElement.getAttribute('aria-expanded')") == "true"
    assert await browser.run("return document.activeElement.nextElementSibling.matches('.detail')")


async def test_text_of_strangers_stays_text(console: Running, browser: Chromium) -> None:
    hostile = push({"app": HOSTILE}, (time.time_ns(), f"{HOSTILE} \x1b[31mred\x1b[0m", {"x": HOSTILE}))
    await console.logs.append(hostile)
    await browser.open(f"{console.url}/#/logs?q=onerror")
    await browser.until(ROWS_ARE, 1)
    await browser.click(".entry")
    await browser.click("#add-filter")
    await browser.click("[data-name=app]")
    await browser.until("return document.querySelectorAll('[data-value]').length === 1")
    assert "onerror=" in await browser.run("return document.body.innerText")
    assert await browser.run(f"{FIRST}") == f"{HOSTILE} red"
    assert await browser.run("return document.querySelectorAll('main img').length") == 0
    assert await browser.run("return window.stolen === undefined")
    assert await browser.complaints() == []


async def test_pages_without_lines_say_why(console: Running, browser: Chromium) -> None:
    empty = "return document.querySelector('.entries .empty h2')?.textContent === arguments[0]"
    await browser.open(f"{console.url}/#/logs")
    await browser.until(empty, "No logs yet")
    await console.logs.append(push({"app": "a"}, (time.time_ns() - 7200 * 10**9, "old")))
    await browser.run("location.reload()")
    await browser.until(empty, "Nothing in this time")
    await browser.type("#log-search", "nothing")
    await browser.until(empty, "Nothing matches")
    await browser.type("#log-search", ' ~"("')
    await browser.until(f"{STATUS}.includes('not a regular expression')")


@pytest.mark.parametrize(("width", "dark"), [(400, False), (1600, True)])
async def test_the_page_fits_its_window(filled: Running, tmp_path: Path, width: int, dark: bool) -> None:
    async with Chromium(tmp_path / "other", width=width, dark=dark) as browser, asyncio.timeout(60):
        await browser.open(f"{filled.url}/#/logs")
        await browser.until(ROWS_ARE, 200)
        assert await browser.run("return document.documentElement.scrollWidth <= innerWidth"), "nothing sticks out"
        await browser.click("#wrap")
        within = "const list = document.getElementById('entries'); return list.scrollWidth <= list.clientWidth"
        assert await browser.run(within), "wrapped lines need no scrolling"
