from pathlib import Path

import pytest

from agent.config import load
from agent.config.unsupported import DISCOVERIES
from pipeline.config import ConfigError

SECTIONS = """\
scrape_configs:
- job_name: a
  dns_sd_configs:
  - {names: [_http._tcp.a, b.]}
  - {names: [c], type: aaaa, port: "80", refresh_interval: 5m}
  consul_sd_configs:
  - {}
  - {server: "https://c/proxy", token: t, services: [s], tags: [x], node_meta: {a: b}, allow_stale: no,
     namespace: n, partition: p, datacenter: d, filter: f, health_filter: h, tag_separator: ";"}
  docker_sd_configs:
  - {host: unix:///var/run/docker.sock}
  - {host: "https://d:2376", tls_config: {insecure_skip_verify: true}, filters: [{name: label, values: [a, b]}]}
  ec2_sd_configs:
  -
    region: r
    filters:
    - {name: "tag:a", values: [b]}
    proxy_url: http://proxy:3128
"""


def mistakes(folder: Path, section: str) -> list[str]:
    path = folder / "prometheus.yml"
    path.write_text(f"scrape_configs:\n- job_name: a\n  {section}\n")
    with pytest.raises(ConfigError) as caught:
        load(path, {})
    return [f"{mistake.key.removeprefix('scrape_configs[0].')}: {mistake.reason}" for mistake in caught.value.mistakes]


def test_sections_are_read_with_prometheus_defaults(tmp_path: Path) -> None:
    path = tmp_path / "prometheus.yml"
    path.write_text(SECTIONS)
    loaded = load(path, {}, strict=True)
    (job,) = loaded.config.scrape_configs
    srv, aaaa = job.dns_sd_configs
    assert (srv.type, srv.refresh_interval, aaaa.type, aaaa.port, aaaa.refresh_interval) == ("SRV", 30, "AAAA", 80, 300)
    plain, full = job.consul_sd_configs
    assert (plain.server, plain.scheme, plain.tag_separator, plain.allow_stale, plain.refresh_interval) == (
        *("localhost:8500", "http", ",", True, 30),
    )
    assert (full.allow_stale, full.node_meta, full.follows_catalog) == (False, {"a": "b"}, True)
    local, remote = job.docker_sd_configs
    assert (local.port, local.host_networking_host, local.match_first_network, local.refresh_interval) == (
        *(80, "localhost", True, 60),
    )
    assert remote.filters[0].values == ("a", "b")
    (ec2,) = job.ec2_sd_configs
    assert (ec2.port, ec2.refresh_interval, ec2.proxy_url) == (80, 60, "http://proxy:3128")


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ("dns_sd_configs: [{type: A}]", "dns_sd_configs[0].names: Tuple should have at least 1 item"),
        ("dns_sd_configs: [{names: [a], type: TXT}]", "dns_sd_configs[0].type: must be 'SRV', 'A', 'AAAA', 'MX' or"),
        ("dns_sd_configs: [{names: [a], type: A}]", "dns_sd_configs[0]: a port is required in DNS-SD configs"),
        ("dns_sd_configs: [{names: [a], refresh_interval: 0s}]", "dns_sd_configs[0].refresh_interval: must be longer"),
        ("dns_sd_configs: [null]", "dns_sd_configs[0]: empty or null section in dns_sd_configs"),
        ("docker_sd_configs: [{}]", "docker_sd_configs[0].host: host missing"),
        (
            "docker_sd_configs: [{host: 'npipe:////./pipe/docker'}]",
            'docker_sd_configs[0].host: "npipe:////./pipe/docker',
        ),
        ("docker_sd_configs: [{host: 'http://'}]", 'docker_sd_configs[0].host: "http://" names no daemon'),
        ("docker_sd_configs: [{host: 'unix:///x', port: 99999}]", "docker_sd_configs[0].port: Input should be less"),
        (
            "docker_sd_configs: [{host: 'unix:///x', filters: [{value: a}]}]",
            "docker_sd_configs[0].filters[0].value: unkn",
        ),
        ("consul_sd_configs: [{server: 'ftp://c'}]", "consul_sd_configs[0].server: unknown protocol scheme: ftp"),
        (
            "consul_sd_configs: [{tls_config: {ca_file: none}}]",
            "consul_sd_configs[0].tls_config.ca_file: cannot be read",
        ),
        (
            "ec2_sd_configs: [{oauth2: {client_id: a, token_url: b}}]",
            "ec2_sd_configs[0]: oauth2 is not supported: requ",
        ),
        (
            "http_sd_configs: [{url: 'http://a', refresh_interval: 0s}]",
            "http_sd_configs[0].refresh_interval: must be l",
        ),
        ("aws_sd_configs: [{role: ec2}]", "aws_sd_configs: is not supported yet: ec2_sd_configs finds"),
    ],
)
def test_what_cannot_be_is_refused_with_its_reason(tmp_path: Path, section: str, expected: str) -> None:
    (mistake,) = mistakes(tmp_path, section)
    assert mistake.startswith(expected)


@pytest.mark.parametrize("kind", DISCOVERIES)
def test_other_kinds_are_refused_by_name(tmp_path: Path, kind: str) -> None:
    (mistake,) = mistakes(tmp_path, f"{kind}_sd_configs: [{{}}]")
    assert mistake.startswith(f"{kind}_sd_configs: is not supported yet: ")
