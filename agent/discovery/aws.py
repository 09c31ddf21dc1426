"""Signed requests to AWS' Query APIs, through the agent's own HTTP client.

botocore finds credentials, regions and endpoints, and signs; it is imported when a job asks for it. Its own clients are
not used: they hold the loop or a thread, take twice the memory, and know few of the options of `<http_config>`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode
from xml.etree.ElementTree import Element, ParseError, XMLParser

import aiohttp

from agent.config.ec2 import Ec2SdConfig
from agent.discovery.ask import Answer, aside, read_answer
from agent.discovery.tools import Tools
from pipeline.errors import PermanentError, PipelineError, TransientError
from pipeline.http_client import HttpAccess

if TYPE_CHECKING:
    from botocore.credentials import Credentials
    from botocore.session import Session

_PIECE_BYTES: Final = 1 << 16
_FORM: Final = "application/x-www-form-urlencoded; charset=utf-8"
_STALE: Final = ("AuthFailure", "ExpiredToken", "RequestExpired", "InvalidClientTokenId")
"""Errors after which credentials are looked for anew."""


class Aws:
    """One service of AWS, asked as one section says."""

    def __init__(self, config: Ec2SdConfig, service: str, version: str, tools: Tools) -> None:
        self._config, self._service, self._version = config, service, version
        self._session = tools.session
        self._access = HttpAccess(config, tools.clock)
        self._identity: _Identity | None = None

    @property
    def region(self) -> str:
        """The region, once something was asked."""
        return self._identity.region if self._identity else self._config.region

    async def ask(self, action: str, params: Mapping[str, str]) -> Element:
        """Return the answer to an action, its names without a namespace; raises PipelineError."""
        form = {"Action": action, "Version": self._version, **params}
        body = urlencode(form).encode()
        timeout_s = self._config.refresh_interval
        try:
            async with asyncio.timeout(timeout_s):
                # Looking for credentials asks files and other services, and waits for them.
                url, headers = await asyncio.to_thread(self._sign, body)
                arguments = await self._access.arguments(self._session, url, headers)
                # A redirect would send what was signed for one server to another.
                arguments["allow_redirects"] = False
                async with self._session.post(url, data=body, **arguments) as response:
                    answer = await read_answer(url, response)
        except TimeoutError as error:
            raise TransientError(f"{self._service}: no answer to {action} within {timeout_s:g} s") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise TransientError(f"{self._service}: {action}: {error or type(error).__name__}") from error
        return await aside(answer, partial(self._read, action, answer))

    def _sign(self, body: bytes) -> tuple[str, dict[str, str]]:
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            if self._identity is None:
                self._identity = _Identity(self._config, self._service)
            identity = self._identity
            request = AWSRequest("POST", identity.url, headers={"Content-Type": _FORM}, data=body)
            frozen = identity.credentials.get_frozen_credentials()
            SigV4Auth(frozen, self._service, identity.region).add_auth(request)
        except (BotoCoreError, ClientError) as error:
            raise TransientError(f"{self._service}: {error}") from error
        return identity.url, dict(request.headers.items())

    def _read(self, action: str, answer: Answer) -> Element:
        try:
            root = _parse(answer.body)
        except ParseError as error:
            answer.require_ok()
            raise PermanentError(f"{answer.url}: not XML: {error}") from error
        for element in root.iter():
            element.tag = element.tag.rpartition("}")[2]
        if answer.status != 200:
            code, message = root.findtext(".//Error/Code", ""), root.findtext(".//Error/Message", "")
            if code in _STALE:
                self._identity = None
            raise _refusal(f"{self._service}: {action}: {code or answer.status}: {message or answer.reason}", answer)
        if root.tag != f"{action}Response":
            raise PermanentError(f"{answer.url}: not an answer to {action}: <{root.tag}>")
        return root


def _parse(body: bytes) -> Element:
    parser = XMLParser()
    for begin in range(0, len(body), _PIECE_BYTES):  # A page in one piece would hold all other threads.
        parser.feed(body[begin : begin + _PIECE_BYTES])
    return parser.close()


def _refusal(reason: str, answer: Answer) -> PipelineError:
    return (TransientError if answer.status >= 500 or answer.status == 429 else PermanentError)(reason)


class _Identity:
    """Who asks, and where: made once, in a thread."""

    def __init__(self, config: Ec2SdConfig, service: str) -> None:
        from botocore.session import Session

        session = Session(profile=config.profile or None)
        self.region = config.region or _region(session)
        self.url = config.endpoint.rstrip("/") + "/" if config.endpoint else _endpoint(session, service, self.region)
        self.credentials = _credentials(session, config, self.region)


def _region(session: Session) -> str:
    from botocore.utils import IMDSRegionProvider

    region = session.get_config_variable("region") or IMDSRegionProvider(session).provide()
    if not region:
        raise TransientError("could not determine AWS region: set region")
    return str(region)


def _endpoint(session: Session, service: str, region: str) -> str:
    from botocore.configprovider import ConfiguredEndpointProvider

    full, scoped = session.full_config, session.get_scoped_config()
    configured = ConfiguredEndpointProvider(full, scoped, service).provide()
    if configured:
        return str(configured).rstrip("/") + "/"
    resolver: Any = session.get_component("endpoint_resolver")
    found = resolver.construct_endpoint(
        service,
        region,
        use_dualstack_endpoint=bool(session.get_config_variable("use_dualstack_endpoint")),
        use_fips_endpoint=bool(session.get_config_variable("use_fips_endpoint")),
    )
    if not found:
        raise PermanentError(f"{region} has no endpoint of {service}: set endpoint")
    return f"https://{found['hostname']}/"


def _credentials(session: Session, config: Ec2SdConfig, region: str) -> Credentials:
    from botocore.credentials import AssumeRoleCredentialFetcher, Credentials, DeferredRefreshableCredentials

    secret = config.secret_key.get_secret_value()
    found = Credentials(config.access_key, secret) if config.access_key and secret else session.get_credentials()
    if found is None:
        raise TransientError("no AWS credentials: set access_key and secret_key, a profile, or give the agent a role")
    if not config.role_arn:
        return found

    def client(name: str, **arguments: Any) -> Any:
        return session.create_client(name, region_name=region, **arguments)

    extra = {"ExternalId": config.external_id} if config.external_id else {}
    fetcher = AssumeRoleCredentialFetcher(client, found, config.role_arn, extra_args=extra)
    return DeferredRefreshableCredentials(fetcher.fetch_credentials, "assume-role")
