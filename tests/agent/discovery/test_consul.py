import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from pydantic import ValidationError

from agent.config.consul import ConsulSdConfig
from agent.discovery import Groups, Place, TargetGroup
from agent.discovery.consul import consul_groups
from agent.discovery.consul_api import base_url
from agent.discovery.consul_targets import Check, health_of
from tests.agent.discovery.tools import Bench, addresses, bench
from tests.servers.consul import Consul

AT = Place("job", "consul_sd_configs", 0)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def consul(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Consul]:
    """One server for all tests here; each registers services of its own."""
    async with Consul(tmp_path_factory.mktemp("consul")) as server:
        yield server


async def register(consul: Consul, identity: str, name: str, port: int, **more: Any) -> None:
    body = {"ID": identity, "Name": name, "Port": port, **more}
    await consul.put("/v1/agent/service/register", body)


def stream_of(consul: Consul, made: Bench, **config: Any) -> Groups:
    return consul_groups(ConsulSdConfig(server=consul.address, **config), AT, made.tools)


async def found(consul: Consul, **config: Any) -> list[TargetGroup]:
    async with bench() as made, aclosing(stream_of(consul, made, **config)) as stream:
        groups = await anext(stream)
        assert not made.tools.failures
        return groups


async def until(stream: Groups, made: Bench, expected: Iterable[str]) -> None:
    """Follow the stream, while the time moves on, until the addresses are these."""
    wanted = sorted(expected)
    async with asyncio.timeout(30):
        while True:
            following = asyncio.ensure_future(anext(stream))
            while not following.done():
                made.time.move(15)
                await asyncio.wait([following], timeout=0.02)
            if sorted(addresses(following.result())) == wanted:
                return


@pytest.mark.consul
@pytest.mark.asyncio(loop_scope="module")
async def test_an_instance_has_every_label(consul: Consul) -> None:
    await register(
        consul,
        "labelled-1",
        "labelled",
        8080,
        Address="10.1.2.3",
        Tags=["a", "b"],
        Meta={"the-version": "1.10"},
        Check={"TTL": "1h", "Status": "warning"},
    )
    (group,) = await found(consul, services=["labelled"])
    (target,) = group.targets
    assert group.source == "labelled"
    assert dict(group.labels) == {"__meta_consul_service": "labelled", "__meta_consul_dc": "dc1"}
    assert dict(target) == {
        "__address__": "10.1.2.3:8080",
        "__meta_consul_address": "127.0.0.1",
        "__meta_consul_health": "warning",
        "__meta_consul_metadata_consul_version": "1.20.1",
        "__meta_consul_node": "here",
        "__meta_consul_service_address": "10.1.2.3",
        "__meta_consul_service_id": "labelled-1",
        "__meta_consul_service_metadata_the_version": "1.10",
        "__meta_consul_service_port": "8080",
        "__meta_consul_tagged_address_lan": "127.0.0.1",
        "__meta_consul_tagged_address_lan_ipv4": "127.0.0.1",
        "__meta_consul_tagged_address_wan": "127.0.0.1",
        "__meta_consul_tagged_address_wan_ipv4": "127.0.0.1",
        "__meta_consul_tags": ",a,b,",
    }
    (group,) = await found(consul, services=["labelled"], tag_separator="|", datacenter="dc1")
    assert group.targets[0]["__meta_consul_tags"] == "|a|b|"


@pytest.mark.consul
@pytest.mark.asyncio(loop_scope="module")
async def test_an_instance_without_an_address_has_its_nodes(consul: Consul) -> None:
    await register(consul, "plain", "plain", 81)
    assert addresses(await found(consul, services=["plain"])) == ["127.0.0.1:81"]


@pytest.mark.consul
@pytest.mark.asyncio(loop_scope="module")
async def test_services_tags_node_meta_and_filters_choose(consul: Consul) -> None:
    await register(consul, "x-1", "x", 1, Tags=["blue", "prod"])
    await register(consul, "x-2", "x", 2, Tags=["blue"], Meta={"tier": "2"})
    await register(consul, "y-1", "y", 3, Tags=["prod", "blue"])
    assert addresses(await found(consul, tags=["blue", "prod"])) == ["127.0.0.1:1", "127.0.0.1:3"]
    assert addresses(await found(consul, services=["x"], tags=["prod"])) == ["127.0.0.1:1"]
    assert addresses(await found(consul, services=["y", "gone"])) == ["127.0.0.1:3"]
    assert addresses(await found(consul, filter='ServiceName == "y"')) == ["127.0.0.1:3"]
    by_health = await found(consul, services=["x"], health_filter="Service.Meta.tier == 2", allow_stale=False)
    assert addresses(by_health) == ["127.0.0.1:2"]
    assert addresses(await found(consul, services=["y"], node_meta={"none": "such"})) == []
    assert {group.source for group in await found(consul)} >= {"consul", "x", "y"}


