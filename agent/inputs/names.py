"""The names of senders' addresses, asked of the system's resolver once in a while."""

import asyncio
import socket
from typing import Final

KNOWN_S: Final = 300.0
WAIT_S: Final = 1.0
MAX_KNOWN: Final = 4096


class Names:
    """Remembers names for five minutes; a resolver that does not answer in a second makes an address nameless."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, str]] = {}

    async def of(self, address: str) -> str:
        """Return an address' name; empty where it has none."""
        loop = asyncio.get_running_loop()
        known = self._known.get(address)
        if known is not None and loop.time() < known[0]:
            return known[1]
        name = ""
        if not address:
            return name
        try:
            async with asyncio.timeout(WAIT_S):
                name, _ = await loop.getnameinfo((address, 0), socket.NI_NAMEREQD)
        except (TimeoutError, OSError):
            pass
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
        self._known[address] = (loop.time() + KNOWN_S, name)
        return name


def plain_address(address: str) -> str:
    """Return a peer's address; one of IPv4 as such where it came to a listener of both."""
    return address.removeprefix("::ffff:")
