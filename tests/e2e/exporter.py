"""An exporter that remembers everything it served, so that what arrives can be judged sample by sample.

Every page carries explicit timestamps, so that the record is (series, timestamp, value) and not an agent's opinion.
"""

import time
from dataclasses import dataclass, field

from aiohttp import web

TEXT = "text/plain; version=0.0.4; charset=utf-8"


@dataclass
class Target:
    """One page of `series` series; each scrape serves the next value, with the time of serving."""

    name: str
    series: int
    served: list[tuple[int, int]] = field(default_factory=list)
    """(timestamp in ms, value) of every page that was sent whole; all series of a page share both."""

    def __post_init__(self) -> None:
        lines = [f'served_total{{target="{self.name}",series="{i}"}} @\n' for i in range(self.series)]
        self._template = ("# TYPE served_total counter\n" + "".join(lines)).encode()
        self._value = 0

    def page(self) -> tuple[bytes, int, int]:
        """Make the next page; returns it with its timestamp and value."""
        self._value += 1
        now_ms = int(time.time() * 1000)
        return self._template.replace(b"@", b"%d %d" % (self._value, now_ms)), now_ms, self._value


@dataclass
class Exporter:
    """Serves targets at /<name>; `frozen` refuses scrapes, so that the record stops growing."""

    targets: dict[str, Target]
    frozen: bool = False
    port: int = 0
    _runner: web.AppRunner | None = None

    async def __aenter__(self) -> "Exporter":
        app = web.Application()
        app.router.add_get("/{name}", self._serve)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        target = self.targets[request.match_info["name"]]
        if self.frozen:
            raise web.HTTPServiceUnavailable
        body, timestamp_ms, value = target.page()
        response = web.Response(body=body, headers={"Content-Type": TEXT})
        await response.prepare(request)
        await response.write_eof()
        target.served.append((timestamp_ms, value))
        return response
