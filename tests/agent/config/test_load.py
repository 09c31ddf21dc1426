from pathlib import Path

import pytest

from agent.config import AgentConfig, load, require_destination
from agent.config.scrape import PROTOCOLS
from pipeline.config import ConfigError


def write(folder: Path, text: str, name: str = "prometheus.yml") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def loaded(folder: Path, text: str) -> AgentConfig:
    return load(write(folder, text), {}).config


def mistakes(folder: Path, text: str, strict: bool = False) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(write(folder, text), {}, strict=strict)
    return [str(mistake).replace(f"{folder}/", "") for mistake in caught.value.mistakes]


STOCK = """\
global:
  scrape_interval: 15s # Set the scrape interval to every 15 seconds. Default is every 1 minute.
  evaluation_interval: 15s # Evaluate rules every 15 seconds. The default is every 1 minute.
  # scrape_timeout is set to the global default (10s).

alerting:
  alertmanagers:
    - static_configs:
        - targets:
          # - alertmanager:9093

rule_files:
  # - "first_rules.yml"

scrape_configs:
  - job_name: "prometheus"
    # metrics_path defaults to '/metrics'
    static_configs:
      - targets: ["localhost:9090"]
        labels:
          app: "prometheus"
    scrape_native_histograms: true
"""


def test_the_file_that_prometheus_comes_with_loads(tmp_path: Path) -> None:
    result = load(write(tmp_path, STOCK), {})
    (job,) = result.config.scrape_configs
    assert (job.job_name, job.scrape_interval, job.scrape_timeout) == ("prometheus", 15.0, 10.0)
    assert job.static_configs[0].labels == {"app": "prometheus"}
    assert [warning.replace(f"{tmp_path}/", "") for warning in result.warnings] == [
        "prometheus.yml:6: an agent evaluates no rules and keeps no series; of no effect here:"
        " alerting (line 6), global.evaluation_interval (line 3)",
    ]
    assert job.scrape_protocols[0] == "PrometheusProto"


def test_strict_makes_a_mistake_of_the_warning(tmp_path: Path) -> None:
    (only,) = mistakes(tmp_path, STOCK, strict=True)
    assert only.startswith("prometheus.yml:6: an agent evaluates no rules")


def test_protobuf_is_asked_for_first_where_native_histograms_are_wanted(tmp_path: Path) -> None:
    jobs = "[{job_name: a}, {job_name: b, scrape_native_histograms: true}, {job_name: c, scrape_protocols: [%s]}]"
    a, b, c = loaded(tmp_path, f"scrape_configs: {jobs % 'PrometheusProto'}").scrape_configs
    assert a.scrape_protocols == PROTOCOLS
    assert b.scrape_protocols == ("PrometheusProto", *PROTOCOLS)
    assert c.scrape_protocols == ("PrometheusProto",)
    # A list under `global` is everybody's.
    wanted = "global: {scrape_native_histograms: true}\nscrape_configs: [{job_name: a}]"
    (job,) = loaded(tmp_path, wanted).scrape_configs
    assert job.scrape_protocols == ("PrometheusProto", *PROTOCOLS)
    (job,) = loaded(tmp_path, wanted.replace("true}", "true, scrape_protocols: [PrometheusText0.0.4]}")).scrape_configs
    assert job.scrape_protocols == ("PrometheusText0.0.4",)


def test_openmetrics_2_is_refused_by_name(tmp_path: Path) -> None:
    text = "scrape_configs: [{job_name: a, scrape_protocols: [OpenMetricsText2.0.0]}]"
    assert mistakes(tmp_path, text) == [
        "prometheus.yml:1: scrape_configs[0].scrape_protocols[0]: OpenMetricsText2.0.0 is not supported:"
        " it is an experiment, which Prometheus has behind a feature flag"
    ]


