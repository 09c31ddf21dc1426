"""A real headless Chromium for tests, driven over plain WebDriver (W3C) by its own chromedriver.

async with Chromium(tmp_path) as browser:
    await browser.open("http://127.0.0.1:15600/")
    await browser.type("input[type=search]", "cpu")
    assert await browser.until("return document.querySelectorAll('.series').length")
    assert await browser.complaints() == []
"""

import asyncio
import base64
import shutil
from pathlib import Path
from typing import Any, Final, Self

import aiohttp

from tests.servers.processes import MissingServerError, Process, free_port

FLAGS: Final = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)
_ELEMENT: Final = "element-6066-11e4-a52e-4f735466cecf"
"""The key of an element's reference (WebDriver, "Elements")."""
UNTIL_S: Final = 20.0


class BrowserError(Exception):
    """The browser refused a command, or what was waited for did not come; says so in its own words."""


class Chromium:
    """One browser with a fresh profile in `folder`, and one window."""

    def __init__(self, folder: Path, *, width: int = 1400, height: int = 900, dark: bool = False) -> None:
        self._folder = folder
        self._size, self._dark = (width, height), dark
        self._session = ""

    async def __aenter__(self) -> Self:
        browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
        driver = shutil.which("chromedriver")
        if browser is None or driver is None:
            raise MissingServerError("the console's pages need Chromium (`chromium` and `chromedriver` on the PATH)")
        self._folder.mkdir(parents=True, exist_ok=True)
        port = free_port()
        self._base = f"http://127.0.0.1:{port}"
        self._driver = Process([driver, f"--port={port}"], self._folder)
        self._http = aiohttp.ClientSession()
        try:
            await self._driver.start(self._answers)
            await self._begin(browser)
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            if self._session:
                await self._command("DELETE", "")
        finally:
            await self._http.close()
            await self._driver.stop()

    async def open(self, url: str) -> None:
        """Go to a page and wait until it is loaded."""
        await self._command("POST", "/url", {"url": url})

    async def run(self, script: str, *arguments: object) -> Any:
        """Run a script's body in the page; return what it returns."""
        return await self._command("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    async def until(self, script: str, *arguments: object, deadline_s: float = UNTIL_S) -> Any:
        """Run a script again and again until it returns something true; return that. Raises BrowserError."""
        try:
            async with asyncio.timeout(deadline_s):
                while True:
                    if value := await self.run(script, *arguments):
                        return value
                    await asyncio.sleep(0.05)
        except TimeoutError:
            page = await self.run("return document.body.innerText")
            raise BrowserError(f"not within {deadline_s:.0f} s: {script}; the page says: {page}") from None

    async def click(self, selector: str) -> None:
        """Click the first element that a CSS selector finds, once there is one."""
        await self._command("POST", f"/element/{await self._find(selector)}/click", {})

    async def type(self, selector: str, text: str) -> None:
        """Type into an element as a person would."""
        await self._command("POST", f"/element/{await self._find(selector)}/value", {"text": text})

    async def press(self, key: str) -> None:
        """Press and release one key, wherever the focus is."""
        keys = [{"type": "keyDown", "value": key}, {"type": "keyUp", "value": key}]
        await self._command("POST", "/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": keys}]})

    async def screenshot(self) -> bytes:
        """Return what the window shows as a PNG."""
        return base64.b64decode(await self._command("GET", "/screenshot"))

    async def complaints(self) -> list[str]:
        """Return what the browser's console holds since the last call: errors, and refusals by the page's policy."""
        entries = await self._command("POST", "/se/log", {"type": "browser"})
        return [f"{entry['level']}: {entry['message']}" for entry in entries]

    async def _begin(self, browser: str) -> None:
        width, height = self._size
        flags = [*FLAGS, f"--user-data-dir={self._folder / 'profile'}", f"--window-size={width},{height}"]
        wanted = {"goog:loggingPrefs": {"browser": "ALL"}, "goog:chromeOptions": {"binary": browser, "args": flags}}
        answer = await self._command("POST", None, {"capabilities": {"alwaysMatch": wanted}})
        self._session = answer["sessionId"]
        scheme = {"name": "prefers-color-scheme", "value": "dark" if self._dark else "light"}
        await self._devtools("Emulation.setEmulatedMedia", features=[scheme])
        # A window has a least width; what the page believes its width to be has none.
        await self._devtools(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )

    async def _devtools(self, name: str, **parameters: object) -> None:
        await self._command("POST", "/goog/cdp/execute", {"cmd": name, "params": parameters})

    async def _find(self, selector: str) -> str:
        await self.until("return document.querySelector(arguments[0]) !== null", selector)
        found = await self._command("POST", "/element", {"using": "css selector", "value": selector})
        return str(found[_ELEMENT])

    async def _answers(self) -> bool:
        try:
            async with self._http.get(f"{self._base}/status") as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False

    async def _command(self, method: str, path: str | None, body: object = None) -> Any:
        url = f"{self._base}/session" + ("" if path is None else f"/{self._session}{path}")
        async with self._http.request(method, url, json=body) as response:
            value = (await response.json())["value"]
        if response.status >= 400:
            raise BrowserError(f"{value['error']}: {value['message']}")
        return value