@pytest.mark.consul
@pytest.mark.asyncio(loop_scope="module")
async def test_what_comes_changes_and_goes_is_followed(consul: Consul) -> None:
    async with bench() as made:
        stream = stream_of(consul, made, tags=["moving"])
        assert addresses(await anext(stream)) == []
        await register(consul, "m-1", "m", 1, Tags=["moving"])
        await until(stream, made, ["127.0.0.1:1"])
        await register(consul, "m-2", "m", 2, Tags=["moving"])
        await register(consul, "n-1", "n", 3, Tags=["moving"])
        await until(stream, made, ["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"])
        await consul.put("/v1/agent/service/deregister/m-1")
        await consul.put("/v1/agent/service/deregister/n-1")
        await until(stream, made, ["127.0.0.1:2"])
        assert made.failures("job", "consul_sd_configs") == 0
        await stream.aclose()


@pytest.mark.consul
@pytest.mark.asyncio(loop_scope="module")
async def test_targets_outlive_a_server_that_is_killed_and_are_followed_again(tmp_path: Path) -> None:
    async with Consul(tmp_path / "own") as own, bench() as made:
        await register(own, "w-1", "w", 1)
        stream = stream_of(own, made, services=["w"])
        assert addresses(await anext(stream)) == ["127.0.0.1:1"]
        following = asyncio.ensure_future(anext(stream))
        await own.kill()
        async with asyncio.timeout(30):
            while not made.failures("job", "consul_sd_configs"):
                made.time.move(15)
                await asyncio.wait([following], timeout=0.02)
        assert not following.done()
        await own.restart()
        await register(own, "w-1", "w", 2)
        async with asyncio.timeout(30):
            groups: list[TargetGroup] = []
            while addresses(groups) != ["127.0.0.1:2"]:
                made.time.move(15)
                await asyncio.wait([following], timeout=0.02)
                if following.done():
                    groups = following.result()
                    following = asyncio.ensure_future(anext(stream))
        following.cancel()
        await asyncio.wait([following])


@pytest.mark.consul
@pytest.mark.asyncio(loop_scope="module")
async def test_more_services_than_consul_gives_connections_are_all_followed(tmp_path: Path) -> None:
    async with Consul(tmp_path / "own") as own, bench() as made:
        for number in range(250):
            await register(own, f"s-{number}", f"s-{number}", number + 1, Tags=["many"])
        stream = stream_of(own, made, tags=["many"])
        everything = [f"127.0.0.1:{number + 1}" for number in range(250)]
        assert sorted(addresses(await anext(stream))) == sorted(everything)
        await register(own, "s-7", "s-7", 999, Tags=["many"])
        everything[7] = "127.0.0.1:999"
        await until(stream, made, everything)
        assert made.failures("job", "consul_sd_configs") == 0
        await stream.aclose()


@pytest.mark.consul
@pytest.mark.asyncio(loop_scope="module")
async def test_a_token_opens_the_catalogue_and_without_one_the_refusal_is_told(tmp_path: Path) -> None:
    async with Consul(tmp_path / "own", acl_token="secret") as own, bench() as made:
        await register(own, "w-1", "w", 1)
        assert addresses(await found(own, services=["w"], token="secret")) == ["127.0.0.1:1"]
        stream = stream_of(own, made, services=["w"])
        assert await anext(stream) == []
        (failure,) = made.tools.failures.values()
        assert "answered 403 Forbidden: Permission denied" in failure
        await stream.aclose()


def test_the_worst_check_is_the_health() -> None:
    def health(*statuses: str, maintenance: str = "") -> str:
        checks = [Check(check_id="c", status=status) for status in statuses]
        return health_of([*checks, *([Check(check_id=maintenance, status="critical")] if maintenance else [])])

    assert health() == health("passing") == "passing"
    assert health("passing", "warning") == "warning"
    assert health("warning", "critical", "passing") == "critical"
    assert health("passing", maintenance="_node_maintenance") == "maintenance"
    assert health("critical", maintenance="_service_maintenance:web") == "maintenance"
    assert health("critical", "odd") == ""


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ({}, "http://localhost:8500"),
        ({"server": "c:1", "scheme": "HTTPS", "path_prefix": "/p/"}, "https://c:1/p"),
        ({"server": "https://c:1/proxy/consul"}, "https://c:1/proxy/consul"),
        ({"server": "http://c:1", "scheme": "https"}, "https://c:1"),
        ({"server": "unix:///run/consul.sock"}, "http://consul"),
    ],
)
def test_a_server_is_named_as_for_consuls_own_client(given: dict[str, str], url: str) -> None:
    assert base_url(ConsulSdConfig.model_validate(given)) == url


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"server": " "}, "requires a server address"),
        ({"server": "ftp://c"}, "unknown protocol scheme: ftp"),
        ({"username": "u", "basic_auth": {"username": "u"}}, "at most one of consul SD configuration username"),
        ({"token": "t", "authorization": {"credentials": "x"}}, "at most one of consul SD token"),
        ({"refresh_interval": "0s"}, "must be longer than 0s"),
    ],
)
def test_what_cannot_be_is_refused(given: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        ConsulSdConfig.model_validate(given)
