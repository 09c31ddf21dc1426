import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from pydantic import ValidationError

from pipeline.errors import TransientError
from pipeline.http_client import HttpAccess
from pipeline.http_config import HttpClientConfig
from tests.certificates import CA, CLIENT, CLIENT_KEY, SERVER, SERVER_KEY

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def echo(request: web.Request) -> web.StreamResponse:
    """Answer with what arrived."""
    transport = request.transport
    assert transport is not None
    certificate = transport.get_extra_info("peercert")
    subject = [value for part in certificate["subject"] for _, value in part] if certificate else []
    headers = [[name, value] for name, value in request.headers.items()]
    return web.json_response({"headers": headers, "client": subject, "url": str(request.url)})


@asynccontextmanager
async def serving(handler: Handler = echo, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    server = TestServer(app, host="127.0.0.1", scheme="https" if tls else "http")
    await server.start_server(ssl=tls)
    try:
        yield str(server.make_url("/x"))
    finally:
        await server.close()


async def ask(url: str, access: HttpAccess, headers: dict[str, str] | None = None) -> dict[str, Any]:
    async with aiohttp.ClientSession() as session:
        arguments = await access.arguments(session, url, headers)
        async with session.get(url, **arguments) as response:
            answer: dict[str, Any] = await response.json()
            return answer


def access(**keys: Any) -> HttpAccess:
    return HttpAccess(HttpClientConfig.model_validate(keys), lambda: 0.0)


def sent(answer: dict[str, Any], name: str) -> list[str]:
    return [value for key, value in answer["headers"] if key.lower() == name.lower()]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({}, []),
        ({"basic_auth": {"username": "u", "password": "pä"}}, ["Basic dTpww6Q="]),
        ({"authorization": {"type": "Token", "credentials": "c"}}, ["Token c"]),
        ({"authorization": {"credentials": "c"}}, ["Bearer c"]),
        ({"bearer_token": "b"}, ["Bearer b"]),
    ],
)
async def test_an_identity_is_sent(keys: dict[str, Any], expected: list[str]) -> None:
    async with serving() as url:
        assert sent(await ask(url, access(**keys)), "Authorization") == expected


