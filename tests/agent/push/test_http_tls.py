"""The agent and an HTTPS gateway prove themselves to one another with whatever a `tls_config` may say."""

import ssl
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from agent.config.agent import GatewayClientConfig
from agent.push.http import HttpTransport
from pipeline.errors import TransientError
from pipeline.wire.push_pb2 import Batch
from tests.certificates import CA, CLIENT, CLIENT_KEY, SERVER, SERVER_KEY


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """A stand-in for a gateway that asks for a client's certificate and speaks TLS 1.2 only."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(CA))
    context.load_cert_chain(SERVER, SERVER_KEY)
    context.verify_mode = ssl.CERT_REQUIRED
    context.maximum_version = ssl.TLSVersion.TLSv1_2

    async def answer(_: web.BaseRequest) -> web.Response:
        return web.Response(content_type="application/x-protobuf")

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    yield runner.addresses[0][1]
    await runner.cleanup()


async def push(port: int, tls_config: dict[str, Any]) -> None:
    config = GatewayClientConfig.model_validate({"url": f"https://127.0.0.1:{port}", "tls_config": tls_config})
    async with HttpTransport(config).session() as session:
        await session.send(Batch(payload=b"x"))
        await session.flush()


async def test_a_certificate_may_stand_in_the_configuration(port: int) -> None:
    inline = {"ca": CA.read_text(), "cert": CLIENT.read_text(), "key": CLIENT_KEY.read_text()}
    await push(port, inline)
    files = {"ca_file": str(CA), "cert_file": str(CLIENT), "key_file": str(CLIENT_KEY)}
    await push(port, files)
    with pytest.raises(TransientError):
        await push(port, {"ca_file": str(CA)})


async def test_the_server_is_asked_for_by_the_name_that_is_configured(port: int) -> None:
    files = {"ca_file": str(CA), "cert_file": str(CLIENT), "key_file": str(CLIENT_KEY)}
    await push(port, {**files, "server_name": "server.test"})
    with pytest.raises(TransientError, match=r"elsewhere\.test"):
        await push(port, {**files, "server_name": "elsewhere.test"})


async def test_the_version_is_the_one_that_is_configured(port: int) -> None:
    files = {"ca_file": str(CA), "cert_file": str(CLIENT), "key_file": str(CLIENT_KEY)}
    with pytest.raises(TransientError):
        await push(port, {**files, "min_version": "TLS13"})


async def test_files_that_are_no_certificates_are_named_and_tried_again(port: int) -> None:
    with pytest.raises(TransientError, match="tls_config"):
        await push(port, {"ca_file": str(CLIENT_KEY)})
