"""From a section of Prometheus' HTTP vocabulary to the arguments of aiohttp's requests.

Make one `HttpAccess` of a section, and give its `arguments` to every request. Files (tokens, passwords, certificates)
are read again when they change.
"""

import asyncio
import base64
import os
import ssl
import tempfile
from collections.abc import Callable, Mapping
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import TypedDict
from urllib.parse import quote_plus, urlsplit

import aiohttp
from multidict import CIMultiDict

from pipeline.errors import PermanentError, TransientError
from pipeline.http_config import HttpClientConfig, OAuth2, TlsConfig

_TLS_VERSIONS = {
    "TLS10": ssl.TLSVersion.TLSv1,
    "TLS11": ssl.TLSVersion.TLSv1_1,
    "TLS12": ssl.TLSVersion.TLSv1_2,
    "TLS13": ssl.TLSVersion.TLSv1_3,
}


class RequestArguments(TypedDict, total=False):
    """What `aiohttp.ClientSession.request` takes from here."""

    headers: CIMultiDict[str]
    ssl: ssl.SSLContext | bool
    server_hostname: str
    proxy: str
    proxy_headers: CIMultiDict[str]
    allow_redirects: bool


class HttpAccess:
    """Turns one `HttpClientConfig` into the arguments of requests; holds what was read from files, and the token."""

    def __init__(self, config: HttpClientConfig, clock: Callable[[], float]) -> None:
        self._config = config
        self._clock = clock
        self._files = _Files()
        self._tls = _Tls(config.tls_config, self._files)
        self._oauth2_tls = _Tls(config.oauth2.tls_config, self._files) if config.oauth2 else None
        self._token = ""
        self._token_until_s = 0.0
        self._token_lock = asyncio.Lock()

    async def arguments(
        self, session: aiohttp.ClientSession, url: str, headers: Mapping[str, str] | None = None
    ) -> RequestArguments:
        """Return what a request to `url` takes beside `headers`; may fetch a token through `session`.

        Raises TransientError where a file cannot be read, holds no certificate, or no token is given out.
        """
        config = self._config
        out = CIMultiDict(headers or {})
        for name, header in config.http_headers.items():
            for value in header.values:
                out.add(name, value)
            for secret in header.secrets:
                out.add(name, secret.get_secret_value())
            for file in header.files:
                out.add(name, self._files.text(file))
        if authorization := await self._authorization(session):
            out["Authorization"] = authorization
        arguments = RequestArguments(headers=out, allow_redirects=config.follow_redirects)
        self._add_tls(arguments, url, self._tls)
        if config.proxy_url and not _is_exempt(urlsplit(url).hostname or "", config.no_proxy):
            arguments["proxy"] = config.proxy_url
            if config.proxy_connect_header:
                connect = CIMultiDict[str]()
                for name, secrets in config.proxy_connect_header.items():
                    for secret in secrets:
                        connect.add(name, secret.get_secret_value())
                arguments["proxy_headers"] = connect
        return arguments

    def _add_tls(self, arguments: RequestArguments, url: str, tls: "_Tls") -> None:
        # A plain URL may redirect to https, so the context is given there too, if it is not aiohttp's own.
        if not tls.is_default:
            arguments["ssl"] = tls.context()
            if tls.server_name and url.startswith("https:"):
                arguments["server_hostname"] = tls.server_name

    async def _authorization(self, session: aiohttp.ClientSession) -> str:
        config = self._config
        if config.basic_auth is not None:
            basic = config.basic_auth
            user, password = basic.username, basic.password.get_secret_value()
            if basic.username_file:
                user = self._files.text(basic.username_file)
            if basic.password_file:
                password = self._files.text(basic.password_file)
            return _basic(user, password)
        if config.authorization is not None:
            part = config.authorization
            credentials = part.credentials.get_secret_value()
            if part.credentials_file:
                credentials = self._files.text(part.credentials_file)
            return f"{part.type.strip() or 'Bearer'} {credentials}" if credentials else ""
        if config.bearer_token_file is not None:
            return "Bearer " + self._files.text(config.bearer_token_file)
        if token := config.bearer_token.get_secret_value():
            return "Bearer " + token
        if config.oauth2 is None:
            return ""
        async with self._token_lock:  # A job's targets share one token, and ask for it once.
            return "Bearer " + await self._oauth2_token(session, config.oauth2)

    async def _oauth2_token(self, session: aiohttp.ClientSession, oauth2: OAuth2) -> str:
        """Return a token that is good for ten more seconds (RFC 6749, section 4.4; the secret travels as Basic)."""
        if self._token and self._clock() < self._token_until_s - 10:
            return self._token
        secret = oauth2.client_secret.get_secret_value()
        if oauth2.client_secret_file:
            secret = self._files.text(oauth2.client_secret_file)
        form = {"grant_type": "client_credentials", **oauth2.endpoint_params}
        if oauth2.scopes:
            form["scope"] = " ".join(oauth2.scopes)
        # The answer must be readable through a session that leaves compressed bodies alone, too.
        arguments = RequestArguments(headers=CIMultiDict({"Accept-Encoding": "identity"}))
        assert self._oauth2_tls is not None
        self._add_tls(arguments, oauth2.token_url, self._oauth2_tls)
        if oauth2.proxy_url:
            arguments["proxy"] = oauth2.proxy_url
        # RFC 6749, section 2.3.1: both parts are form-encoded before they become Basic credentials.
        arguments["headers"]["Authorization"] = _basic(quote_plus(oauth2.client_id), quote_plus(secret))
        try:
            async with session.post(oauth2.token_url, data=form, **arguments) as response:
                body = await response.json(content_type=None) if response.ok else None
                status = response.status
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise TransientError(f"no token from {oauth2.token_url}: {error or type(error).__name__}") from error
        if not isinstance(body, dict) or not isinstance(body.get("access_token"), str):
            raise TransientError(f"no token from {oauth2.token_url}: it answered {status}")
        lifetime_s = body.get("expires_in")
        self._token = body["access_token"]
        # Without a lifetime the token is asked for again after a minute: no server has to take it longer.
        self._token_until_s = self._clock() + (float(lifetime_s) if isinstance(lifetime_s, int | float) else 70.0)
        return self._token


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


