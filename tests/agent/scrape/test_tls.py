"""Scraping over TLS, from a server that is not of our make: Prometheus' own metrics page, with client certificates."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from agent.config.scrape import ScrapeConfig
from agent.scrape.body import Buffers
from agent.scrape.fetch import HttpFetch, new_session
from agent.scrape.labelling import ScrapeError
from pipeline.http_client import HttpAccess
from tests.certificates import CA, CLIENT, CLIENT_KEY, SERVER, SERVER_KEY
from tests.servers.processes import Process, free_port
from tests.servers.prometheus import prometheus_program

pytestmark = pytest.mark.prometheus

HASH = "$2b$12$hNf2lSsxfm0.i4a.1kVpSOVyBCfIB51VRjgBUyv6kdnyTlgWj81Ay"
"""bcrypt of "test"."""
TRUST = {"ca_file": str(CA)}
SHOW = {**TRUST, "cert_file": str(CLIENT), "key_file": str(CLIENT_KEY)}
USER = {"username": "u", "password": "test"}


@asynccontextmanager
async def target(folder: Path, **tls: Any) -> AsyncIterator[str]:
    """Run a Prometheus that serves its page over TLS only, to user u."""
    server = {"cert_file": str(SERVER), "key_file": str(SERVER_KEY), **tls}
    folder.joinpath("web.yml").write_text(json.dumps({"tls_server_config": server, "basic_auth_users": {"u": HASH}}))
    folder.joinpath("prometheus.yml").write_text("{}")
    port = free_port()
    program = await asyncio.to_thread(prometheus_program)
    listen = ("--web.config.file=web.yml", f"--web.listen-address=127.0.0.1:{port}", "--storage.tsdb.path=data")
    process = Process((program.path, "--config.file=prometheus.yml", *listen), folder)

    async def ready() -> bool:
        return process.said("Server is ready to receive web requests")

    await process.start(ready)
    try:
        yield f"https://127.0.0.1:{port}/metrics"
    finally:
        await process.kill()


async def scrape(url: str, **keys: Any) -> str:
    job = ScrapeConfig.model_validate({"job_name": "j", "scheme": "https", "basic_auth": USER, **keys})
    async with new_session("test/1") as session:
        answer = await HttpFetch(session, HttpAccess(job, time.time), job, url, 10.0, "test/1")(Buffers())
        return bytes(answer.body.buffer[: answer.body.size]).decode()


CLIENTS = {"client_auth_type": "RequireAndVerifyClientCert", "client_ca_file": str(CA)}


async def test_a_page_is_scraped_with_a_client_certificate(tmp_path: Path) -> None:
    async with target(tmp_path, **CLIENTS) as url:
        inline = {"ca": CA.read_text(), "cert": CLIENT.read_text(), "key": CLIENT_KEY.read_text()}
        for tls in (SHOW, inline, {**SHOW, "server_name": "server.test"}, {**SHOW, "insecure_skip_verify": True}):
            assert "prometheus_build_info" in await scrape(url, tls_config=tls)


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"tls_config": TRUST}, "certificate required|bad certificate|handshake failure|Connection reset"),
        ({"tls_config": {**SHOW, "ca_file": str(CLIENT)}}, "certificate verify failed"),
        ({"tls_config": {}}, "certificate verify failed"),
        ({"tls_config": {**SHOW, "server_name": "other.test"}}, "Hostname mismatch"),
        ({"tls_config": SHOW, "basic_auth": {"username": "u", "password": "wrong"}}, "401 Unauthorized"),
        ({"tls_config": {**SHOW, "max_version": "TLS12"}}, "protocol version|handshake failure|alert"),
    ],
    ids=["no certificate", "other authority", "unknown authority", "other name", "other password", "old version"],
)
async def test_what_does_not_fit_is_a_failed_scrape_with_its_reason(
    keys: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    async with target(tmp_path, min_version="TLS13", **CLIENTS) as url:
        with pytest.raises(ScrapeError, match=reason):
            await scrape(url, **keys)


async def test_a_rotated_certificate_is_read_again(tmp_path: Path) -> None:
    certificate, key = tmp_path / "client.pem", tmp_path / "client.key"
    certificate.write_bytes(b"nothing yet")
    key.write_bytes(CLIENT_KEY.read_bytes())
    tls = {**TRUST, "cert_file": str(certificate), "key_file": str(key)}
    job = ScrapeConfig.model_validate({"job_name": "j", "scheme": "https", "basic_auth": USER, "tls_config": tls})
    async with target(tmp_path, **CLIENTS) as url, new_session("test/1") as session:
        fetch = HttpFetch(session, HttpAccess(job, time.time), job, url, 10.0, "test/1")
        with pytest.raises(ScrapeError, match="tls_config cannot be used"):
            await fetch(Buffers())
        beside = tmp_path / "next"
        beside.write_bytes(CLIENT.read_bytes())
        beside.replace(certificate)
        assert (await fetch(Buffers())).body.size
