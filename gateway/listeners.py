"""The two listeners, and how each takes new certificates without closing its port."""

import logging
import socket
import ssl
from typing import Final

import grpc
import grpc.aio
from aiohttp import web

from gateway.config import ServerTlsConfig
from gateway.core import Core
from gateway.grpc import GrpcFront
from gateway.http import HttpFront
from pipeline.errors import PermanentError

logger = logging.getLogger(__name__)

FRAMING_BYTES: Final = 64 * 1024
"""What a batch's headers may add to its payload in one gRPC message."""
STOP_GRACE_S: Final = 10.0


class HttpListener:
    """The HTTP port. Its socket stays open; new certificates get a new server on it, open connections keep theirs."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._socket: socket.socket | None = None
        self._site: web.SockSite | None = None
        self._runner: web.ServerRunner | None = None
        self.port = 0

    async def start(self) -> None:
        """Listen; raises PermanentError where that is not possible."""
        address, tls = self._core.config.listen.http, self._core.config.tls
        if address is None:
            return
        try:
            self._socket = socket.create_server(
                (address.host, address.port), family=_family(address.host), backlog=1024
            )
        except OSError as error:
            raise PermanentError(f"cannot listen on {address.host}:{address.port}: {error.strerror}") from error
        self._socket.setblocking(False)
        self.port = self._socket.getsockname()[1]
        server = web.Server(HttpFront(self._core), access_log=None, auto_decompress=False)
        self._runner = web.ServerRunner(server, shutdown_timeout=STOP_GRACE_S)
        await self._runner.setup()
        await self._serve(tls)

    async def reload(self, tls: ServerTlsConfig | None) -> None:
        """Use these certificates from now on; raises PermanentError, and changes nothing, where they are wrong."""
        if self._runner is None or tls is None:
            return
        old = self._site
        await self._serve(tls)
        if old is not None:
            await old.stop()

    async def stop(self) -> None:
        """Stop listening, and wait for the requests that were begun."""
        if self._runner is not None:
            await self._runner.cleanup()
        if self._socket is not None:
            self._socket.close()

    async def _serve(self, tls: ServerTlsConfig | None) -> None:
        assert self._socket is not None
        assert self._runner is not None
        context = None if tls is None else server_context(tls)
        site = web.SockSite(self._runner, self._socket.dup(), ssl_context=context)
        await site.start()
        self._site = site


class GrpcListener:
    """The gRPC port. gRPC asks for the certificates at each handshake."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._server: grpc.aio.Server | None = None
        self._front = GrpcFront(core)
        self._certificates: grpc.ServerCertificateConfiguration | None = None
        self.port = 0

    async def start(self) -> None:
        """Listen; raises PermanentError where that is not possible."""
        config = self._core.config
        address = config.listen.grpc
        if address is None:
            return
        self._server = grpc.aio.server(
            options=(
                ("grpc.max_receive_message_length", config.limits.body + FRAMING_BYTES),
                ("grpc.so_reuseport", 0),
                # Agents keep streams open over quiet minutes; their pings are welcome.
                ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
                ("grpc.keepalive_permit_without_calls", 1),
            ),
            maximum_concurrent_rpcs=config.limits.streams,
        )
        self._server.add_generic_rpc_handlers(self._front.handlers())
        host = f"[{address.host}]" if ":" in address.host else address.host
        self.port = self._bind(f"{host}:{address.port}", config.tls)
        await self._server.start()

    def reload(self, tls: ServerTlsConfig | None) -> None:
        """Use these certificates from now on; raises PermanentError, and changes nothing, where they are wrong."""
        if self._server is not None and tls is not None:
            self._certificates = _grpc_certificates(tls)

    async def stop(self) -> None:
        """End streams, and wait for the calls that were begun."""
        if self._server is not None:
            self._front.end_streams()
            await self._server.stop(STOP_GRACE_S)

    def _bind(self, address: str, tls: ServerTlsConfig | None) -> int:
        assert self._server is not None
        try:
            if tls is None:
                return self._server.add_insecure_port(address)
            self._certificates = first = _grpc_certificates(tls)
            credentials = grpc.dynamic_ssl_server_credentials(
                self._certificates, lambda: self._certificates or first, tls.require_client_certificate
            )
            return self._server.add_secure_port(address, credentials)
        except RuntimeError as error:
            raise PermanentError(f"cannot listen on {address}: {error}") from error


def server_context(tls: ServerTlsConfig) -> ssl.SSLContext:
    """Return the HTTP server's context; raises PermanentError for files that are no certificates."""
    try:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=tls.client_ca_file)
        context.load_cert_chain(tls.cert_file, tls.key_file)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise PermanentError(f"tls cannot be used: {error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if tls.client_ca_file is not None:
        context.verify_mode = ssl.CERT_REQUIRED if tls.require_client_certificate else ssl.CERT_OPTIONAL
    return context


def _grpc_certificates(tls: ServerTlsConfig) -> grpc.ServerCertificateConfiguration:
    # gRPC takes files as they are and refuses every handshake when they are wrong: OpenSSL says so before.
    server_context(tls)
    try:
        pair = (tls.key_file.read_bytes(), tls.cert_file.read_bytes())
        authority = tls.client_ca_file.read_bytes() if tls.client_ca_file is not None else None
    except OSError as error:
        raise PermanentError(f"tls cannot be used: {error}") from error
    return grpc.ssl_server_certificate_configuration([pair], root_certificates=authority)


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