class _Files:
    """The text of small files, read again when they change."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[tuple[int, int, int], str]] = {}

    def stamp(self, path: Path) -> tuple[int, int, int]:
        """Return what changes when the file does."""
        try:
            stat = path.stat()
        except OSError as error:
            raise TransientError(f"cannot read {path}: {error.strerror}") from error
        return stat.st_mtime_ns, stat.st_size, stat.st_ino

    def text(self, path: Path) -> str:
        """Return the file's text without the white space around it."""
        stamp = self.stamp(path)
        known = self._known.get(path)
        if known is not None and known[0] == stamp:
            return known[1]
        try:
            text = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise TransientError(f"cannot read {path}: {error}") from error
        self._known[path] = (stamp, text)
        return text


class _Tls:
    """The context of one `tls_config`, made again when one of its files changes."""

    def __init__(self, config: TlsConfig, files: _Files) -> None:
        self._config = config
        self._files = files
        self._made: tuple[list[tuple[int, int, int]], ssl.SSLContext] | None = None
        self.is_default = config == TlsConfig()
        self.server_name = config.server_name

    def context(self) -> ssl.SSLContext:
        config = self._config
        stamps = [self._files.stamp(path) for path in (config.ca_file, config.cert_file, config.key_file) if path]
        if self._made is None or self._made[0] != stamps:
            try:
                self._made = (stamps, make_tls_context(config))
            except PermanentError as error:
                raise TransientError(str(error)) from error
        return self._made[1]


def make_tls_context(config: TlsConfig) -> ssl.SSLContext:
    """Return a client's context for a `tls_config`; raises PermanentError for files that are no certificates."""
    try:
        context = ssl.create_default_context(cafile=config.ca_file, cadata=config.ca or None)
        if config.cert_file or config.cert:
            _load_client_certificate(context, config)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise PermanentError(f"tls_config cannot be used: {error}") from error
    if config.insecure_skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.minimum_version = _TLS_VERSIONS[config.min_version or "TLS12"]
    if config.max_version:
        context.maximum_version = _TLS_VERSIONS[config.max_version]
    return context


def _load_client_certificate(context: ssl.SSLContext, config: TlsConfig) -> None:
    # OpenSSL's loader, as Python has it, reads files only: inline PEM passes through one that only we can read.
    with tempfile.TemporaryDirectory() as folder:
        cert_file, key_file = config.cert_file, config.key_file
        if cert_file is None:
            cert_file = Path(folder, "cert.pem")
            cert_file.write_text(config.cert)
        if key_file is None:
            key_file = Path(folder, "key.pem")
            key_file.touch(mode=0o600)
            key_file.write_text(config.key.get_secret_value())
        context.load_cert_chain(os.fspath(cert_file), os.fspath(key_file))


def _is_exempt(host: str, no_proxy: str) -> bool:
    """Tell whether `no_proxy` (names, `.domain`, addresses and networks, by commas) names the host."""
    for part in filter(None, (part.strip() for part in no_proxy.split(","))):
        name = part.lstrip("*").lstrip(".")
        if part == "*" or host == name or (host.endswith("." + name)):
            return True
        try:
            if ip_address(host) in ip_network(part, strict=False):
                return True
        except ValueError:
            continue
    return False
