"""The questions that are put to Consul. Source: Consul documentation, HTTP API; hashicorp/consul, api/api.go."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypeVar
from urllib.parse import quote

import aiohttp
from pydantic import SecretStr, TypeAdapter

from agent.config.consul import ConsulSdConfig
from agent.discovery.ask import Answer, Shape, aside, ask
from agent.discovery.consul_targets import Instance, group_of_instances
from agent.discovery.groups import TargetGroup
from pipeline.errors import PermanentError
from pipeline.http_client import HttpAccess
from pipeline.http_config import BasicAuth

WAIT_S: Final = 120
"""How long Consul may hold a question back; it adds up to a sixteenth of it."""
HELD_ANSWER_S: Final = WAIT_S + 15.0
ANSWER_S: Final = 30.0
"""How long it has for what it does not hold back: a question without an index."""


class _Own(Shape):
    datacenter: str = ""


class _Self(Shape):
    config: _Own = _Own()


_SERVICES: Final = TypeAdapter(dict[str, list[str] | None])
_INSTANCES: Final = TypeAdapter(list[Instance])
_SELF: Final = TypeAdapter(_Self)

T = TypeVar("T")


def unix_path(server: str) -> str:
    """Return the socket that `unix:///path` names; nothing for any other server."""
    return server.removeprefix("unix://") if server.startswith("unix://") else ""


def base_url(config: ConsulSdConfig) -> str:
    """Return what every URL of a server begins with."""
    scheme, separator, rest = config.server.partition("://")
    if not separator:
        scheme, rest = config.scheme, config.server
    elif scheme == "unix":
        return f"{config.scheme}://consul{_prefix(config.path_prefix)}"  # HTTP wants a name; the socket does not.
    elif scheme == "http":
        scheme = config.scheme  # As Consul's own client: what asks for TLS is never taken back.
    host, _, path = rest.partition("/")
    return f"{scheme}://{host}{_prefix(path or config.path_prefix)}"


def _prefix(path: str) -> str:
    return f"/{path.strip('/')}" if path.strip("/") else ""


class ConsulApi:
    """One server's API, as one section asks for it; each method raises PipelineError."""

    def __init__(self, config: ConsulSdConfig, clock: Callable[[], float], session: aiohttp.ClientSession) -> None:
        self._config, self._session = config, session
        self._access = HttpAccess(_with_user(config), clock)
        self._base = base_url(config)
        token = config.token.get_secret_value()
        self._headers = {"X-Consul-Token": token} if token else {}
        self._datacenter = config.datacenter
        self._datacenter_lock = asyncio.Lock()

    async def datacenter(self) -> str:
        """Return the configured datacentre, or the server's own: it is asked once."""
        async with self._datacenter_lock:
            if not self._datacenter:
                answer = await self._ask("/v1/agent/self", [])
                self._datacenter = answer.read(_SELF).config.datacenter
                if not self._datacenter:
                    raise PermanentError(f"{answer.url}: names no Config.Datacenter")
            return self._datacenter

    async def services(self, index: int) -> tuple[int, dict[str, list[str] | None]]:
        """Return all services with their tags when they are newer than `index`, or WAIT_S later; and their index."""
        return await self._newer(
            "/v1/catalog/services", index, self._config.filter, (), lambda answer: answer.read(_SERVICES)
        )

    async def group(self, service: str, index: int) -> tuple[int, TargetGroup]:
        """Return a service's instances that have all configured tags, healthy or not; `index` as above."""
        datacenter = await self.datacenter()

        def read(answer: Answer) -> TargetGroup:
            instances = answer.read(_INSTANCES)
            return group_of_instances(service, datacenter, self._config.tag_separator, instances)

        path = f"/v1/health/service/{quote(service, safe='')}"
        return await self._newer(path, index, self._config.health_filter, self._config.tags, read)

    async def _newer(
        self, path: str, index: int, matching: str, tags: tuple[str, ...], read: Callable[[Answer], T]
    ) -> tuple[int, T]:
        params = [("tag", tag) for tag in tags]
        params += [("node-meta", f"{name}:{value}") for name, value in self._config.node_meta.items()]
        params += [("filter", matching)] if matching else []
        params += [("stale", "")] if self._config.allow_stale else []
        params += [("index", str(index))] if index else []
        timeout_s = HELD_ANSWER_S if index else ANSWER_S
        answer = await self._ask(path, [*params, ("wait", f"{WAIT_S}s")], timeout_s)
        return _index_of(answer), await aside(answer, partial(read, answer))

    async def _ask(self, path: str, params: list[tuple[str, str]], timeout_s: float = ANSWER_S) -> Answer:
        config = self._config
        scope = (("dc", config.datacenter), ("ns", config.namespace), ("partition", config.partition))
        params = [*((name, value) for name, value in scope if value), *params]
        url = self._base + path
        headers = self._headers
        return await ask(self._session, self._access, url, timeout_s=timeout_s, params=params, headers=headers)


def _index_of(answer: Answer) -> int:
    answer.require_ok()
    text = answer.headers.get("X-Consul-Index", "0")
    if not (text.isascii() and text.isdigit()):
        raise PermanentError(f"{answer.url}: X-Consul-Index is no number: {text[:40]!r}")
    return int(text)


def _with_user(config: ConsulSdConfig) -> ConsulSdConfig:
    """Return the section with its user name and password where every HTTP client has them."""
    if not config.has_user:
        return config
    given: dict[str, Any] = {"username": config.username, "password": SecretStr(config.password.get_secret_value())}
    return config.model_copy(update={"basic_auth": BasicAuth(**given)})
