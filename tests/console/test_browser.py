"""The console in a real browser."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from console import DeadLetterRow
from tests.console.conftest import Running, status, target
from tests.pipeline.store.requests import STALE, series
from tests.servers.chromium import Chromium

pytestmark = pytest.mark.browser

HOSTILE = '<img src=x onerror="window.stolen=1">'
INKED = """
const canvas = document.querySelector('.uplot canvas');
if (!canvas) return 0;
const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
const colour = getComputedStyle(document.documentElement).getPropertyValue('--c0').trim();
const [red, green, blue] = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
for (let n = 0; n < data.length; n += 4) {
  if (data[n] === red && data[n + 1] === green && data[n + 2] === blue && data[n + 3] > 200) return true;
}
return false;
"""
"""Whether the chart shows the first series' colour."""
NEWEST = "return document.querySelector('#legend td.now')?.textContent"


@pytest.fixture
async def browser(tmp_path: Path) -> AsyncIterator[Chromium]:
    async with Chromium(tmp_path / "chromium") as window:
        yield window


async def fill(console: Running) -> None:
    """Write a minute of history, in which one series ended, and ever newer values of the others."""
    now_s = time.time()
    for n in range(-120, 0):
        at_ms = int((now_s + n) * 1000)
        await console.store.append(
            series("room_temperature_celsius", (at_ms, 1000.0 + n), room="a", note=HOSTILE)
            + series("room_temperature_celsius", (at_ms, STALE if n >= -60 else 5.0), room="ended")
            + series("steps_total", (at_ms, 7.0 * (n + 120)), room="a")
        )
    while True:
        at_ms = int(time.time() * 1000)
        await console.store.append(
            series("room_temperature_celsius", (at_ms, float(at_ms % 1_000_000)), room="a", note=HOSTILE)
        )
        await asyncio.sleep(0.25)


@pytest.fixture
async def moving(console: Running) -> AsyncIterator[Running]:
    task = asyncio.create_task(fill(console))
    yield console
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_a_series_is_found_by_typing_drawn_and_moves(moving: Running, browser: Chromium) -> None:
    await browser.open(f"{moving.url}/#/explore")
    await browser.until("return document.querySelectorAll('button.family').length === 2")
    await browser.press("/")
    assert await browser.run("return document.activeElement.id") == "series-search"
    await browser.type("#series-search", "ROOM temp a")
    await browser.until("return document.querySelectorAll('button.family').length === 1")
    assert await browser.until("return document.querySelectorAll('button.series').length === 2")
    await browser.click("button.series")
    assert await browser.until(INKED)
    first = await browser.until(NEWEST)
    await browser.until(f"return ({NEWEST.removeprefix('return ')}) !== arguments[0]", first)
    assert "room_temperature_celsius" in await browser.run("return location.hash")
    await browser.run("location.reload()")
    assert await browser.until(INKED), "what was chosen stands in the address"
    await browser.click("nav a[data-page=targets]")
    await browser.until("return document.querySelector('.targets') !== null")
    await browser.click("nav a[data-page=explore]")
    assert await browser.until(INKED), "and is there when one comes back"
    await browser.click("#clear")
    await browser.until("return document.querySelector('.uplot') === null")
    assert await browser.complaints() == []


async def test_counters_are_shown_as_rates_and_a_series_that_ended_leaves_a_gap(
    moving: Running, browser: Chromium
) -> None:
    await browser.open(f"{moving.url}/#/explore")
    await browser.type("#series-search", "steps_total")
    await browser.until("return document.querySelectorAll('button.family').length === 1")
    await browser.click("button.series")
    assert await browser.until(f"return ({NEWEST.removeprefix('return ')}) === '7/s'")
    assert await browser.run("return document.getElementById('rate').getAttribute('aria-pressed')") == "true"
    await browser.click("#rate")
    await browser.until(f"return ({NEWEST.removeprefix('return ')}) === '833'")
    body = {
        "series": [{"__name__": "room_temperature_celsius", "room": "ended"}],
        "start": time.time() - 120,
        "end": time.time(),
        "points": 200,
        "rate": False,
    }
    async with moving.session.post(moving.url + "/api/console/chart", json=body) as response:
        [values] = (await response.json())["data"]["series"]
    assert 5.0 in values
    assert values[-1] is None