def test_every_mistake_of_a_file_is_told_at_once(tmp_path: Path) -> None:
    write(tmp_path, "scrape_configs: [{job_name: b, scrape_timeout: 2m}, {job_name: c}]\nglobal: {}\n", "more.yml")
    text = """\
global: {scrape_interval: 1x, nonsense: 1}
scrape_config_files: [more.yml]
scrape_configs:
- job_name: a
  gce_sd_configs: [{project: p, zone: z}]
  relabel_configs: [{regex: "("}, {action: hashmod, target_label: t}]
  basic_auth: {username: u, password_file: missing}
- job_name: b
  tls_config: {ca_file: none.pem}
remote_write: [{}]
gateway: {url: "ftp://x"}
receive: {}
"""
    assert mistakes(tmp_path, text) == [
        "prometheus.yml:1: global.nonsense: unknown key",
        "prometheus.yml:1: global.scrape_interval: not a valid duration string: '1x': write it like 15s, 1m or 1h30m",
        "prometheus.yml:5: scrape_configs[0].gce_sd_configs: is not supported yet: bring these targets by"
        " file_sd_configs or http_sd_configs",
        "prometheus.yml:6: scrape_configs[0].relabel_configs[0].regex: error parsing regexp: missing ): ^(?s:()$",
        "prometheus.yml:6: scrape_configs[0].relabel_configs[1]: relabel configuration for hashmod requires"
        " non-zero modulus",
        f"prometheus.yml:9: scrape_configs[1].tls_config.ca_file: cannot be read: {tmp_path}/none.pem:"
        " No such file or directory".replace(f"{tmp_path}/", ""),
        "prometheus.yml:10: remote_write[0].url: url for remote_write is empty",
        "prometheus.yml:11: gateway.url: must begin with grpc://, grpcs://, http:// or https://, not 'ftp://x'",
        "prometheus.yml:12: receive: is not supported yet",
    ]


def test_mistakes_of_included_files_carry_their_name(tmp_path: Path) -> None:
    write(tmp_path, "scrape_configs: [{job_name: b, scrape_timeout: 2m}, {job_name: a}]\nglobal: {}\n", "jobs/more.yml")
    assert mistakes(tmp_path, "scrape_config_files: [jobs/*.yml]\nscrape_configs: [{job_name: a}]\n") == [
        "jobs/more.yml:1: scrape_configs[0]: scrape timeout greater than scrape interval"
        ' for scrape config with job name "b"',
        "jobs/more.yml:1: scrape_configs[1].job_name: found multiple scrape configs with job name"
        ' "a", first found in prometheus.yml:2',
        "jobs/more.yml:2: global: unknown key: an included file holds scrape_configs only",
    ]


def test_files_are_looked_for_beside_the_file_that_names_them(tmp_path: Path) -> None:
    write(tmp_path, "secret", "jobs/token")
    write(tmp_path, "scrape_configs: [{job_name: a, authorization: {credentials_file: token}}]", "jobs/a.yml")
    (job,) = loaded(tmp_path, "scrape_config_files: [jobs/a.yml]").scrape_configs
    assert job.authorization is not None
    assert job.authorization.credentials_file == tmp_path / "jobs" / "token"


def test_jobs_inherit_what_they_leave_open(tmp_path: Path) -> None:
    text = """\
global:
  {scrape_interval: 5s, scrape_timeout: 4s, sample_limit: 10, label_limit: 3, body_size_limit: 1MB,
   scrape_protocols: [PrometheusText0.0.4], extra_scrape_metrics: true}
scrape_configs:
- {job_name: a}
- {job_name: b, scrape_interval: 2s, sample_limit: 20, label_limit: 0, extra_scrape_metrics: false}
"""
    a, b = loaded(tmp_path, text).scrape_configs
    assert (a.scrape_interval, a.scrape_timeout, a.sample_limit, a.label_limit) == (5.0, 4.0, 10, 3)
    assert (a.body_size_limit, a.scrape_protocols, a.extra_scrape_metrics) == (1 << 20, ("PrometheusText0.0.4",), True)
    assert (b.scrape_interval, b.scrape_timeout, b.sample_limit, b.label_limit) == (2.0, 2.0, 20, 3)
    assert b.extra_scrape_metrics is False


def test_the_default_timeout_gives_way_to_a_shorter_interval(tmp_path: Path) -> None:
    assert loaded(tmp_path, "scrape_configs: [{job_name: a}]").scrape_configs[0].scrape_interval == 60.0
    (job,) = loaded(tmp_path, "scrape_configs: [{job_name: a, scrape_interval: 3s}]").scrape_configs
    assert job.scrape_timeout == 3.0


