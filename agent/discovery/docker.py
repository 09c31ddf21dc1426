"""`docker_sd_configs`: the containers of a Docker daemon. Source: prometheus, discovery/moby/docker.go and network.go;
Docker Engine API, ContainerList and NetworkList.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Final
from urllib.parse import urlsplit

import aiohttp
from pydantic import Field, TypeAdapter

from agent.config.docker import DockerSdConfig
from agent.discovery.ask import Answer, Shape, aside, ask, open_session
from agent.discovery.groups import ADDRESS, TargetGroup
from agent.discovery.labels import host_port, label_part
from agent.discovery.refresh import refreshed
from agent.discovery.tools import Groups, Place, Tools
from pipeline.http_client import HttpAccess

_META: Final = "__meta_docker_"
_SHARED_NETWORK: Final = "container:"


class Attachment(Shape):
    """A container's place in a network."""

    network_id: str = Field("", alias="NetworkID")
    ip_address: str | None = Field("", alias="IPAddress")
    global_ipv6_address: str | None = Field("", alias="GlobalIPv6Address")


class NetworkSettings(Shape):
    """A container's places by the networks' names."""

    networks: dict[str, Attachment | None] | None = None


class HostConfig(Shape):
    """How a container is attached to the host: `bridge`, `host`, `container:<id>`, a network's name."""

    network_mode: str = ""


class Exposed(Shape):
    """A port that a container exposes; `public_port` is 0 where the host does not publish it."""

    ip: str | None = Field("", alias="IP")
    private_port: int = 0
    public_port: int = 0
    type: str = ""


class Container(Shape):
    """What is read of a container."""

    id: str
    names: list[str] | None = None
    image: str = ""
    image_id: str = Field("", alias="ImageID")
    labels: dict[str, str] | None = None
    ports: list[Exposed] | None = None
    host_config: HostConfig = HostConfig()
    network_settings: NetworkSettings | None = None


class Network(Shape):
    """What is read of a network."""

    id: str
    name: str = ""
    scope: str = ""
    internal: bool = False
    ingress: bool = False
    labels: dict[str, str] | None = None


_CONTAINERS = TypeAdapter(list[Container])
_NETWORKS = TypeAdapter(list[Network])


async def docker_groups(config: DockerSdConfig, at: Place, tools: Tools) -> Groups:
    """Ask the daemon for its running containers (or those that `filters` name) every `refresh_interval`."""
    parts = urlsplit(config.host)
    unix_path = parts.path if parts.scheme == "unix" else ""
    access = HttpAccess(config, tools.clock)
    async with open_session(tools.session, unix_path) as session:

        async def find() -> list[TargetGroup]:
            return await find_containers(config, access, session)

        async for groups in refreshed(find, config.host, config.refresh_interval, at, tools):
            yield groups


async def find_containers(
    config: DockerSdConfig, access: HttpAccess, session: aiohttp.ClientSession
) -> list[TargetGroup]:
    """Ask once, in the version of its API that the daemon names; raises PipelineError."""
    base = _base_url(config.host)

    async def get(path: str, **params: str) -> Answer:
        return await ask(session, access, base + path, timeout_s=config.refresh_interval, params=list(params.items()))

    ping = await get("/_ping")
    ping.require_ok()
    version = ping.headers.get("Api-Version", "")
    prefix = f"/v{version}" if version else ""
    filters: dict[str, list[str]] = {}
    for entry in config.filters:
        filters.setdefault(entry.name, []).extend(entry.values)
    given = {"filters": json.dumps(filters)} if filters else {}
    containers = await get(f"{prefix}/containers/json", **given)
    networks = await get(f"{prefix}/networks")

    def read() -> list[TargetGroup]:
        running: list[Container] = containers.read(_CONTAINERS)
        known: list[Network] = networks.read(_NETWORKS)
        return [TargetGroup(config.host, tuple(targets_of(config, running, known)), {})]

    return await aside(containers, read)


def _base_url(host: str) -> str:
    parts = urlsplit(host)
    if parts.scheme == "unix":
        return "http://docker"  # HTTP wants a name; the socket does not.
    return f"{'http' if parts.scheme == 'tcp' else parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"


def targets_of(
    config: DockerSdConfig, containers: Iterable[Container], networks: Iterable[Network]
) -> Iterator[Mapping[str, str]]:
    """Yield a target for every port that a container exposes by TCP in a network, or one without any."""
    by_id = {container.id: container for container in containers}
    network_labels = {network.id: _network_labels(network) for network in networks}
    for container in by_id.values():
        if not container.names:
            continue
        labels = _container_labels(container)
        for attachment in _attachments(config, container, by_id):
            address = attachment.ip_address or attachment.global_ipv6_address or ""
            shared = {**labels, **network_labels.get(attachment.network_id, {}), f"{_META}network_ip": address}
            exposed = [port for port in container.ports or () if port.type == "tcp"]
            for port in exposed:
                yield {**shared, **_port_labels(port), ADDRESS: host_port(address, port.private_port)}
            if not exposed:
                in_host = container.host_config.network_mode == "host"
                yield {**shared, ADDRESS: config.host_networking_host if in_host else host_port(address, config.port)}


def _attachments(config: DockerSdConfig, container: Container, by_id: Mapping[str, Container]) -> list[Attachment]:
    """Return a container's networks, or those of the container whose network it shares."""
    seen = set[str]()
    found = _networks(container)
    while not found and (mode := container.host_config.network_mode).startswith(_SHARED_NETWORK) and mode not in seen:
        seen.add(mode)
        other = by_id.get(mode.removeprefix(_SHARED_NETWORK))
        if other is None:
            break
        container = other
        found = _networks(container)
    if config.match_first_network and len(found) > 1:
        found = dict([min(found.items())])
    return list(found.values())


def _networks(container: Container) -> dict[str, Attachment]:
    settings = container.network_settings
    networks = (settings.networks if settings else None) or {}
    return {name: attachment for name, attachment in networks.items() if attachment is not None}


def _container_labels(container: Container) -> dict[str, str]:
    labels = {
        "id": container.id,
        "name": (container.names or [""])[0],
        "network_mode": container.host_config.network_mode,
        "image": container.image,
        "image_id": container.image_id,
        **{f"label_{label_part(name)}": value for name, value in (container.labels or {}).items()},
    }
    return {f"{_META}container_{name}": value for name, value in labels.items()}


def _network_labels(network: Network) -> dict[str, str]:
    labels = {
        "id": network.id,
        "name": network.name,
        "scope": network.scope,
        "internal": str(network.internal).lower(),
        "ingress": str(network.ingress).lower(),
        **{f"label_{label_part(name)}": value for name, value in (network.labels or {}).items()},
    }
    return {f"{_META}network_{name}": value for name, value in labels.items()}


def _port_labels(port: Exposed) -> dict[str, str]:
    labels = {f"{_META}port_private": str(port.private_port)}
    if public := port.public_port:
        labels |= {f"{_META}port_public": str(public), f"{_META}port_public_ip": port.ip or ""}
    return labels
