"""prometheus/prometheus, config/testdata: every bad file is refused; good ones load, or are refused by name."""

import json
import re
from pathlib import Path

import pytest

from agent.config import load
from agent.config.unsupported import DISCOVERIES
from pipeline.config import ConfigError
from tests.conformance.data import folder

FILES = folder("prom-config")
REASONS: dict[str, str] = {
    entry["file"]: entry["err_contains"] for entry in json.loads((FILES / "bad_errors.json").read_text())
}
NOT_SUPPORTED = re.compile(
    rf"(?:({'|'.join(DISCOVERIES)})_sd_configs|tracing\.tls_config\.insecure_skip_verify"
    r"|convert_classic_histograms_to_nhcb): is not supported"
)

OUR_WORDS = {
    "kubernetes_namespace_discovery.bad.yml": "namespaces.foo: unknown key",
    "unknown_attr.bad.yml": "consult_sd_configs: unknown key",
    "unknown_global_attr.bad.yml": "global.nonexistent_field: unknown key",
    "section_key_dup.bad.yml": "scrape_configs: stands twice",
    "rules.bad.yml": 'rule_files[1]: invalid file path "my/*/rule"',
    "scrape_config_files_glob.bad.yml": 'scrape_config_files[0]: invalid file path "scrape_configs/*/*"',
    "scrape_body_size_limit.bad.yml": "body_size_limit: unknown unit in 100",
    "remote_write_authorization_header.bad.yml": "authorization header must be changed via the basic_auth",
    "remote_write_wrong_msg.bad.yml": "protobuf_message: must be 'prometheus.WriteRequest' or",
    "labelmap.bad.yml": "replacement: ",
    "scrape_config_files_scrape_protocols.bad.yml": "unknown scrape protocol prometheusproto, supported: ",
    "scrape_config_files_scrape_protocols2.bad.yml": "duplicated protocol in scrape_protocols, got ",
    "scrape_config_files_fallback_scrape_protocol1.bad.yml": "unknown scrape protocol prometheusproto, supported: ",
    "scrape_config_files_fallback_scrape_protocol2.bad.yml": "fallback_scrape_protocol: Input should be",
    "metric_name_validation_scheme.bad.yml": "metric_name_validation_scheme: must be 'legacy' or 'utf8'",
    "tsdb_retention_time.bad.yml": "not a valid duration string: '-1h'",
    "tsdb_chunk_encoding_floats.bad.yml": "storage.tsdb.chunk_encoding.floats: must be '', 'xor' or 'xor2', not '",
    "tsdb_chunk_encoding_floats_wrong_case.bad.yml": "chunk_encoding.floats: must be '', 'xor' or 'xor2', not '",
    "tsdb_chunk_encoding_floats_wrong_case_xor2.bad.yml": "chunk_encoding.floats: must be '', 'xor' or 'xor2', not '",
}
"""Where our reason says the same in other words."""


def mistakes(path: Path) -> str:
    try:
        load(path, {"TEST": "TestValue"}, check_files=False)
    except ConfigError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("path", sorted(FILES.glob("*.bad.yml")), ids=lambda path: path.name)
def test_bad_files_are_refused_with_a_line_and_the_same_reason(path: Path) -> None:
    said = mistakes(path)
    assert re.match(rf"{re.escape(str(FILES))}/[\w.]+:\d+: ", said)
    if not NOT_SUPPORTED.search(said):
        assert OUR_WORDS.get(path.name, REASONS.get(path.name, "")) in said


@pytest.mark.parametrize("path", sorted(FILES.glob("*.good.yml")), ids=lambda path: path.name)
def test_good_files_load_or_are_refused_by_name(path: Path) -> None:
    for line in mistakes(path).splitlines():
        assert NOT_SUPPORTED.search(line)


@pytest.mark.parametrize(
    "name",
    [
        "agent_mode.good.yml",
        "external_labels.good.yml",
        "global_enable_scrape_native_hist_and_scrape_protocols.good.yml",
        "local_disable_scrape_native_hist.good.yml",
        "global_timeout.good.yml",
        "global_enable_extra_scrape_metrics.good.yml",
        "remote_write_retry_on_rate_limit.good.yml",
        "scrape_config_disable_compression.good.yml",
        "scrape_config_files_combined.good.yml",
        "scrape_config_local_global_validation_mode.yml",
        "otlp_sanitize_promote_resource_attributes.good.yml",
        "tsdb_retention_percentage_float.good.yml",
        "rules_abs_path.good.yml",
    ],
)
def test_files_of_what_is_supported_load(name: str) -> None:
    assert mistakes(FILES / name) == ""


def test_external_labels_take_variables_from_the_environment() -> None:
    labels = load(FILES / "external_labels.good.yml", {"TEST": "TestValue"}).config.global_config.external_labels
    assert labels == {
        "bar": "foo",
        "baz": "fooTestValuebar",
        "foo": "TestValue",
        "qux": "foo${TEST}",
        "xyz": "foo$bar",
    }
