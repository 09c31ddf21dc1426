"""Listening for syslog over TCP and TLS: one task a connection, and nobody is read from while the buffer is full."""

import asyncio
import logging
from contextlib import suppress
from typing import Final

from agent.config.syslog import SyslogConfig
from agent.inputs.attempts import Attempts
from agent.inputs.feed import Feed
from agent.inputs.listen_tls import listen_tls
from agent.inputs.names import Names, plain_address
from agent.inputs.syslog_entries import SyslogEntries
from agent.inputs.syslog_udp import SyslogUdp
from agent.logs.input import Input, InputTools
from pipeline.errors import PipelineError, TransientError
from pipeline.wire.syslog_frames import Framer

logger = logging.getLogger(__name__)

READ_BYTES: Final = 64 * 1024
MAX_CONNECTIONS: Final = 1024
"""More are refused: each may hold some 200 KiB."""
RENEW_S: Final = 30.0
HANDSHAKE_S: Final = 10.0


class SyslogTcp:
    """An `Input`: a listener of TCP or TLS."""

    def __init__(self, config: SyslogConfig, tools: InputTools) -> None:
        self._config = config
        self._tools = tools
        self._entries = SyslogEntries(config, tools)
        self._names = Names()
        self._feed = Feed(tools, "syslog")
        self._attempts = Attempts(tools, "syslog")
        self._connections: set[asyncio.Task[None]] = set()
        self.port = 0

    def trouble(self) -> str | None:
        """Return None while it listens."""
        return self._attempts.trouble

    async def run(self) -> None:
        """Listen until cancelled; a port that is taken is tried again."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._feed.run(), name="syslog: what is held back")
            await self._attempts.run(self._listen)

    async def _listen(self) -> None:
        at = self._config.listen_address
        tls = listen_tls(self._config.tls_config)
        try:
            server = await asyncio.start_server(
                self._accept,
                at.host,
                at.port,
                limit=READ_BYTES,
                ssl=tls.context if tls is not None else None,
                ssl_handshake_timeout=HANDSHAKE_S if tls is not None else None,
            )
        except OSError as error:
            raise TransientError(f"cannot listen on {at.host}:{at.port}: {error.strerror}") from error
        try:
            async with server:
                self.port = server.sockets[0].getsockname()[1]
                self._attempts.works()
                logger.info("syslog listens", extra={"address": f"{at.host}:{self.port}", "tls": tls is not None})
                while True:
                    await asyncio.sleep(RENEW_S)
                    if tls is not None:
                        tls.renew()
        finally:
            for task in self._connections:
                task.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._connections) >= MAX_CONNECTIONS:
            logger.error("syslog: more than %d connections: one is refused", MAX_CONNECTIONS)
            self._tools.metrics.errors.labels(self._tools.job, "syslog").inc()
            writer.close()
            return
        self._connections.add(task)
        framer = Framer(self._config.max_message_length)
        peer = writer.get_extra_info("peername")
        address = plain_address(peer[0]) if peer else ""
        try:
            hostname = await self._names.of(address)
            while data := await self._read(reader):
                await self._take(framer, framer.feed(data), len(data), address, hostname)
            await self._take(framer, framer.end(), 0, address, hostname)
        except (OSError, PipelineError) as error:
            # Its sender comes back; what it had not finished is its own to send again.
            logger.warning("syslog: a connection ends: %s", error, extra={"address": address})
        finally:
            self._connections.discard(task)
            writer.close()
            with suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _read(self, reader: asyncio.StreamReader) -> bytes:
        try:
            async with asyncio.timeout(self._config.idle_timeout):
                return await reader.read(READ_BYTES)
        except TimeoutError:
            return b""

    async def _take(self, framer: Framer, frames: list[bytes], size: int, address: str, hostname: str) -> None:
        self._tools.cut(framer.cut)
        framer.cut = 0
        if frames:
            await self._feed.put(self._entries.of(frames, address, hostname), read_bytes=size)


def syslog_input(config: SyslogConfig, tools: InputTools) -> Input:
    """Return what listens as the section says."""
    return SyslogUdp(config, tools) if config.listen_protocol == "udp" else SyslogTcp(config, tools)