async def test_text_of_strangers_stays_text_on_every_page(moving: Running, browser: Chromium) -> None:
    moving.shown.active = [
        target(health="down", lastError=f"refused {HOSTILE}", labels={"job": "apps", "instance": HOSTILE, "x": HOSTILE})
    ]
    moving.shown.dropped = [{"discoveredLabels": {"x": HOSTILE}, "scrapePool": "apps", "reason": HOSTILE, "rule": 0}]
    rule = {"action": HOSTILE, "regex": HOSTILE, "separator": ";", "replacement": HOSTILE}
    change = {"label": HOSTILE, "from": HOSTILE, "to": HOSTILE}
    step = {"rule": rule, "output": {}, "keep": True, "value": HOSTILE, "changes": [change]}
    other = {"scrapePool": HOSTILE, "scrapeUrl": HOSTILE, "discoveredLabels": {HOSTILE: HOSTILE}}
    becomes = {"labels": {HOSTILE: HOSTILE}, "scrapeUrl": HOSTILE, "sameLabels": [other], "sameLabelsCount": 1}
    found = {"discoveredLabels": {HOSTILE: HOSTILE}, "steps": [step], "state": "active", "reason": "", "rule": None}
    moving.shown.explained = {"apps": {**found, **becomes}}
    moving.shown.letters = [DeadLetterRow("1", 0, HOSTILE, HOSTILE, "metrics", 400, HOSTILE, 1)]
    moving.shown.parts = {HOSTILE: HOSTILE}
    moving.shown.status = status()
    moving.shown.status["clusters"][0]["name"] = HOSTILE
    for page in ("overview", "targets", "dead-letters", "explore"):
        await browser.open(f"{moving.url}/#/{page}")
        if page == "explore":
            await browser.type("#series-search", "onerror")
            await browser.until("return document.querySelectorAll('button.family').length === 1")
            await browser.click("button.series")
            await browser.until(INKED)
        if page == "targets":
            await browser.click("button.open")
            await browser.until("return document.querySelector('.step .effect.changed') !== null")
        assert await browser.until("return document.body.innerText.includes('onerror=')"), page
        assert await browser.run("return document.querySelectorAll('main img').length") == 0
        assert await browser.run("return window.stolen === undefined")
    assert await browser.complaints() == []


async def test_a_label_of_a_megabyte_does_not_fill_the_page(console: Running, browser: Chromium) -> None:
    long = "x" * 1_000_000
    console.shown.active = [target(labels={"instance": "a", "job": "apps", "long": long})]
    rule = {"action": "replace", "regex": "(.*)", "separator": ";", "replacement": "$1"}
    change = {"label": "long", "from": None, "to": long}
    step = {"rule": rule, "output": {}, "keep": True, "value": long, "changes": [change]}
    becomes = {"labels": {"long": long}, "scrapeUrl": "http://a/", "sameLabels": [], "sameLabelsCount": 0}
    found = {"discoveredLabels": {"long": long}, "steps": [step], "state": "active", "reason": "", "rule": None}
    console.shown.explained = {"apps": {**found, **becomes}}
    await browser.open(f"{console.url}/#/targets")
    await browser.click("button.open")
    await browser.until("return document.querySelector('.step') !== null")
    assert await browser.run("return document.querySelector('main').innerText.length") < 20_000
    assert "(1,000,000 characters)" in await browser.run("return document.querySelector('.chips').innerText")


async def test_the_overview_says_first_whether_anything_is_lost(console: Running, browser: Chromium) -> None:
    verdict = "return document.querySelector('.verdict h1')?.textContent.includes(arguments[0])"
    await browser.open(f"{console.url}/")
    await browser.until(verdict, "Nothing is lost")
    console.shown.status = status(rejected=3)
    await browser.run("location.reload()")
    await browser.until(verdict, "Nothing is missing; 3 samples are refused")
    console.shown.status = status(missing=1)
    await browser.run("location.reload()")
    await browser.until(verdict, "1 sample is missing")
    console.shown.failing = True
    await browser.until(verdict, "The state is not known")


async def test_empty_pages_say_what_to_do(console: Running, browser: Chromium) -> None:
    console.shown.active = []
    console.shown.status = {"clusters": [], "sinks": []}
    for page, words in {
        "overview": "No target is scraped",
        "targets": "pronoia targets",
        "explore": "No series yet",
        "dead-letters": "No sink has refused anything",
    }.items():
        await browser.open(f"{console.url}/#/{page}")
        assert await browser.until("return document.body.innerText.includes(arguments[0])", words)


async def test_numbers_are_written_as_people_read_them(console: Running, browser: Chromium) -> None:
    await browser.open(f"{console.url}/")
    written = await browser.run(
        """return import('/js/format.js').then((f) => [
          f.short(0), f.short(1234), f.short(999.7), f.short(0.00001), f.short(-2500000), f.short(NaN),
          f.bytes(0), f.bytes(1536), f.bytes(1023.9), f.duration(0), f.duration(0.00025), f.duration(59),
          f.duration(3725), f.duration(90000), f.ago(100, 161), f.ago(0, 100), f.whole(1234567),
          f.labelText({__name__: 'a', b: '"c"'}),
          f.unit('x_bytes_total', true)(2048), f.unit('x_seconds_total', false)(90), f.unit('x_seconds_count', true)(2),
          f.unit('node_time_seconds', false)(1700000000.5),
        ])"""
    )
    assert written == [
        *("0", "1.23k", "1k", "1.0e-5", "-2.5M", "–"),
        *("0 B", "1.5 KiB", "1 KiB", "0 s", "250 µs", "59 s", "1h 2m"),
        *("1d 1h", "1m 1s ago", "never", "1,234,567", 'b="\\"c\\""'),
        *("2 KiB/s", "1m 30s", "2/s", "1700000000.5"),
    ]
