"""Listening for syslog over UDP: one message a datagram (RFC 5426). Nobody can be told to wait, so what does not fit is
dropped, counted and logged.
"""

import asyncio
import logging
import socket
from collections import deque
from contextlib import suppress
from typing import Final

from agent.config.syslog import SyslogConfig
from agent.inputs.attempts import Attempts
from agent.inputs.feed import Feed
from agent.inputs.names import Names, plain_address
from agent.inputs.syslog_entries import SyslogEntries
from agent.logs.input import InputTools
from pipeline.errors import TransientError
from pipeline.wire.syslog_frames import Framer

logger = logging.getLogger(__name__)

QUEUE_BYTES: Final = 16 * 1024 * 1024
SOCKET_BYTES: Final = 4 * 1024 * 1024
TOGETHER: Final = 500
TELL_S: Final = 10.0
LAST_S: Final = 2.0
"""How long what came before the end may take to get into the buffer."""
FULL: Final = "udp_queue_full"


class SyslogUdp(asyncio.DatagramProtocol):
    """An `Input`: a listener of UDP."""

    def __init__(self, config: SyslogConfig, tools: InputTools) -> None:
        self._config = config
        self._tools = tools
        self._entries = SyslogEntries(config, tools)
        self._names = Names()
        self._feed = Feed(tools, "syslog")
        self._attempts = Attempts(tools, "syslog")
        self._queue: deque[tuple[bytes, str]] = deque()
        self._queued_bytes = 0
        self._came = asyncio.Event()
        self._dropped = 0
        self.port = 0

    def trouble(self) -> str | None:
        """Return None while it listens."""
        return self._attempts.trouble

    async def run(self) -> None:
        """Listen until cancelled; a port that is taken is tried again."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._feed.run(), name="syslog: what is held back")
            tasks.create_task(self._tell_dropped(), name="syslog: what is dropped")
            await self._attempts.run(self._listen)

    async def _listen(self) -> None:
        at = self._config.listen_address
        loop = asyncio.get_running_loop()
        try:
            transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=(at.host, at.port))
        except OSError as error:
            raise TransientError(f"cannot listen on {at.host}:{at.port}: {error.strerror}") from error
        try:
            sock = transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BYTES)
            self.port = sock.getsockname()[1]
            self._attempts.works()
            logger.info("syslog listens", extra={"address": f"{at.host}:{self.port}", "protocol": "udp"})
            while True:
                await self._came.wait()
                await self._take_some()
        finally:
            transport.close()
            with suppress(TimeoutError):
                async with asyncio.timeout(LAST_S):
                    while self._queue:
                        await self._take_some()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Queue a datagram, or drop it where the queue is full."""
        if self._queued_bytes + len(data) > QUEUE_BYTES:
            self._dropped += 1
            self._tools.drop(FULL)
            return
        self._queue.append((data, plain_address(addr[0])))
        self._queued_bytes += len(data)
        self._came.set()

    async def _take_some(self) -> None:
        """Hand on what came, in its order, from one address at a time."""
        data, address = self._queue[0]
        frames, size = list[bytes](), 0
        while self._queue and self._queue[0][1] == address and len(frames) < TOGETHER:
            data, _ = self._queue.popleft()
            size += len(data)
            frames += self._frames(data)
        self._queued_bytes -= size
        if not self._queue:
            self._came.clear()
        if frames:
            hostname = await self._names.of(address)
            await self._feed.put(self._entries.of(frames, address, hostname), read_bytes=size)

    def _frames(self, datagram: bytes) -> list[bytes]:
        framer = Framer(self._config.max_message_length)
        if not datagram.startswith(b"<"):
            # Some senders count octets in datagrams, too.
            frames = [*framer.feed(datagram), *framer.end()]
        else:
            frames = [datagram[: self._config.max_message_length]] if datagram.strip(b"\r\n\0") else []
            framer.cut += len(datagram) > self._config.max_message_length
        self._tools.cut(framer.cut)
        return frames

    async def _tell_dropped(self) -> None:
        while True:
            await asyncio.sleep(TELL_S)
            if self._dropped:
                logger.error("syslog: %d datagrams are lost: the buffer takes no more", self._dropped)
                self._dropped = 0
