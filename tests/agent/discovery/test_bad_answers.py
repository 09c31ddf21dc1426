"""What no server should answer, put to every discovery that asks one: each tells it, keeps what it had, and goes on."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any
from xml.etree.ElementTree import Element, SubElement

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.config import HttpSdConfig
from agent.config.consul import ConsulSdConfig
from agent.config.dns import DnsSdConfig
from agent.config.docker import DockerSdConfig
from agent.config.ec2 import Ec2SdConfig
from agent.discovery import MECHANISMS, Place, TargetGroup, ask, consul_api
from agent.discovery import dns as dns_discovery
from agent.discovery.ask import Answer
from agent.discovery.consul_api import _INSTANCES, _SERVICES
from agent.discovery.consul_targets import Instance, group_of_instances
from agent.discovery.dns import Resolving, dns_groups
from agent.discovery.docker import _CONTAINERS, _NETWORKS, targets_of
from agent.discovery.ec2_targets import targets_of as ec2_targets_of
from agent.discovery.groups import parse_json
from pipeline.errors import PermanentError
from tests.agent.discovery.tools import Bench, addresses, bench

SECTIONS: dict[str, Callable[[str], object]] = {
    "http_sd_configs": lambda url: HttpSdConfig(url=f"{url}/targets", refresh_interval=5.0),
    "consul_sd_configs": lambda url: ConsulSdConfig(server=url, datacenter="dc1", services=("web",)),
    "docker_sd_configs": lambda url: DockerSdConfig(host=url, refresh_interval=5.0),
    "ec2_sd_configs": lambda url: Ec2SdConfig.model_validate(
        {"endpoint": url, "region": "r", "access_key": "a", "secret_key": "b", "refresh_interval": "5s"}
    ),
}
GOOD: dict[str, Callable[[str], bytes]] = {
    "http_sd_configs": lambda _: b'[{"targets": ["a:1"]}]',
    "consul_sd_configs": lambda _: b'[{"Node": {"Address": "a"}, "Service": {"Port": 1}}]',
    "docker_sd_configs": lambda path: (
        b'[{"Id": "i", "Names": ["/a"], "NetworkSettings": {"Networks": {"n": {"IPAddress": "a"}}},'
        b'"Ports": [{"Type": "tcp", "PrivatePort": 1}]}]'
        if "containers" in path
        else b"[]"
    ),
    "ec2_sd_configs": lambda _: (
        b"<DescribeInstancesResponse><reservationSet><item><instancesSet><item><privateIpAddress>a</privateIpAddress>"
        b"</item></instancesSet></item></reservationSet></DescribeInstancesResponse>"
    ),
}
ADDRESS = {"http_sd_configs": "a:1", "consul_sd_configs": "a:1", "docker_sd_configs": "a:1", "ec2_sd_configs": "a:80"}


def response(body: bytes, status: str = "200 OK", content_type: str = "application/json", more: str = "") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n{more}\r\n"
    return head.encode() + body


BAD = {
    "a page for people": response(b"<!doctype html><html><body>Sign in</body>", content_type="text/html"),
    "a page that says it is JSON": response(b"<!doctype html><html><body>Sign in</body></html>"),
    "half an answer": response(b'[{"targets": ["a:1", "b'),
    "an answer cut off": response(b"[" * 10)[:-5],
    "nothing": response(b""),
    "something else": response(b'{"error": [1, 2]}'),
    "a list of something else": response(b'[1, null, "x"]'),
    "depth": response(b"[" * 100_000),
    "half a character": response(b'[{"targets": ["\\ud800"], "Id": "\\ud800"}]'),
    "more than is taken": response(b" " * 5000 + b"[]"),
    "an error": response(b"out of order", "500 Internal Server Error", "text/plain"),
    "too much": response(b"", "429 Too Many Requests", "text/plain"),
    "a redirect to itself": response(b"", "302 Found", more="Location: /\r\n"),
    "no HTTP": b"SSH-2.0-OpenSSH_9.2\r\n",
    "goodbye": b"",
    "silence": b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n[",
}


class Server:
    """A stand-in that answers every request with the same bytes; None is the mechanism's own good answer."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.bad: bytes | None = None
        self._open = set[asyncio.StreamWriter]()
        self.url = ""

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["Server"]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with server:
            yield self
            for writer in list(self._open):
                writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            while head := (await reader.readuntil(b"\r\n\r\n")).decode():
                length = next((line.split(":")[1] for line in head.split("\r\n") if line.startswith("Content-Le")), "0")
                await reader.readexactly(int(length))
                if self.bad is None:
                    writer.write(response(GOOD[self.kind](head.split()[1]), more="X-Consul-Index: 1\r\n"))
                    continue
                writer.write(self.bad)
                if self.bad != BAD["silence"]:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            if self.bad != BAD["silence"]:
                self._open.discard(writer)
                writer.close()


