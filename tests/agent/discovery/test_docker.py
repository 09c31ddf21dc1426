from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from agent.config.docker import DockerSdConfig
from agent.discovery import Place, TargetGroup
from agent.discovery.docker import Container, Network, docker_groups, targets_of
from tests.agent.discovery.tools import bench
from tests.servers.docker import IMAGE, Docker

AT = Place("job", "docker_sd_configs", 0)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def docker(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Docker]:
    """One daemon for all tests here, with a web container in a network and one in the host's."""
    async with Docker(tmp_path_factory.mktemp("docker")) as server:
        front = await server.network(
            "front", Labels={"the-team": "web"}, IPAM={"Config": [{"Subnet": "10.213.7.0/24"}]}
        )
        await server.run(
            "web",
            Labels={"com.example/role": "front end"},
            ExposedPorts={"80/tcp": {}, "53/udp": {}, "9100/tcp": {}},
            HostConfig={
                "NetworkMode": "front",
                "PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]},
            },
            NetworkingConfig={"EndpointsConfig": {"front": {"NetworkID": front}}},
        )
        await server.run("node", HostConfig={"NetworkMode": "host"})
        await server.run("beside", HostConfig={"NetworkMode": "container:web"})
        await server.create("idle", HostConfig={"NetworkMode": "none"})
        yield server


async def found(**config: Any) -> list[TargetGroup]:
    async with bench() as made:
        stream = docker_groups(DockerSdConfig(**config), AT, made.tools)
        groups = await anext(stream)
        assert not made.tools.failures
        return groups


@pytest.mark.docker
@pytest.mark.asyncio(loop_scope="module")
async def test_running_containers_are_targets_by_port_and_network(docker: Docker) -> None:
    (group,) = await found(host=f"unix://{docker.socket}")
    by_name = {(t["__meta_docker_container_name"], t.get("__meta_docker_port_private", "")): t for t in group.targets}
    assert sorted(by_name) == [("/beside", ""), ("/node", ""), ("/web", "80"), ("/web", "9100")]
    web, inspected = by_name["/web", "80"], await docker.ask("GET", "/containers/web/json")
    network = inspected["NetworkSettings"]["Networks"]["front"]
    public = inspected["NetworkSettings"]["Ports"]["80/tcp"][0]["HostPort"]
    assert dict(web) == {
        "__address__": f"{network['IPAddress']}:80",
        "__meta_docker_container_id": inspected["Id"],
        "__meta_docker_container_image": IMAGE,
        "__meta_docker_container_image_id": inspected["Image"],
        "__meta_docker_container_label_com_example_role": "front end",
        "__meta_docker_container_name": "/web",
        "__meta_docker_container_network_mode": "front",
        "__meta_docker_network_id": network["NetworkID"],
        "__meta_docker_network_ingress": "false",
        "__meta_docker_network_internal": "false",
        "__meta_docker_network_ip": network["IPAddress"],
        "__meta_docker_network_label_the_team": "web",
        "__meta_docker_network_name": "front",
        "__meta_docker_network_scope": "local",
        "__meta_docker_port_private": "80",
        "__meta_docker_port_public": public,
        "__meta_docker_port_public_ip": "127.0.0.1",
    }
    assert by_name["/web", "9100"]["__address__"] == f"{network['IPAddress']}:9100"
    assert "__meta_docker_port_public" not in by_name["/web", "9100"]
    assert by_name["/node", ""]["__address__"] == "localhost"
    # It has no ports of its own, and shares the network of the container that it stands beside.
    assert by_name["/beside", ""]["__address__"] == f"{network['IPAddress']}:80"


@pytest.mark.docker
@pytest.mark.asyncio(loop_scope="module")
async def test_the_daemon_filters_and_is_reached_by_tcp_too(docker: Docker) -> None:
    host = f"tcp://127.0.0.1:{docker.port}"
    filters = [{"name": "label", "values": ["com.example/role"]}]
    (group,) = await found(host=host, filters=filters)
    assert {target["__meta_docker_container_name"] for target in group.targets} == {"/web"}
    (group,) = await found(host=host, filters=[{"name": "status", "values": ["created"]}], port=9000)
    assert [(t["__meta_docker_container_name"], t["__address__"]) for t in group.targets] == [("/idle", ":9000")]
    (group,) = await found(host=host.replace("tcp", "http"), host_networking_host="10.0.0.1")
    assert "10.0.0.1" in {target["__address__"] for target in group.targets}


@pytest.mark.docker
@pytest.mark.asyncio(loop_scope="module")
async def test_what_the_daemon_refuses_is_told_in_its_words(docker: Docker) -> None:
    config = DockerSdConfig.model_validate(
        {"host": f"unix://{docker.socket}", "filters": [{"name": "nonsense", "values": ["1"]}]}
    )
    async with bench() as made:
        assert await anext(docker_groups(config, AT, made.tools)) == []
        (failure,) = made.tools.failures.values()
        assert "answered 400 Bad Request" in failure
        assert "nsense" in failure


async def test_a_daemon_that_is_not_there_is_a_failure(tmp_path: Path) -> None:
    async with bench() as made:
        config = DockerSdConfig(host=f"unix://{tmp_path}/none.sock")
        assert await anext(docker_groups(config, AT, made.tools)) == []
        assert made.failures("job", "docker_sd_configs") == 1


def container(identity: str, mode: str = "bridge", **more: Any) -> Container:
    given = {"Id": identity, "Names": [f"/{identity}"], "HostConfig": {"NetworkMode": mode}, **more}
    return Container.model_validate(given)


def made(containers: list[Container], networks: list[Network] | None = None, **config: Any) -> list[str]:
    sd = DockerSdConfig(host="unix:///x", **config)
    return [target["__address__"] for target in targets_of(sd, containers, networks or [])]


def test_of_several_networks_the_first_by_name_is_taken_unless_all_are_asked_for() -> None:
    settings = {"Networks": {"b": {"IPAddress": "10.0.0.2"}, "a": {"IPAddress": "10.0.0.1"}, "0": None}}
    several = container("x", NetworkSettings=settings, Ports=[{"PrivatePort": 1, "Type": "tcp"}])
    assert made([several]) == ["10.0.0.1:1"]
    assert made([several], match_first_network=False) == ["10.0.0.2:1", "10.0.0.1:1"]


def test_ipv6_is_taken_where_there_is_no_ipv4() -> None:
    settings = {"Networks": {"a": {"IPAddress": "", "GlobalIPv6Address": "fd00::2"}}}
    assert made([container("x", NetworkSettings=settings)]) == ["[fd00::2]:80"]


def test_containers_that_share_a_network_in_a_circle_have_none() -> None:
    assert made([container("a", "container:b"), container("b", "container:a")]) == []
    assert made([container("a", "container:gone", Names=None)]) == []
