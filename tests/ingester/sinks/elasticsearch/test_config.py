"""What the section says, and what is refused by name."""

from pathlib import Path
from typing import Any

import pytest

from ingester.config import IngesterConfig
from pipeline.config import ConfigError, parse, validate
from tests.ingester.sinks.elasticsearch.parts import section


def checked(text: str) -> IngesterConfig:
    head = "log: {sqlite: {path: d}}\nsinks:\n- name: elastic\n  elasticsearch:\n"
    return validate(parse(head + text, "f.yml"), IngesterConfig)


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("    hosts: []", "f.yml:5: sinks[0].elasticsearch.hosts: "),
        ("    hosts: [es:9200]", "must begin with http:// or https:// and name a host"),
        ('    hosts: ["http://u:p@es"]', "use basic_auth"),
        ("    hosts: [http://es]\n    sniff: true", "sinks[0].elasticsearch.sniff: unknown key"),
        ("    hosts: [http://es]\n    signal: traces", "must be 'logs' or 'metrics'"),
        ("    hosts: [http://es]\n    dataset: A-b", "cannot be part of an index's name"),
        ('    hosts: [http://es]\n    dataset: "{namespace}"', "need one another"),
        ("    hosts: [http://es]\n    datasets: [a]", "need one another"),
        ('    hosts: [http://es]\n    dataset: "{a.b}"\n    datasets: [a]', "is no label's name"),
        ("    hosts: [http://es]\n    fields: {a: message.x}", "is a field of the sink's own"),
        ("    hosts: [http://es]\n    fields: {a: a..b}", "is no field's name"),
        ("    hosts: [http://es]\n    signal: metrics\n    fields: {a: b}", "fields is for logs"),
        ("    hosts: [http://es]\n    refresh_interval: soon", "refresh_interval"),
        ("    hosts: [http://es]\n    max_request_bytes: 1GiB", "max_request_bytes"),
        ("    hosts: [http://es]\n    api_key: k\n    basic_auth: {username: u}", "at most one of api_key"),
        ("    hosts: [http://es]\n    api_key: k\n    api_key_file: f", "at most one of api_key"),
        ('    hosts: [http://es]\n  tenant: "{tenant}"', "elasticsearch has no tenants"),
    ],
)
def test_a_mistake_is_named_with_its_place(text: str, mistake: str) -> None:
    with pytest.raises(ConfigError) as error:
        checked(text)
    assert mistake in str(error.value)


def test_two_sections_in_one_sink_are_refused() -> None:
    with pytest.raises(ConfigError, match="give exactly one of"):
        checked("    hosts: [http://es]\n  remote_write: {url: http://x}")


def test_an_api_key_is_an_authorization(tmp_path: Path) -> None:
    given = section(api_key="abc").http().authorization
    assert given is not None and (given.type, given.credentials.get_secret_value()) == ("ApiKey", "abc")
    (tmp_path / "key").write_text("abc")
    given = section(api_key_file=str(tmp_path / "key")).http().authorization
    assert given is not None and given.credentials_file == tmp_path / "key"
    assert section().http().authorization is None


@pytest.mark.parametrize(
    ("labels", "dataset"),
    [
        ({"namespace": "shop", "app": "Web UI"}, "shop_web_ui"),
        ({"namespace": "other"}, "default"),
        ({}, "default"),
    ],
)
def test_a_dataset_follows_labels_as_far_as_it_is_listed(labels: dict[str, str], dataset: str) -> None:
    config: Any = section(dataset="{namespace}_{app}", datasets=["shop_web_ui"])
    assert config.dataset_of(labels) == dataset
    assert section(dataset="x").dataset_of(labels) == "x"
