import re
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from pipeline.config import ConfigError
from pronoia.clymene import load, sections
from pronoia.clymene_flags import BY_NAME, Does
from pronoia.clymene_given import FlagError, read_flags
from tests.e2e.exporter import Exporter, Target
from tests.e2e.processes import Member, until
from tests.servers.processes import Process, free_port
from tests.servers.prometheus import Prometheus

NAMES = Path(__file__).with_name("clymene_agent_flags.txt").read_text().split()
"""Every flag that Clymene's agent registers, whatever its storage."""
GATEWAY = {"STORAGE_TYPE": "gateway"}


def wrong(*arguments: str, **environment: str) -> list[str]:
    with pytest.raises(FlagError) as error:
        read_flags(arguments, {**GATEWAY, **environment})
    return str(error.value).splitlines()


def test_every_flag_of_clymene_is_taken_or_refused_with_a_reason() -> None:
    ours = {name for name, flag in BY_NAME.items() if flag.does is Does.OURS}
    assert BY_NAME.keys() - ours <= set(NAMES), "no flag that Clymene has not"
    for name in set(NAMES) - BY_NAME.keys():
        (reason,) = wrong(f"--{name}=x")
        assert re.match(rf"--{name}: belongs to STORAGE_TYPE=\w+: .+", reason)


def test_flags_go_before_variables_and_those_before_defaults() -> None:
    environment = {**GATEWAY, "GATEWAY_GRPC_CLIENT_HOST_PORT": "variable:1", "HTTP_PORT": "2", "DATA": "elsewhere"}
    given = read_flags(["--gateway.grpc-client.host-port", "flag:1", "--log-level=warn"], environment)
    assert given.get("gateway.grpc-client.host-port") == "flag:1"
    assert given.get("http.port") == "2"
    assert given.get("log-level") == "warn"
    assert given.get("config.file") == "/etc/clymene/clymene.yml"
    assert given.get("data") == "data", "Clymene knows no such variable"


@pytest.mark.parametrize(
    ("arguments", "environment", "expected"),
    [
        ([], GATEWAY, {"admin": ":15691", "gateway": {"url": "grpc://localhost:15610"}}),
        (
            ["--gateway.service-type=http", "--gateway.http-client.url=https://g:1/api/metrics"],
            {**GATEWAY, "ADMIN_HTTP_HOST_PORTS": "127.0.0.1:1"},
            {"admin": "127.0.0.1:1", "gateway": {"url": "https://g:1"}},
        ),
        (
            [
                *("--gateway.grpc-client.tls.enabled", "--gateway.grpc-client.tls.ca=/ca.pem"),
                *("--gateway.grpc-client.tls.server-name=g", "--gateway.token-file=/token"),
                "--gateway.grpc-client.tls.skip-host-verify=false",
            ],
            GATEWAY,
            {
                "admin": ":15691",
                "gateway": {
                    "url": "grpcs://localhost:15610",
                    "tls_config": {"ca_file": "/ca.pem", "server_name": "g"},
                    "token_file": "/token",
                },
            },
        ),
        (
            ["--metric.split.length=10", "--prometheus.remote.timeout=1m0.5s"],
            {"STORAGE_TYPE": "prometheus,cortex"},
            {
                "admin": ":15691",
                "remote_write": [
                    {
                        "name": "prometheus",
                        "url": "http://localhost:9090/api/v1/write",
                        "remote_timeout": 60.5,
                        "queue_config": {"max_samples_per_send": "10"},
                    },
                    {
                        "name": "cortex",
                        "url": "http://localhost/api/v1/push",
                        "remote_timeout": 10.0,
                        "queue_config": {"max_samples_per_send": "10"},
                    },
                ],
            },
        ),
    ],
    ids=["defaults", "http", "tls", "remote write"],
)
def test_flags_become_sections_of_an_agent_s_file(
    arguments: list[str], environment: dict[str, str], expected: dict[str, Any], tmp_path: Path
) -> None:
    given = read_flags(arguments, environment)
    assert sections(given) == expected
    file = tmp_path / "clymene.yml"
    file.write_text("scrape_configs: [{job_name: j}]\nrule_files: [x.yml]\ncluster: c1\n")
    if "/ca.pem" not in str(expected):
        loaded = load(file, given, {})
        assert [job.job_name for job in loaded.config.scrape_configs] == ["j"]
        assert bool(loaded.config.gateway) is ("gateway" in expected)
        assert len(loaded.config.remote_write) == len(expected.get("remote_write", []))


