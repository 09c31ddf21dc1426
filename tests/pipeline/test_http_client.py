import os
import ssl
import tempfile
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
from pipeline.http_client import HttpAccess, why_no_answer
from pipeline.http_config import HttpClientConfig
from tests.certificates import CA, CLIENT, CLIENT_KEY, SERVER, SERVER_KEY
from tests.pipeline.proxy import proxying
from tests.servers.processes import free_port

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


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="the system has no memory that has a path")
async def test_a_client_key_that_is_inline_is_on_no_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")  # No temporary file can be made.
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


@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
async def test_a_proxy_carries_requests(secure: bool) -> None:
    connect = {"X-Pass": ["please"]}
    async with proxying() as proxy, serving(tls=server_tls() if secure else None) as url:
        at = access(
            proxy_url=proxy.url, proxy_connect_header=connect, tls_config={"ca_file": str(CA)}, bearer_token="b"
        )
        answer = await ask(url, at)
        assert answer["url"].endswith("/x")
        assert sent(answer, "Authorization") == ["Bearer b"]
        port = url.split(":")[2].removesuffix("/x")
        if secure:
            assert proxy.asked == [f"CONNECT 127.0.0.1:{port} HTTP/1.1"]
            assert proxy.headers["x-pass"] == "please"
            assert "authorization" not in proxy.headers
        else:
            assert proxy.asked == [f"GET {url} HTTP/1.1"]
            assert "x-pass" not in proxy.headers


async def test_a_proxy_s_own_credentials_are_for_the_proxy() -> None:
    async with proxying() as proxy, serving(tls=server_tls()) as url:
        at = access(proxy_url=proxy.url.replace("//", "//user:pass@"), tls_config={"ca_file": str(CA)})
        answer = await ask(url, at)
        assert proxy.headers["proxy-authorization"] == "Basic dXNlcjpwYXNz"
        assert sent(answer, "Proxy-Authorization") == []


async def test_a_proxy_over_tls_is_trusted_as_the_target_is() -> None:
    async with proxying(server_tls()) as proxy, serving() as url:
        assert (await ask(url, access(proxy_url=proxy.url, tls_config={"ca_file": str(CA)})))["url"] == url
        assert proxy.asked == [f"GET {url} HTTP/1.1"]


async def test_exempt_hosts_and_the_environment_decide_whether_there_is_a_proxy() -> None:
    async with proxying() as proxy, serving() as url:
        await ask(url, access(proxy_url=proxy.url, no_proxy="elsewhere"))
        assert proxy.asked == [], "loopback is exempt where anything is"
        config = HttpClientConfig.model_validate({"proxy_from_environment": True})
        at = HttpAccess(config, lambda: 0.0, {"HTTP_PROXY": proxy.url})
        async with aiohttp.ClientSession() as session:
            assert (await at.arguments(session, "http://elsewhere.invalid/y"))["proxy"] == proxy.url
            assert "proxy" not in await at.arguments(session, url)


SECRETS: dict[str, Any] = {"X-Key": {"secrets": ["k"]}, "X-Open": {"values": ["o"]}}


@pytest.mark.parametrize(
    ("way", "arrives"), [("/y", True), ("same host", True), ("other host", False), ("back", False)]
)
async def test_credentials_stay_with_their_host_along_redirects(way: str, arrives: bool) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        if request.path == "/x":
            raise web.HTTPFound(ways[way])
        if request.path == "/away":
            raise web.HTTPFound(other.replace("localhost", "127.0.0.1").replace("/x", "/y"))
        return await echo(request)

    async with serving(handler) as url, serving(handler) as elsewhere:
        other = elsewhere.replace("127.0.0.1", "localhost")
        ways = {
            "/y": "/y",
            "same host": elsewhere.replace("/x", "/y"),
            "other host": other.replace("/x", "/y"),
            "back": other.replace("/x", "/away"),
        }
        answer = await ask(url, access(basic_auth={"username": "u"}, http_headers=SECRETS))
        assert (sent(answer, "Authorization") == ["Basic dTo="]) is arrives
        assert (sent(answer, "X-Key") == ["k"]) is arrives
        assert sent(answer, "X-Open") == ["o"]


async def test_a_redirect_to_tls_is_trusted_as_configured_and_credentials_go_along() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        raise web.HTTPMovedPermanently(secure)

    tls = {"ca_file": str(CA), "server_name": "server.test"}
    async with serving(tls=server_tls()) as secure, serving(handler) as url:
        answer = await ask(url, access(bearer_token="b", tls_config=tls))
        assert answer["url"].startswith("https://")
        assert sent(answer, "Authorization") == ["Bearer b"]


async def test_credentials_are_not_sent_where_a_redirect_leaves_tls() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        raise web.HTTPFound(plain)

    async with serving() as plain, serving(handler, tls=server_tls()) as url:
        answer = await ask(url, access(bearer_token="b", tls_config={"ca_file": str(CA)}))
        assert sent(answer, "Authorization") == []


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


async def test_a_token_server_may_want_the_secret_in_the_form_and_tells_the_token_s_kind(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("one\n")
    asked: list[str] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        if request.path != "/token":
            return await echo(request)
        form = await request.post()
        asked.append("basic" if "Authorization" in request.headers else "form")
        if form.get("client_id") != "i" or form.get("client_secret") not in ("one", "two"):
            return web.json_response({"error": "invalid_client"}, status=401)
        return web.json_response(
            {"access_token": f"t{form['client_secret']!s}", "token_type": "bearer", "expires_in": 600}
        )

    async with serving(handler, tls=server_tls()) as url, proxying() as proxy:
        oauth2 = {
            "client_id": "i",
            "client_secret_file": str(secret),
            "token_url": url.removesuffix("/x") + "/token",
            "tls_config": {"ca_file": str(CA)},
            "proxy_url": proxy.url,
        }
        at = access(oauth2=oauth2, tls_config={"ca_file": str(CA)})
        assert sent(await ask(url, at), "Authorization") == ["Bearer tone"]
        assert asked == ["basic", "form"]
        assert proxy.asked[0].startswith("CONNECT ")
        beside = tmp_path / "next"
        beside.write_text("two")
        beside.replace(secret)
        assert sent(await ask(url, at), "Authorization") == ["Bearer ttwo"]
        assert asked == ["basic", "form", "form"], "what the server wants is remembered"


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


async def test_that_nobody_listens_is_said_in_few_words() -> None:
    port = free_port()
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientConnectorError) as refused:
            await session.get(f"http://127.0.0.1:{port}/")
        with pytest.raises(aiohttp.ClientConnectorError) as unknown:
            await session.get("http://name.invalid:1/")
    assert why_no_answer(refused.value) == f"cannot connect to 127.0.0.1:{port}: Connection refused"
    assert why_no_answer(unknown.value).startswith("cannot connect to name.invalid:1: ")
    assert "ssl:" not in why_no_answer(unknown.value)
    assert why_no_answer(aiohttp.ServerDisconnectedError()) == "Server disconnected"