def test_escaping_of_names_follows_from_how_they_are_validated(tmp_path: Path) -> None:
    text = """\
global: {metric_name_validation_scheme: legacy}
scrape_configs: [{job_name: a}, {job_name: b, metric_name_validation_scheme: utf8}]
"""
    a, b = loaded(tmp_path, text).scrape_configs
    assert (a.legacy_names, a.metric_name_escaping_scheme) == (True, "underscores")
    assert (b.legacy_names, b.metric_name_escaping_scheme) == (False, "allow-utf-8")


def test_a_rule_that_needs_free_names_is_refused_under_legacy_ones(tmp_path: Path) -> None:
    text = """\
scrape_configs:
- {job_name: a, metric_name_validation_scheme: legacy, relabel_configs: [{target_label: "a.b", replacement: x}]}
"""
    assert mistakes(tmp_path, text) == [
        "prometheus.yml:2: scrape_configs[0]: \"a.b\" is invalid 'target_label' for replace action"
    ]


def test_the_cluster_becomes_an_external_label(tmp_path: Path) -> None:
    config = loaded(tmp_path, "cluster: c1\nglobal: {external_labels: {dc: x}}")
    assert config.global_config.external_labels == {"dc": "x", "cluster": "c1"}
    config = loaded(tmp_path, "cluster: c1\ncluster_label: k8s")
    assert config.global_config.external_labels == {"k8s": "c1"}
    (line,) = mistakes(tmp_path, "cluster: c1\nglobal: {external_labels: {cluster: c2}}")
    assert line.endswith('cluster is "c1", but the external label cluster is "c2"')


def test_variables_that_are_not_set_are_warned_of(tmp_path: Path) -> None:
    path = write(tmp_path, "global:\n  external_labels:\n    a: $NOT_SET\n    b: ${HOST}.$$x")
    result = load(path, {"HOST": "h"})
    assert result.config.global_config.external_labels == {"b": "h.$x"}
    assert result.warnings == (
        f"{path}:3: global.external_labels.a: the environment has no variable NOT_SET, or an empty one",
    )


def test_what_grpc_s_tls_has_not_is_refused(tmp_path: Path) -> None:
    wrong = mistakes(tmp_path, "gateway: {url: 'grpcs://g', tls_config: {insecure_skip_verify: true}}")
    assert wrong == ["prometheus.yml:1: gateway: tls_config.insecure_skip_verify is not supported over gRPC"]


@pytest.mark.parametrize(
    ("url", "scheme", "secure", "address"),
    [
        ("grpc://g", "grpc", False, "g:15610"),
        ("grpcs://g:1", "grpc", True, "g:1"),
        ("http://g", "http", False, "g:15611"),
        ("https://[::1]:2/", "http", True, "[::1]:2"),
    ],
)
def test_a_gateway_has_a_port_and_a_way_there(
    tmp_path: Path, url: str, scheme: str, secure: bool, address: str
) -> None:
    gateway = loaded(tmp_path, f'gateway: {{url: "{url}"}}').gateway
    assert gateway is not None
    assert (gateway.scheme, gateway.is_secure, gateway.address) == (scheme, secure, address)


def test_an_agent_needs_a_destination(tmp_path: Path) -> None:
    config = loaded(tmp_path, "scrape_configs: [{job_name: a}]")
    with pytest.raises(ConfigError, match="names no destination"):
        require_destination(config, "f.yml")
    require_destination(loaded(tmp_path, "gateway: {url: 'grpc://g'}"), "f.yml")


def test_secrets_do_not_show(tmp_path: Path) -> None:
    text = """\
remote_write: [{url: 'http://x', basic_auth: {username: u, password: hush}}]
gateway: {url: grpc://g, token: hush}
"""
    assert "hush" not in repr(loaded(tmp_path, text))
    wrong = mistakes(tmp_path, "gateway: {url: 'grpc://g', token: hush, token_file: hush2}")
    assert wrong == ["prometheus.yml:1: gateway: at most one of token & token_file must be configured"]
