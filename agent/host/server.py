"""Serving this machine's page on loopback, and finding out whether a node_exporter does already."""

import asyncio
from typing import Final

import aiohttp
from aiohttp import web

from agent.host.page import page
from pipeline.config import Address

NODE_EXPORTER: Final = Address(host="127.0.0.1", port=9100)
"""Where a node_exporter listens unless it is told otherwise."""
_CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


async def node_exporter_answers(
    session: aiohttp.ClientSession, address: Address = NODE_EXPORTER, *, timeout_s: float = 2.0
) -> bool:
    """Return whether a node_exporter answers there: then it is scraped, and nothing is read with psutil."""
    url = f"http://{address.host}:{address.port}/metrics"
    try:
        async with session.get(url, timeout=aiohttp.ClientTimeout(total=timeout_s)) as response:
            if response.status != 200:
                return False
            # Anything may listen there: only a page of a node_exporter has this machine's name in it.
            async for line in response.content:
                if line.startswith((b"node_exporter_build_info", b"node_uname_info")):
                    return True
            return False
    except (aiohttp.ClientError, TimeoutError, ValueError):
        return False


class HostPage:
    """Serves the page at /metrics of a free loopback port; `address` is the one in use once it started."""

    name = "host"

    def __init__(self, address: Address | None = None) -> None:
        self.address = address or Address(host="127.0.0.1", port=0)
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen."""
        app = web.Application()
        app.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, self.address.host, self.address.port).start()
        self.address = Address(host=self.address.host, port=self._runner.addresses[0][1])

    async def drain(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    def ready(self) -> str | None:
        """Return None: it always can."""
        return None

    async def _metrics(self, _: web.Request) -> web.Response:
        # Reading the machine blocks: on a thread it holds nobody up.
        return web.Response(body=await asyncio.to_thread(page), headers={"Content-Type": _CONTENT_TYPE})
