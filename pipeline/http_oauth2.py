"""Tokens by the client_credentials grant (RFC 6749, section 4.4), kept until they end.

As Go's client does it: the client's secret travels as Basic credentials, and in the form where a server refuses that.
"""

import asyncio
import base64
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote_plus

import aiohttp

from pipeline.errors import TransientError
from pipeline.http_config import OAuth2
from pipeline.http_proxy import connect_headers, proxies_of
from pipeline.http_tls import FileTexts, TlsContext

EXPIRY_S = 10.0
"""A token this close to its end is not used any more."""
UNTOLD_S = 70.0
"""How long a token is used whose lifetime the server does not tell."""
_TYPES = {"bearer": "Bearer", "mac": "MAC", "basic": "Basic"}


class TokenSource:
    """Asks for a token when there is none that is good, once for all requests of a section."""

    def __init__(
        self, config: OAuth2, files: FileTexts, environment: Mapping[str, str], clock: Callable[[], float]
    ) -> None:
        self._config = config
        self._files = files
        self._environment = environment
        self._clock = clock
        self._tls = TlsContext(config.tls_config, files)
        self._one = asyncio.Lock()
        self._secret = ""
        self._authorization = ""
        self._until_s = 0.0
        self._in_form = False

    async def authorization(self, session: aiohttp.ClientSession) -> str:
        """Return the header's value; raises TransientError where no token is given out."""
        async with self._one:
            secret = self._config.client_secret.get_secret_value()
            if self._config.client_secret_file:
                secret = self._files.text(self._config.client_secret_file)
            if secret != self._secret or self._clock() >= self._until_s - EXPIRY_S:
                self._take(await self._ask(session, secret))
                self._secret = secret
            return self._authorization

    def _take(self, answer: Mapping[str, Any]) -> None:
        kind = str(answer.get("token_type") or "Bearer")
        self._authorization = f"{_TYPES.get(kind.lower(), kind)} {answer['access_token']}"
        lifetime_s = answer.get("expires_in")
        try:
            self._until_s = self._clock() + (float(lifetime_s) if lifetime_s else UNTOLD_S)
        except (TypeError, ValueError):
            self._until_s = self._clock() + UNTOLD_S

    async def _ask(self, session: aiohttp.ClientSession, secret: str) -> Mapping[str, Any]:
        status = 0
        for in_form in (self._in_form, not self._in_form):
            status, answer = await self._post(session, secret, in_form)
            if isinstance(answer, dict) and isinstance(answer.get("access_token"), str):
                self._in_form = in_form
                return answer
        raise TransientError(f"no token from {self._config.token_url}: it answered {status}")

    async def _post(self, session: aiohttp.ClientSession, secret: str, in_form: bool) -> tuple[int, object]:
        config = self._config
        form = {"grant_type": "client_credentials"}
        if config.scopes:
            form["scope"] = " ".join(config.scopes)
        form |= config.endpoint_params
        # The answer must be readable through a session that leaves compressed bodies alone, too.
        headers = {"Accept-Encoding": "identity"}
        if in_form:
            form |= {"client_id": config.client_id, "client_secret": secret}
        else:
            # RFC 6749, section 2.3.1: both parts are form-encoded before they become Basic credentials.
            headers["Authorization"] = basic(quote_plus(config.client_id), quote_plus(secret))
        arguments: dict[str, Any] = {"headers": headers}
        if not self._tls.is_default:
            arguments["ssl"] = self._tls.context()
            arguments["server_hostname"] = self._tls.server_name or None
        if proxy := proxies_of(config, self._environment).for_url(config.token_url):
            arguments |= {"proxy": proxy, "proxy_headers": connect_headers(config)}
        try:
            async with session.post(config.token_url, data=form, **arguments) as response:
                return response.status, await response.json(content_type=None) if response.ok else None
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise TransientError(f"no token from {config.token_url}: {error or type(error).__name__}") from error


def basic(user: str, password: str) -> str:
    """Return an Authorization header's value (RFC 7617)."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