async def test_secrets_in_files_are_read_again_when_they_change(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(" one\n")
    at = access(authorization={"credentials_file": str(token)})
    async with serving() as url:
        assert sent(await ask(url, at), "Authorization") == ["Bearer one"]
        beside = tmp_path / "next"
        beside.write_text("another\n")
        beside.replace(token)
        assert sent(await ask(url, at), "Authorization") == ["Bearer another"]
        token.unlink()
        with pytest.raises(TransientError, match=r"cannot read .*token: No such file"):
            await ask(url, at)


async def test_headers_of_the_caller_and_the_configuration_go_together(tmp_path: Path) -> None:
    (tmp_path / "h").write_text("three\n")
    header = {"values": ["one"], "secrets": ["two"], "files": [str(tmp_path / "h")]}
    async with serving() as url:
        answer = await ask(url, access(http_headers={"X-Many": header}), {"X-Mine": "m"})
    assert (sent(answer, "X-Many"), sent(answer, "X-Mine")) == (["one", "two", "three"], ["m"])


def server_tls(ask_client: bool = False) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(SERVER, SERVER_KEY)
    if ask_client:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(CA)
    return context


@pytest.mark.parametrize(
    "tls",
    [
        {"ca_file": str(CA)},
        {"ca": CA.read_text()},
        {"insecure_skip_verify": True},
        {"ca_file": str(CA), "server_name": "server.test", "min_version": "TLS13"},
    ],
    ids=["file", "inline", "unverified", "by name"],
)
async def test_a_server_is_trusted_as_configured(tls: dict[str, Any]) -> None:
    async with serving(tls=server_tls()) as url:
        assert (await ask(url, access(tls_config=tls)))["url"].endswith("/x")


@pytest.mark.parametrize("tls", [{}, {"ca_file": str(CA), "server_name": "other.test"}], ids=["unknown", "other name"])
async def test_a_server_that_is_not_to_be_trusted_is_not(tls: dict[str, Any]) -> None:
    async with serving(tls=server_tls()) as url:
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await ask(url, access(tls_config=tls))


@pytest.mark.parametrize("inline", [False, True], ids=["files", "inline"])
async def test_a_client_certificate_is_shown(inline: bool) -> None:
    tls = {"ca_file": str(CA), "cert_file": str(CLIENT), "key_file": str(CLIENT_KEY)}
    if inline:
        tls = {"ca": CA.read_text(), "cert": CLIENT.read_text(), "key": CLIENT_KEY.read_text()}
    async with serving(tls=server_tls(ask_client=True)) as url:
        assert (await ask(url, access(tls_config=tls)))["client"] == ["client.test"]


async def test_a_certificate_that_is_none_is_a_failure_that_may_pass(tmp_path: Path) -> None:
    authority = tmp_path / "ca.pem"
    authority.write_text("nothing yet")
    at = access(tls_config={"ca_file": str(authority)})
    async with serving(tls=server_tls()) as url:
        with pytest.raises(TransientError, match="tls_config cannot be used"):
            await ask(url, at)
        authority.write_text(CA.read_text())
        assert (await ask(url, at))["url"].endswith("/x")


async def test_redirects_are_followed_unless_they_should_not_be() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        if request.path != "/there":
            raise web.HTTPFound("/there")
        return await echo(request)

    async with serving(handler) as url:
        assert (await ask(url, access()))["url"].endswith("/there")
        async with aiohttp.ClientSession() as session:
            arguments = await access(follow_redirects=False).arguments(session, url)
            async with session.get(url, **arguments) as response:
                assert response.status == 302


async def test_a_proxy_is_asked_unless_the_host_is_exempt() -> None:
    async with serving() as proxy, serving() as url:
        proxy_url = proxy.removesuffix("/x")
        answer = await ask("http://elsewhere.invalid/y", access(proxy_url=proxy_url, no_proxy="127.0.0.0/8"))
        assert answer["url"] == "http://elsewhere.invalid/y"
        assert (await ask(url, access(proxy_url=proxy_url, no_proxy="127.0.0.0/8")))["url"] == url


async def test_an_oauth2_token_is_fetched_once_until_it_ends() -> None:
    forms: list[dict[str, str]] = []
    now_s = 0.0

    async def handler(request: web.Request) -> web.StreamResponse:
        if request.path != "/token":
            return await echo(request)
        forms.append({name: str(value) for name, value in (await request.post()).items()})
        assert request.headers["Authorization"] == "Basic aTpz"
        return web.json_response({"access_token": f"t{len(forms)}", "expires_in": 60})

    async with serving(handler) as url:
        oauth2 = {
            "client_id": "i",
            "client_secret": "s",
            "token_url": url.removesuffix("/x") + "/token",
            "scopes": ["a", "b"],
            "endpoint_params": {"audience": "x"},
        }
        at = HttpAccess(HttpClientConfig.model_validate({"oauth2": oauth2}), lambda: now_s)
        for _ in range(2):
            assert sent(await ask(url, at), "Authorization") == ["Bearer t1"]
        now_s = 55.0
        assert sent(await ask(url, at), "Authorization") == ["Bearer t2"]
    assert forms == [{"grant_type": "client_credentials", "scope": "a b", "audience": "x"}] * 2


async def test_no_token_is_a_failure_that_may_pass() -> None:
    async def handler(_: web.Request) -> web.StreamResponse:
        return web.Response(status=401)

    async with serving(handler) as url:
        with pytest.raises(TransientError, match=r"no token from .* it answered 401"):
            await ask(url, access(oauth2={"client_id": "i", "client_secret": "s", "token_url": url}))


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        (
            {"bearer_token": "a", "basic_auth": {}},
            "at most one of basic_auth, oauth2, bearer_token",
        ),
        ({"authorization": {"type": "Basic", "credentials": "x"}}, 'authorization type cannot be set to "basic"'),
        ({"oauth2": {"token_url": "http://x"}}, "oauth2 client_id must be configured"),
        ({"tls_config": {"cert": "x"}}, "a client certificate needs both"),
        ({"tls_config": {"ca": "x", "ca_file": "y"}}, "at most one of ca and ca_file"),
        ({"http_headers": {"Authorization": {"values": ["x"]}}}, 'setting header "Authorization" is not allowed'),
        ({"no_proxy": "x"}, "proxy_url must also be configured"),
    ],
)
def test_what_contradicts_itself_is_refused(keys: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        HttpClientConfig.model_validate(keys)
