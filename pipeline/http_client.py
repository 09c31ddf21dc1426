"""From a section of Prometheus' HTTP vocabulary to the arguments of aiohttp's requests.

Make one `HttpAccess` of a section, and give its `arguments` to every request. Files (tokens, passwords, certificates)
are read again when they change.
"""

import os
import ssl
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TypedDict

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from pipeline.http_config import HttpClientConfig
from pipeline.http_oauth2 import TokenSource, basic
from pipeline.http_proxy import Proxies, connect_headers, proxies_of
from pipeline.http_tls import FileTexts, TlsContext


class RequestArguments(TypedDict, total=False):
    """What `aiohttp.ClientSession.request` takes from here."""

    headers: CIMultiDict[str]
    ssl: ssl.SSLContext | bool
    server_hostname: str
    proxy: str
    proxy_headers: CIMultiDict[str]
    allow_redirects: bool
    middlewares: tuple[aiohttp.ClientMiddlewareType, ...]


def why_no_answer(error: Exception) -> str:
    """Say in few words why a request got no answer; aiohttp's own for a refused connection are about its settings."""
    if isinstance(error, aiohttp.ClientSSLError) or not isinstance(error, aiohttp.ClientConnectorError):
        return str(error) or type(error).__name__
    cause, number = error.os_error, error.os_error.errno or 0
    # asyncio words what the system says anew; a resolver's own numbers are below 0.
    reason = os.strerror(number) if number > 0 else cause.strerror or str(cause)
    return f"cannot connect to {error.host}:{error.port}: {reason}"


class HttpAccess:
    """Turns one `HttpClientConfig` into the arguments of requests; holds what was read from files, and the token.

    `clock` gives seconds; `environment` is what `proxy_from_environment` means.
    """

    def __init__(
        self, config: HttpClientConfig, clock: Callable[[], float], environment: Mapping[str, str] = os.environ
    ) -> None:
        self._config = config
        self._environment = environment
        self._files = FileTexts()
        self._tls = TlsContext(config.tls_config, self._files)
        self._tokens = TokenSource(config.oauth2, self._files, environment, clock) if config.oauth2 else None

    async def arguments(
        self, session: aiohttp.ClientSession, url: str, headers: Mapping[str, str] | None = None
    ) -> RequestArguments:
        """Return what a request to `url` takes beside `headers`; may fetch a token through `session`.

        Raises PipelineError where a file cannot be read, holds no certificate, or no token is given out.
        """
        config = self._config
        out = CIMultiDict(headers or {})
        secrets = CIMultiDict[str]()
        for name, header in config.http_headers.items():
            for value in header.values:
                out.add(name, value)
            for secret in header.secrets:
                secrets.add(name, secret.get_secret_value())
            for file in header.files:
                secrets.add(name, self._files.text(file))
        if authorization := await self._authorization(session):
            out.popall("Authorization", None)
            secrets["Authorization"] = authorization
        arguments = RequestArguments(headers=out, allow_redirects=config.follow_redirects)
        if secrets:
            arguments["middlewares"] = (_AddSecrets(secrets),)
        # A plain URL may redirect to https, so the context is given there too, if it is not aiohttp's own.
        if not self._tls.is_default:
            arguments["ssl"] = self._tls.context()
            if self._tls.server_name:
                arguments["server_hostname"] = self._tls.server_name
        if proxy := self._proxies.for_url(url):
            arguments["proxy"] = proxy
            arguments["proxy_headers"] = connect_headers(config)
        return arguments

    @cached_property
    def _proxies(self) -> Proxies:
        return proxies_of(self._config, self._environment)

    async def _authorization(self, session: aiohttp.ClientSession) -> str:
        config = self._config
        if config.basic_auth is not None:
            part = config.basic_auth
            user, password = part.username, part.password.get_secret_value()
            if part.username_file:
                user = self._files.text(part.username_file)
            if part.password_file:
                password = self._files.text(part.password_file)
            return basic(user, password)
        if config.authorization is not None:
            credentials = config.authorization.credentials.get_secret_value()
            if config.authorization.credentials_file:
                credentials = self._files.text(config.authorization.credentials_file)
            return f"{config.authorization.type.strip() or 'Bearer'} {credentials}" if credentials else ""
        if config.bearer_token_file is not None:
            return "Bearer " + self._files.text(config.bearer_token_file)
        if token := config.bearer_token.get_secret_value():
            return "Bearer " + token
        return await self._tokens.authorization(session) if self._tokens is not None else ""


class _AddSecrets:
    """Adds credentials to the requests of a chain of redirects: to the host that they are for, and its subdomains.

    Once the chain has left the host, or encryption, they stay away for the rest of it.
    """

    def __init__(self, secrets: CIMultiDict[str]) -> None:
        self._secrets = secrets
        self._last = URL()
        self._host = ""
        self._left = False

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        url = request.url
        self._host = self._host or url.host or ""
        decrypted = self._last.scheme == "https" and url.scheme != "https"
        self._left = self._left or decrypted or not _is_within(url.host or "", self._host)
        self._last = url
        if not self._left:
            request.headers.extend(self._secrets)
        return await handler(request)


def _is_within(host: str, domain: str) -> bool:
    # An address has no subdomains; one of IPv6 may end like a name.
    return host == domain or (host.endswith("." + domain) and ":" not in host and not domain[-1:].isdigit())