@pytest.mark.parametrize(
    ("arguments", "environment", "reasons"),
    [
        (
            [],
            {"STORAGE_TYPE": ""},
            ["STORAGE_TYPE=elasticsearch (which is what it means where it is not set): an agent"],
        ),
        (
            ["--kafka.producer.brokers=k:1"],
            {"STORAGE_TYPE": "kafka"},
            ["--kafka.producer.brokers: ", "STORAGE_TYPE=kafka"],
        ),
        ([], {"STORAGE_TYPE": "gateway,nonsense"}, ["STORAGE_TYPE=nonsense: is no type of storage that Clymene has"]),
        (["--prometheus.remote.url=http://p"], {}, ["--prometheus.remote.url: belongs to STORAGE_TYPE=prometheus"]),
        (["--gateway.grpc-client.host-port=a:1,b:1"], {}, ["--gateway.grpc-client.host-port: is a list"]),
        (["--gateway.http-client.user.agent=x"], {}, ["--gateway.http-client.user.agent: is not supported"]),
        (
            ["--gateway.grpc-client.tls.ca=x"],
            {},
            ["--gateway.grpc-client.tls.ca: needs --gateway.grpc-client.tls.enabled"],
        ),
        (["--gateway.grpc-client.tls.enabled=maybe"], {}, ['--gateway.grpc-client.tls.enabled: "maybe" is neither']),
        (["--metrics-backend=expvar"], {}, ['--metrics-backend: "expvar" is not supported: prometheus']),
        ([], {"TS_STORAGE_TYPE": "kafka"}, ["TS_STORAGE_TYPE: Clymene refuses it, too: use STORAGE_TYPE"]),
        ([], {"LOG_LEVEL": "loud"}, ['--log-level: "loud" is not supported']),
        ([], {"HTTP_PORT": "tcp://10.0.0.1:80"}, ['--http.port: "tcp://10.0.0.1:80" is no number above 0']),
        (
            ["--nonsense=1", "nonsense", "--config.file"],
            {},
            ["--config.file: needs", "--nonsense: is no flag", "nonsense: "],
        ),
    ],
)
def test_what_cannot_be_is_refused_by_name(
    arguments: list[str], environment: dict[str, str], reasons: list[str]
) -> None:
    said = wrong(*arguments, **environment)
    assert len(said) == len(reasons)
    assert all(line.startswith(reason) for line, reason in zip(said, reasons, strict=True))


def test_a_file_that_says_what_the_flags_say_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "clymene.yml"
    file.write_text("scrape_configs: []\nremote_write: [{url: http://x}]\n")
    with pytest.raises(ConfigError, match=r"clymene\.yml:2: remote_write: is said by Clymene's flags"):
        load(file, read_flags([], GATEWAY), {})


class ClymeneAgent:
    """`pronoia clymene-agent` as a Deployment of Clymene's would start it."""

    def __init__(self, folder: Path, config: dict[str, Any], arguments: list[str], storage: str) -> None:
        folder.mkdir()
        self.file, self.admin, self.reload = folder / "clymene.yml", free_port(), free_port()
        self.file.write_text(yaml.safe_dump(config))
        ports = {"ADMIN_HTTP_HOST_PORTS": f"127.0.0.1:{self.admin}", "HTTP_PORT": str(self.reload)}
        command = (sys.executable, "-m", "pronoia", "clymene-agent", "--config.file=clymene.yml", *arguments)
        self.process = Process(command, folder, env={"STORAGE_TYPE": storage, **ports})

    async def __aenter__(self) -> "ClymeneAgent":
        await self.process.start(self._ready)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.process.kill()

    async def _ready(self) -> bool:
        try:
            url = f"http://127.0.0.1:{self.admin}/readyz"
            async with aiohttp.ClientSession() as session, session.get(url) as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False


def jobs(exporter: Exporter, *names: str) -> dict[str, Any]:
    static = [{"targets": [f"127.0.0.1:{exporter.port}"]}]
    made = [{"job_name": name, "metrics_path": f"/{name}", "static_configs": static} for name in names]
    return {"global": {"scrape_interval": "1s", "scrape_timeout": "1s"}, "cluster": "c1", "scrape_configs": made}


async def test_it_pushes_to_a_gateway_that_asks_for_a_token(tmp_path: Path) -> None:
    http, grpc, admin = free_port(), free_port(), free_port()
    (tmp_path / "token").write_text("secret")
    listen = {"http": f"127.0.0.1:{http}", "grpc": f"127.0.0.1:{grpc}", "admin": f"127.0.0.1:{admin}"}
    clusters = [{"name": "c1", "token_file": str(tmp_path / "token")}]
    log = {"sqlite": {"path": "log"}}
    gateway = Member(tmp_path / "gateway", "gateway", {"listen": listen, "log": log, "clusters": clusters}, admin)
    flags = [f"--gateway.grpc-client.host-port=127.0.0.1:{grpc}", f"--gateway.token-file={tmp_path / 'token'}"]

    async def received() -> bool:
        found = re.search(
            r'received_items_total\{cluster="c1",signal="metrics"\} (\S+)', (await gateway.get("/metrics"))[1]
        )
        return found is not None and float(found[1]) > 0

    try:
        await gateway.start()
        async with (
            Exporter({"a": Target("a", 5)}) as exporter,
            ClymeneAgent(tmp_path / "agent", jobs(exporter, "a"), flags, "gateway"),
        ):
            await until(received, "the gateway takes what the agent scrapes")
    finally:
        await gateway.process.kill()


@pytest.mark.prometheus
async def test_it_writes_to_prometheus_and_reloads_on_its_second_port(prometheus: Prometheus, tmp_path: Path) -> None:
    async with Exporter({"a": Target("a", 5), "b": Target("b", 5)}) as exporter:
        flags = ["--prometheus.remote.url", prometheus.write_url]
        async with ClymeneAgent(tmp_path / "agent", jobs(exporter, "a"), flags, "prometheus") as agent:

            async def stored(job: str) -> bool:
                return bool(await prometheus.query(f'up{{job="{job}",cluster="c1"}} == 1'))

            await until(lambda: stored("a"), "what is scraped is in Prometheus")
            agent.file.write_text(yaml.safe_dump(jobs(exporter, "a", "b")))
            url = f"http://127.0.0.1:{agent.reload}/api/reload"
            async with aiohttp.ClientSession() as session, session.post(url) as answer:
                assert answer.status == 200
            await until(lambda: stored("b"), "the new job is scraped")