async def failed(made: Bench, kind: str, times: int) -> None:
    """Wait until so many tries have failed, moving the time on."""
    async with asyncio.timeout(20):
        while made.failures("job", kind) < times:
            made.time.move(5)
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("what", BAD)
@pytest.mark.parametrize("kind", SECTIONS)
async def test_a_bad_answer_is_told_and_leaves_what_was_found(
    kind: str, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ask, "MAX_BODY_BYTES", 4000)
    if what == "silence":
        monkeypatch.setattr(consul_api, "ANSWER_S", 0.1)
        monkeypatch.setattr(consul_api, "HELD_ANSWER_S", 0.1)
    async with Server(kind).serving() as server, bench() as made:
        section: Any = SECTIONS[kind](server.url)
        if what == "silence" and kind != "consul_sd_configs":
            section = section.model_copy(update={"refresh_interval": 0.1})
        server.bad = BAD[what]
        stream = MECHANISMS[kind](section, Place("job", kind, 0), made.tools)
        assert await anext(stream) == []
        assert made.failures("job", kind) == 1
        (reason,) = made.tools.failures.values()
        assert len(reason) < 1000

        server.bad = None
        groups = asyncio.ensure_future(anext(stream))
        while not groups.done():
            made.time.move(5)
            await asyncio.wait([groups], timeout=0.01)
        assert addresses(groups.result()) == [ADDRESS[kind]]
        assert not made.tools.failures

        server.bad = BAD[what]
        following = asyncio.ensure_future(anext(stream))
        await failed(made, kind, 3)
        assert not following.done()
        following.cancel()
        await asyncio.wait([following])


@pytest.fixture
def garbage() -> Iterator[tuple[socket.socket, int]]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as answering:
        answering.bind(("127.0.0.1", 0))
        answering.setblocking(False)
        yield answering, answering.getsockname()[1]


