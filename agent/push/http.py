"""The HTTP transport: several batches in one POST, their acknowledgements in the answer."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import aiohttp
from google.protobuf.message import DecodeError

from agent.config.agent import GatewayClientConfig
from agent.push.credentials import authorization, tls_context
from pipeline.errors import TransientError
from pipeline.wire.push_pb2 import Ack, Batch, PushRequest, PushResponse

PATH: Final = "/api/v1/push"
TIMEOUT_S: Final = 60.0
MAX_REQUEST_BYTES: Final = 4 * 2**20


@dataclass(slots=True)
class HttpSession:
    """One connection, one request at a time."""

    client: aiohttp.ClientSession
    url: str
    headers: dict[str, str]
    server_name: str | None = None
    """The name that the gateway's certificate has to have, where it is not the URL's."""
    _held: PushRequest = field(default_factory=PushRequest)
    _held_bytes: int = 0
    _answers: "asyncio.Queue[Ack]" = field(default_factory=asyncio.Queue)

    async def send(self, batch: Batch) -> None:
        """Hold a batch back until enough are together."""
        self._held.batches.append(batch)
        self._held_bytes += len(batch.payload)
        if self._held_bytes >= MAX_REQUEST_BYTES:
            await self.flush()

    async def flush(self) -> None:
        """Post what is held back; raises TransientError."""
        if not self._held.batches:
            return
        body, self._held, self._held_bytes = self._held.SerializeToString(), PushRequest(), 0
        try:
            async with self.client.post(
                self.url, data=body, headers=self.headers, server_hostname=self.server_name
            ) as answer:
                content = await answer.read()
                if answer.status != 200:
                    reason = content[:300].decode(errors="replace").strip()
                    delay = answer.headers.get("Retry-After", "")
                    raise TransientError(f"HTTP {answer.status}: {reason}", float(delay) if delay.isdigit() else None)
                acks = PushResponse.FromString(content).acks
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise TransientError(f"the gateway cannot be reached: {error or type(error).__name__}") from error
        except DecodeError as error:
            raise TransientError(f"the answer is no PushResponse: is {self.url} a gateway?") from error
        for ack in acks:
            self._answers.put_nowait(ack)

    async def acks(self) -> AsyncIterator[Ack]:
        """Yield the answers as they come."""
        while True:
            yield await self._answers.get()


@dataclass(slots=True)
class HttpTransport:
    """Connects to a gateway's HTTP port."""

    config: GatewayClientConfig

    @asynccontextmanager
    async def session(self) -> AsyncIterator[HttpSession]:
        """Open a connection; it is closed behind."""
        headers = {"Content-Type": "application/x-protobuf", **authorization(self.config)}
        ssl = tls_context(self.config.tls_config) if self.config.is_secure else True
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        scheme = "https" if self.config.is_secure else "http"
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=ssl), timeout=timeout) as client:
            name = self.config.tls_config.server_name if self.config.tls_config is not None else ""
            yield HttpSession(client, f"{scheme}://{self.config.address}{PATH}", headers, name or None)
