"""A promtail's file is read as it is: what it says is done, read and of no effect, or refused by name."""

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import BaseModel

from agent.config import Loaded, load, require_destination
from agent.config.logs import LogScrapeConfig
from agent.config.promtail import (
    FileWatchConfig,
    LimitsConfig,
    LogsConfig,
    LogsGlobal,
    PositionsConfig,
    TargetConfig,
)
from agent.config.promtail_server import IGNORED, ServerConfig
from agent.config.unsupported import REASONS
from pipeline.config import Address, ConfigError
from pipeline.send.loki.config import LokiConfig

STOCK = Path(__file__).parents[2] / "promtail"
CLIENTS = "clients: [{url: http://loki:3100/loki/api/v1/push}]\n"
FILES = "static_configs: [{labels: {__path__: /var/log/*log}}]"


def loaded(folder: Path, text: str) -> Loaded:
    file = folder / "promtail.yaml"
    file.write_text(text)
    return load(file, {})


def logs_of(folder: Path, text: str) -> LogsConfig:
    logs = loaded(folder, text).config.logs
    assert logs is not None
    return logs


def mistakes(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        loaded(folder, text)
    return [str(mistake).replace(f"{folder}/promtail.yaml:", "") for mistake in caught.value.mistakes]


def test_the_stock_file_for_kubernetes_is_read_unchanged() -> None:
    loaded = load(STOCK / "kubernetes.yaml", {})
    config = loaded.config
    assert config.logs is not None
    (job,) = config.logs.scrape_configs
    assert (job.job_name, job.pool, [stage.name for stage in job.pipeline_stages]) == (
        "kubernetes-pods",
        "logs/kubernetes-pods",
        ["cri"],
    )
    assert config.logs.positions is not None
    assert config.logs.positions.filename == Path("/run/promtail/positions.yaml")
    assert [client.url for client in config.logs.clients] == ["http://loki-gateway/loki/api/v1/push"]
    assert config.admin == Address(host="0.0.0.0", port=3101), "where promtail's probes look"
    assert config.global_config.external_labels == {}, "Loki gets what promtail sent"
    require_destination(config, "promtail.yaml")
    (warning,) = loaded.warnings
    assert "server.log_level (line 3), server.log_format (line 4)" in warning


def test_the_stock_file_for_one_machine_is_read_unchanged() -> None:
    logs = load(STOCK / "local.yaml", {}).config.logs
    assert logs is not None
    assert logs.scrape_configs[0].static_configs[0].targets == ("localhost",)


def test_the_older_file_for_kubernetes_is_read_unchanged() -> None:
    loaded = load(STOCK / "kubernetes-by-labels.yaml", {})
    assert loaded.config.logs is not None
    assert [job.job_name for job in loaded.config.logs.scrape_configs] == [
        *("kubernetes-pods-name", "kubernetes-pods-app", "kubernetes-pods-direct-controllers"),
        *("kubernetes-pods-indirect-controller", "kubernetes-pods-static"),
    ]
    assert loaded.warnings == ()


def test_a_promtails_file_may_have_the_agents_own_keys_beside(tmp_path: Path) -> None:
    text = f"{CLIENTS}cluster: c1\ngateway: {{url: 'http://gateway:15611'}}\nserver: {{http_listen_port: 1}}\n"
    text += f"admin: 127.0.0.1:9\nbuffer: {{max_bytes: 1GiB}}\nscrape_configs: [{{job_name: a, {FILES}}}]"
    config = loaded(tmp_path, text).config
    assert (config.gateway is not None, config.buffer.max_bytes, config.admin.port) == (True, 2**30, 9)
    assert config.global_config.external_labels == {"cluster": "c1"}


@pytest.mark.parametrize(
    "job",
    [
        FILES,
        "kubernetes_events: {elected: false}",
        "kubernetes_sd_configs: [{role: pod}], relabel_configs: [{target_label: __path__, replacement: /x}]",
    ],
)
def test_a_promtails_file_without_clients_is_told_by_its_jobs(tmp_path: Path, job: str) -> None:
    text = f"gateway: {{url: 'http://gateway:15611'}}\ncluster: c1\nscrape_configs: [{{job_name: a, {job}}}]\n"
    assert [one.pool for one in logs_of(tmp_path, text).scrape_configs] == ["logs/a"]


def test_an_agents_file_has_promtails_in_a_section(tmp_path: Path) -> None:
    text = f"""\
scrape_configs: [{{job_name: a, static_configs: [{{targets: ["h:1"]}}]}}]
gateway: {{url: "http://gateway:15611"}}
logs:
  scrape_configs: [{{job_name: a, {FILES}}}]
  server: {{http_listen_port: 3101}}
"""
    config = loaded(tmp_path, text).config
    assert config.logs is not None
    assert (config.scrape_configs[0].pool, config.logs.scrape_configs[0].pool) == ("a", "logs/a")
    assert config.admin.port == 15691, "the agent's own"


def test_a_group_without_targets_is_this_machine(tmp_path: Path) -> None:
    logs = logs_of(tmp_path, f"{CLIENTS}scrape_configs: [{{job_name: a, {FILES}}}]")
    assert logs.scrape_configs[0].static_configs[0].targets == ("localhost",)


def test_mistakes_have_their_lines_and_all_are_told(tmp_path: Path) -> None:
    text = """\
clients: [{url: loki}, {url: http://x/loki/api/v1/push, foo: 1}]
limits_config: {readline_rate_enabled: true}
scrape_configs:
- job_name: a
- job_name: b
  static_configs: [{labels: {__path__: /x}}]
  journal: {}
- job_name: c
  static_configs: [{labels: {__path__: /x}}]
  pipeline_stages: [{nonsense: {}}]
- job_name: d
  gelf: {}
- job_name: e
  decompression: {enabled: true, format: xz}
  static_configs: [{labels: {__path__: /x}}]
"""
    found = mistakes(tmp_path, text)
    assert [line for line in found if line.startswith("1: clients[0].url: must be a URL")]
    assert "1: clients[1].foo: unknown key" in found
    assert "2: limits_config.readline_rate_enabled: is not supported: it drops lines, or holds all jobs back; the stage"
    assert '4: scrape_configs[0]: no valid target scrape config defined for "a"' in found
    assert "5: scrape_configs[1]: a job has one source, not journal and files that are discovered: make jobs of" in (
        "\n".join(found)
    )
    assert [line for line in found if line.startswith("10: scrape_configs[2].pipeline_stages[0]")]
    assert "12: scrape_configs[3].gelf: is not supported: send syslog, or push to a Loki push endpoint" in found
    assert [line for line in found if "scrape_configs[4].decompression.format: unsupported compression" in line]


def test_two_jobs_of_one_name_are_refused(tmp_path: Path) -> None:
    text = f"{CLIENTS}scrape_configs: [{{job_name: a, {FILES}}}, {{job_name: a, {FILES}}}]"
    assert mistakes(tmp_path, text) == ['1: found multiple scrape configs with job name "a"']


@pytest.mark.parametrize(
    "key",
    ["windows_events", "gcplog", "azure_event_hubs", "gelf", "cloudflare", "heroku_drain", "consulagent_sd_configs"],
)
def test_a_source_that_is_not_supported_is_refused_by_name(tmp_path: Path, key: str) -> None:
    text = f"{CLIENTS}scrape_configs: [{{job_name: a, {FILES}, {key}: {{}}}}]"
    assert mistakes(tmp_path, text) == [f"2: scrape_configs[0].{key}: {REASONS[key]}"]


def test_logs_need_a_destination_of_their_own(tmp_path: Path) -> None:
    text = f"remote_write: [{{url: 'http://x/write'}}]\nlogs: {{scrape_configs: [{{job_name: a, {FILES}}}]}}"
    with pytest.raises(ConfigError, match="no destination for logs"):
        require_destination(loaded(tmp_path, text).config, "f")
    require_destination(loaded(tmp_path, f"{CLIENTS}scrape_configs: [{{job_name: a, {FILES}}}]").config, "f")
    both = "scrape_configs: [{job_name: a, static_configs: [{targets: ['h:1']}]}]\n"
    both += f"logs: {{clients: [{{url: 'http://l/loki/api/v1/push'}}], scrape_configs: [{{job_name: a, {FILES}}}]}}"
    with pytest.raises(ConfigError, match="needs gateway or remote_write"):
        require_destination(loaded(tmp_path, both).config, "f")


def test_what_is_of_no_effect_is_named_in_one_warning(tmp_path: Path) -> None:
    text = f"""\
{CLIENTS.strip()}
server: {{graceful_shutdown_timeout: 1s}}
positions: {{sync_period: 3s}}
limits_config: {{readline_rate: 100}}
tracing: {{enabled: true}}
wal: {{enabled: true}}
options: {{stream_lag_labels: filename}}
global: {{file_watch_config: {{min_poll_frequency: 100ms, max_poll_frequency: 1s}}}}
scrape_configs: [{{job_name: a, {FILES}}}]
"""
    (warning,) = loaded(tmp_path, text).warnings
    for key in (
        "server.graceful_shutdown_timeout (line 2)",
        "positions.sync_period (line 3)",
        "limits_config.readline_rate (line 4)",
        "tracing.enabled (line 5)",
        "wal.enabled (line 6)",
        "options.stream_lag_labels (line 7)",
        "global.file_watch_config.max_poll_frequency (line 8)",
    ):
        assert key in warning
    assert "min_poll_frequency" not in warning


def test_encryption_of_promtails_server_is_never_dropped_silently(tmp_path: Path) -> None:
    text = f"{CLIENTS}server: {{http_tls_config: {{cert_file: a, key_file: b}}}}"
    assert [line for line in mistakes(tmp_path, text) if line.startswith("2: server.http_tls_config: is not supported")]


JOB = """
job_name pipeline_stages journal syslog gcplog loki_push_api windows_events kafka azure_event_hubs gelf cloudflare
heroku_drain relabel_configs docker_sd_configs encoding decompression static_configs dns_sd_configs file_sd_configs
consul_sd_configs consulagent_sd_configs digitalocean_sd_configs dockerswarm_sd_configs serverset_sd_configs
nerve_sd_configs marathon_sd_configs kubernetes_sd_configs gce_sd_configs ec2_sd_configs azure_sd_configs
openstack_sd_configs triton_sd_configs
"""
CLIENT = """
name url batchwait batchsize headers backoff_config external_labels timeout tenant_id drop_rate_limited_batches
basic_auth bearer_token bearer_token_file proxy_url tls_config oauth2
"""
SERVER = "http_listen_address http_listen_port http_path_prefix http_tls_config grpc_tls_config " + " ".join(IGNORED)


@pytest.mark.parametrize(
    ("model", "keys"),
    [
        (LogScrapeConfig, JOB),
        (LokiConfig, CLIENT),
        (
            LogsConfig,
            "global server client clients positions scrape_configs target_config limits_config options tracing wal",
        ),
        (LogsGlobal, "file_watch_config"),
        (FileWatchConfig, "min_poll_frequency max_poll_frequency"),
        (PositionsConfig, "filename sync_period ignore_invalid_yaml"),
        (TargetConfig, "sync_period stdin"),
        (
            LimitsConfig,
            "readline_rate readline_burst readline_rate_enabled readline_rate_drop max_streams max_line_size"
            " max_line_size_truncate",
        ),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_no_key_of_promtail_is_unknown(model: type[BaseModel], keys: str) -> None:
    known = {field.alias or name for name, field in model.model_fields.items()}
    assert [key for key in keys.split() if key not in known and key not in REASONS] == []


def test_no_key_of_promtails_server_is_unknown() -> None:
    values = {key: 1 if "port" in key else None for key in SERVER.split()}
    ServerConfig.model_validate(values)


def test_variables_are_expanded_as_promtail_does_it_where_that_is_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "promtail.yaml"
    file.write_text(
        "clients: [{url: 'http://${HOST:-loki}:${PORT}/loki/api/v1/push', tenant_id: '${NONE}'}]\n"
        f"scrape_configs: [{{job_name: a, {FILES}, pipeline_stages: [{{regex: {{expression: '(?P<n>\\\\d+)$'}}}}]}}]\n"
    )
    config = load(file, {"PORT": "3100"}, expand_env=True).config
    assert config.logs is not None
    assert (config.logs.clients[0].url, config.logs.clients[0].tenant_id) == (
        "http://loki:3100/loki/api/v1/push",
        "",
    )
    assert config.logs.scrape_configs[0].pipeline_stages[0].section.expression == r"(?P<n>\d+)$"
    plain = load(file, {"PORT": "3100"}).config
    assert plain.logs is not None
    assert plain.logs.clients[0].url == "http://${HOST:-loki}:${PORT}/loki/api/v1/push", "promtail asks for a flag, too"
    file.write_text("a: ${NAME^^}\n")
    with pytest.raises(ConfigError, match=r":1: \$\{NAME\^\^\} is not supported"):
        load(file, {}, expand_env=True)


def test_an_agent_that_reads_no_logs_does_not_hold_their_stages_in_memory(tmp_path: Path) -> None:
    file = tmp_path / "prometheus.yml"
    file.write_text("scrape_configs: [{job_name: a}]")
    code = (
        "import sys, pathlib, pronoia.agent, agent.config\n"
        f"agent.config.load(pathlib.Path({str(file)!r}), {{}})\n"
        "assert not [name for name in sys.modules if name.startswith(('agent.stages', 'agent.tail', 'agent.inputs'))]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