@pytest.mark.parametrize(
    "answer",
    [
        lambda query: b"",
        lambda query: query[:7],
        lambda query: b"\xff" * 200,
        lambda query: query[:2] + b"\x81\x80\0\1\xff\xff\0\0\0\0" + query[12:],
        lambda query: query[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + query[12:] + b"\xc0\x0c\0\1\0\1\0\0\0\1\0\4\x0a",
        lambda query: query[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + query[12:] + b"\xc0\xff",
        lambda query: bytes([query[0] ^ 1]) + query[1:],
    ],
    ids=["nothing", "half a header", "ones", "too many records", "half an address", "a wild pointer", "another's"],
)
async def test_a_bad_answer_of_dns_is_told(
    answer: Callable[[bytes], bytes], garbage: tuple[socket.socket, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dns_discovery, "TRY_S", 0.2)
    answering, port = garbage
    loop = asyncio.get_running_loop()

    def reply() -> None:
        query, sender = answering.recvfrom(4096)
        answering.sendto(answer(query), sender)

    loop.add_reader(answering, reply)
    try:
        async with bench() as made:
            config = DnsSdConfig(names=("web.",), type="A", port=1)
            place = Place("job", "dns_sd_configs", 0)
            assert (
                await anext(dns_groups(config, place, made.tools, lambda: Resolving(("127.0.0.1",), port=port))) == []
            )
            assert made.failures("job", "dns_sd_configs") == 1
    finally:
        loop.remove_reader(answering)


NAMES = st.sampled_from(
    (
        *("Id", "Names", "Labels", "Ports", "HostConfig", "NetworkMode", "NetworkSettings", "Networks", "IPAddress"),
        *("PrivatePort", "PublicPort", "Type", "Node", "Service", "Checks", "CheckID", "Status", "Address", "Port"),
        *("Tags", "Meta", "TaggedAddresses", "targets", "labels", "Image", "Internal", "IP"),
    )
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just("tcp") | st.just("host"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES | st.text(max_size=4), inner, max_size=6),
    max_leaves=40,
)
LISTS = st.lists(st.dictionaries(NAMES, JSON, max_size=8), max_size=4)


def is_text(groups: list[TargetGroup]) -> bool:
    return all(
        isinstance(name, str) and isinstance(value, str)
        for group in groups
        for labels in (group.labels, *group.targets)
        for name, value in labels.items()
    )


def groups_of(kind: str, body: bytes) -> list[TargetGroup]:
    answer = Answer("http://x/", 200, "OK", {}, body)
    if kind == "http":
        return parse_json(body, "x", {})
    if kind == "consul":
        instances: list[Instance] = answer.read(_INSTANCES)
        return [group_of_instances("web", "dc1", ",", instances)]
    if kind == "services":
        assert all(isinstance(name, str) for name in answer.read(_SERVICES))
        return []
    config = DockerSdConfig(host="unix:///x", match_first_network=False)
    networks = answer.read(_NETWORKS) if kind == "networks" else []
    containers = answer.read(_CONTAINERS) if kind == "containers" else []
    return [TargetGroup("x", tuple(targets_of(config, containers, networks)), {})]


@settings(max_examples=300)
@given(kind=st.sampled_from(["http", "consul", "services", "containers", "networks"]), value=JSON | LISTS)
def test_any_json_is_read_as_targets_or_refused(kind: str, value: object) -> None:
    try:
        groups = groups_of(kind, json.dumps(value).encode())
    except PermanentError:
        return
    assert is_text(groups)


@settings(max_examples=300)
@given(kind=st.sampled_from(["http", "consul", "services", "containers", "networks"]), body=st.binary(max_size=60))
def test_any_bytes_are_refused_unless_they_are_json(kind: str, body: bytes) -> None:
    try:
        groups = groups_of(kind, body)
    except PermanentError:
        return
    assert is_text(groups)


ELEMENTS = [
    *("reservationSet", "item", "instancesSet", "networkInterfaceSet", "ipv6AddressesSet", "tagSet", "attachment"),
    *("privateIpAddress", "subnetId", "vpcId", "ipv6Address", "isPrimaryIpv6", "deviceIndex", "key", "value"),
]
TREES = st.recursive(
    st.tuples(st.sampled_from(ELEMENTS), st.none() | st.sampled_from(["true", "10.0.0.1", "99999999999", "-1", "²"])),
    lambda inner: st.tuples(st.sampled_from(ELEMENTS), st.lists(inner, max_size=4)),
    max_leaves=30,
)


def element_of(tree: Any, parent: Element) -> None:
    name, inside = tree
    element = SubElement(parent, name)
    if isinstance(inside, list):
        for child in inside:
            element_of(child, element)
    else:
        element.text = inside


@settings(max_examples=300)
@given(trees=st.lists(TREES, max_size=4))
def test_any_description_of_instances_is_read(trees: list[Any]) -> None:
    root = Element("DescribeInstancesResponse")
    instance = SubElement(SubElement(SubElement(SubElement(root, "reservationSet"), "item"), "instancesSet"), "item")
    for tree in trees:
        element_of(tree, instance)
    assert is_text([TargetGroup("x", tuple(ec2_targets_of(root, "r", 80, {})), {})])
