"""What Prometheus itself makes of the same servers: the same targets, with the same labels."""

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from agent.config import GlobalConfig, ScrapeConfig
from agent.targets import find_once
from tests.agent.discovery.test_ec2 import OWN, make_instances
from tests.agent.discovery.tools import bench
from tests.servers.consul import Consul
from tests.servers.docker import Docker
from tests.servers.moto import Moto
from tests.servers.prometheus import Prometheus

pytestmark = pytest.mark.prometheus
Found = list[dict[str, str]]


async def theirs(folder: Path, sections: dict[str, Any], count: int) -> Found:
    """Return the labels that relabelling begins with in Prometheus, once it has so many targets."""
    async with Prometheus(folder, config={"scrape_configs": [{"job_name": "job", **sections}]}) as prometheus:
        url = f"{prometheus.url}/api/v1/targets?state=active"
        async with asyncio.timeout(60), aiohttp.ClientSession() as session:
            while True:
                async with session.get(url) as response:
                    active = (await response.json())["data"]["activeTargets"]
                if len(active) == count:
                    return in_order([target["discoveredLabels"] for target in active])
                await asyncio.sleep(0.1)


async def ours(sections: dict[str, Any]) -> Found:
    job = ScrapeConfig.model_validate({"job_name": "job", **sections}).inherit(GlobalConfig())
    async with bench() as made:
        found = (await find_once([job], made.tools))["job"]
        assert not made.tools.failures
    return in_order([dict(target.discovered_labels) for target in found.active])


def in_order(found: Found) -> Found:
    return sorted(found, key=lambda labels: sorted(labels.items()))


@pytest.mark.consul
async def test_consul(tmp_path: Path) -> None:
    async with Consul(tmp_path / "consul") as consul:
        for number in range(3):
            more: dict[str, Any] = {"Tags": ["a", f"b{number}"], "Meta": {"a-b": "c.d"}} if number else {}
            body: dict[str, Any] = {
                "ID": f"web-{number}",
                "Name": "web",
                "Port": 80 + number,
                "Address": f"10.0.0.{number}",
                **more,
            }
            await consul.put("/v1/agent/service/register", body)
        await consul.put("/v1/agent/service/register", {"Name": "db", "Check": {"TTL": "1h"}, "Address": "fd00::1"})
        await consul.put("/v1/agent/service/maintenance/web-1?enable=true")
        tagged: dict[str, Any] = {"tags": ["a"], "tag_separator": ";"}
        for number, (more, count) in enumerate((({}, 5), (tagged, 2))):
            sections = {"consul_sd_configs": [{"server": consul.address, **more}]}
            assert await ours(sections) == await theirs(tmp_path / f"prometheus{number}", sections, count)


@pytest.mark.docker
async def test_docker(tmp_path: Path) -> None:
    async with Docker(tmp_path / "docker") as docker:
        await docker.network("front", Labels={"a.b": "c"}, IPAM={"Config": [{"Subnet": "10.213.8.0/24"}]})
        back = await docker.network("back", Internal=True, IPAM={"Config": [{"Subnet": "10.213.9.0/24"}]})
        ports: dict[str, Any] = {"80/tcp": {}, "53/udp": {}}
        host = {"NetworkMode": "front", "PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]}}
        web = await docker.run("web", ExposedPorts=ports, Labels={"x/y": "z"}, HostConfig=host)
        await docker.ask("POST", f"/networks/{back}/connect", {"Container": web})
        await docker.run("beside", HostConfig={"NetworkMode": f"container:{web}"})
        await docker.run("node", HostConfig={"NetworkMode": "host"})
        await docker.run("alone", HostConfig={"NetworkMode": "none"})
        for number, (first, count) in enumerate(((True, 4), (False, 6))):
            section = {"host": f"unix://{docker.socket}", "match_first_network": first, "port": 9100}
            sections = {"docker_sd_configs": [section]}
            assert await ours(sections) == await theirs(tmp_path / f"prometheus{number}", sections, count)


async def test_ec2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)  # With it Prometheus cannot ask EC2 at all.
    async with Moto(tmp_path / "moto") as moto:
        await asyncio.to_thread(make_instances, moto)
        sections = {"ec2_sd_configs": [{**OWN, "endpoint": moto.url, "port": 9100}]}
        assert await ours(sections) == await theirs(tmp_path / "prometheus", sections, 2)
