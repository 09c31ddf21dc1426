"""A TCP proxy that can be cut: what is behind it is then silent, as in a network that has been parted."""

import asyncio
import contextlib
from typing import Self


class TcpProxy:
    """Relays to a loopback port from a free one of its own. Use as an async context manager."""

    def __init__(self, port_behind: int) -> None:
        self.port = 0
        self._behind = port_behind
        self._server: asyncio.Server | None = None
        self._passing = asyncio.Event()
        self._relays: set[asyncio.Task[None]] = set()
        self._passing.set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
        for relay in self._relays:
            relay.cancel()
        await asyncio.gather(*self._relays, return_exceptions=True)

    def cut(self) -> None:
        """Pass nothing on from now on; connections stay open, and new ones are taken."""
        self._passing.clear()

    def mend(self) -> None:
        """Pass everything on again, what has waited first."""
        self._passing.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        relay = asyncio.current_task()
        assert relay is not None
        self._relays.add(relay)
        relay.add_done_callback(self._relays.discard)
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await self._passing.wait()
            behind_reader, behind_writer = await asyncio.open_connection("127.0.0.1", self._behind)
            try:
                both = (self._relay(reader, behind_writer), self._relay(behind_reader, writer))
                await asyncio.wait([asyncio.create_task(each) for each in both], return_when=asyncio.FIRST_COMPLETED)
            finally:
                behind_writer.close()
        writer.close()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 16):
                await self._passing.wait()
                writer.write(data)
                await writer.drain()
