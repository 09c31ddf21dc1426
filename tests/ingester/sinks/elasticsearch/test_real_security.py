"""An Elasticsearch with TLS and users: what the sink needs, and what it says where it may not."""

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from pipeline.delivery import Delivered, Retry
from tests.ingester.sinks.elasticsearch.parts import LogLane, request_of, running, section
from tests.servers.certificates import make_certificates
from tests.servers.elasticsearch import Elasticsearch

pytestmark = pytest.mark.elasticsearch

# docs/elasticsearch.md names these privileges.
ROLES = """
pronoia:
  cluster: [manage_index_templates]
  indices:
  - {names: ["t*"], privileges: [auto_configure, create_doc]}
nothing:
  cluster: []
"""
USERS = {"writer": "pronoia", "stranger": "nothing", "admin": "superuser"}
PASSWORD = "test-password"


@pytest.fixture
async def secured(tmp_path: Path) -> AsyncIterator[tuple[Elasticsearch, Path]]:
    folder = await asyncio.to_thread(make_certificates, tmp_path / "certificates")
    files = {
        "roles.yml": ROLES,
        "users": "".join(f"{user}:{PASSWORD}\n" for user in USERS),
        "users_roles": "".join(f"{role}:{user}\n" for user, role in USERS.items()),
        "server.key": (folder / "server.key").read_text(),
        "server.crt": (folder / "server.crt").read_text(),
        "ca.pem": (folder / "ca.pem").read_text(),
    }
    settings = {
        "xpack.security.enabled": "true",
        "xpack.security.http.ssl.enabled": "true",
        "xpack.security.http.ssl.key": "server.key",
        "xpack.security.http.ssl.certificate": "server.crt",
        "xpack.security.http.ssl.certificate_authorities": "ca.pem",
        "xpack.security.http.ssl.client_authentication": "optional",
        "xpack.security.transport.ssl.enabled": "false",
    }
    async with Elasticsearch(settings=settings, files=files, scheme="https") as server:
        yield server, folder


async def as_admin(server: Elasticsearch, folder: Path, method: str, path: str) -> Any:
    trust = ssl.create_default_context(cafile=folder / "ca.pem")
    headers = {"Authorization": "Basic " + base64.b64encode(f"admin:{PASSWORD}".encode()).decode()}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.request(method, server.url + path, ssl=trust) as response,
    ):
        answer = json.loads(await response.read())
        assert response.status == 200, answer
        return answer


async def test_a_user_with_the_documented_privileges_and_no_other_can_deliver(
    secured: tuple[Elasticsearch, Path],
) -> None:
    server, folder = secured
    piece, tls = LogLane().lines([b"one", b"two"]), {"ca_file": str(folder / "ca.pem")}
    user = {"username": "writer", "password": PASSWORD}
    async with running(section(server.url, basic_auth=user, tls_config=tls)) as run:
        for _ in range(2):
            assert (await run.deliver(piece)).delivered == 2
        await as_admin(server, folder, "POST", f"/{run.indices}/_refresh")
        assert (await as_admin(server, folder, "GET", f"/{run.indices}/_count"))["count"] == 2
    stream = section(server.url, basic_auth=user, tls_config=tls, data_stream=True)
    async with running(stream) as run:
        assert (await run.deliver(piece)).delivered == 2
    for wrong, words in (
        ({"basic_auth": {**user, "username": "stranger"}}, "manage_index_templates"),
        ({"basic_auth": {**user, "username": "stranger"}, "template": False}, "security_exception"),
        ({"basic_auth": {**user, "password": "wrong"}}, "unable to authenticate"),
        ({"basic_auth": user, "tls_config": {}}, "certificate"),
    ):
        async with running(section(server.url, **{"tls_config": tls, **wrong})) as run:
            retry = await run.send(request_of(piece))
            assert isinstance(retry, Retry) and retry.alarm and words in retry.reason, retry
    identity = {**tls, "cert_file": str(folder / "client.pem"), "key_file": str(folder / "client.pem")}
    async with running(section(server.url, basic_auth=user, tls_config=identity)) as run:
        assert isinstance(await run.send(request_of(piece)), Delivered)
