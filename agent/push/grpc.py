"""The gRPC transport: one stream of batches, one of acknowledgements (proto/pipeline/wire/push.proto)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import grpc
from grpc import aio

from agent.config.agent import GatewayClientConfig
from agent.push.credentials import authorization, pem
from pipeline.errors import TransientError
from pipeline.wire.push_pb2 import Ack, Batch

METHOD: Final = "/pronoia.push.v1.Push/Push"
MAX_MESSAGE_BYTES: Final = 64 * 2**20
_OPTIONS: Final[tuple[tuple[str, int | str], ...]] = (
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # The agent decides when to connect again.
    ("grpc.enable_retries", 0),
)


@dataclass(slots=True)
class GrpcSession:
    """One stream."""

    call: "aio.StreamStreamCall[Batch, Ack]"

    async def send(self, batch: Batch) -> None:
        """Write one batch; waits while the gateway takes nothing."""
        try:
            await self.call.write(batch)
        except (aio.AioRpcError, asyncio.InvalidStateError) as error:
            # Why it ended is in the answers' status, which is raised there with more to say.
            await asyncio.sleep(1)
            raise TransientError(f"the stream is gone: {error}") from error

    async def flush(self) -> None:
        """Nothing is held back."""

    async def acks(self) -> AsyncIterator[Ack]:
        """Yield answers until the gateway ends the stream; raises TransientError where it breaks."""
        try:
            async for ack in self.call:
                yield ack
        except aio.AioRpcError as error:
            raise transient(error) from error


def transient(error: aio.AioRpcError) -> TransientError:
    """Say what a gRPC status means. All of them: nothing that a gateway answers makes a batch on disk worthless."""
    delay_s = None
    trailers: Any = error.trailing_metadata() or ()
    for key, value in trailers:
        if key == "retry-after-ms":
            delay_s = int(value) / 1000
    return TransientError(f"{error.code().name}: {error.details()}", delay_s)


@dataclass(slots=True)
class GrpcTransport:
    """Connects to a gateway's gRPC port."""

    config: GatewayClientConfig

    @asynccontextmanager
    async def session(self) -> AsyncIterator[GrpcSession]:
        """Open a channel and a stream on it; both are closed behind."""
        metadata = tuple(authorization(self.config).items())
        async with self._channel() as channel:
            method: Any = channel.stream_stream(
                METHOD, request_serializer=Batch.SerializeToString, response_deserializer=Ack.FromString
            )
            call = method(metadata=metadata)
            try:
                yield GrpcSession(call)
            finally:
                call.cancel()

    def _channel(self) -> aio.Channel:
        if not self.config.is_secure:
            return aio.insecure_channel(self.config.address, options=_OPTIONS)
        tls = self.config.tls_config
        credentials = grpc.ssl_channel_credentials(
            root_certificates=pem(tls.ca, tls.ca_file) if tls else None,
            private_key=pem(tls.key.get_secret_value(), tls.key_file) if tls else None,
            certificate_chain=pem(tls.cert, tls.cert_file) if tls else None,
        )
        options = _OPTIONS
        if tls is not None and tls.server_name:
            options = (*_OPTIONS, ("grpc.ssl_target_name_override", tls.server_name))
        return aio.secure_channel(self.config.address, credentials, options=options)
