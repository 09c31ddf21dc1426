import subprocess
import sys

from agent.config.scrape import ScrapeConfig
from agent.discovery import MECHANISMS, Place, discover
from tests.agent.discovery.tools import bench

SECTIONS = {
    "static_configs": {"targets": ["a:1"]},
    "file_sd_configs": {"files": ["a.yml"]},
    "http_sd_configs": {"url": "http://127.0.0.1:1/"},
    "dns_sd_configs": {"names": ["a."]},
    "consul_sd_configs": {"server": "127.0.0.1:1"},
    "docker_sd_configs": {"host": "unix:///none"},
    "ec2_sd_configs": {"region": "r"},
    "kubernetes_sd_configs": {"role": "pod", "api_server": "http://127.0.0.1:1"},
}


async def test_every_mechanism_can_be_begun() -> None:
    async with bench() as made:
        job = ScrapeConfig.model_validate(
            {"job_name": "job", **{kind: [section] for kind, section in SECTIONS.items()}}
        )
        streams = discover(job, made.tools)
        assert [place.kind for place in streams] == list(MECHANISMS)
        assert all(place == Place("job", place.kind, 0) for place in streams)
        for stream in streams.values():
            await stream.aclose()


def test_an_agent_that_uses_none_of_them_imports_no_sdk() -> None:
    code = "import sys, pronoia.agent, agent.service; print(*sys.modules)"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout.split()
    )
    assert "agent.discovery.file" in loaded
    assert not loaded & {"dns", "botocore", "agent.discovery.consul", "agent.discovery.docker", "agent.discovery.ec2"}
