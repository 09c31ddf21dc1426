"""The templates, and when one that is there is left."""

from typing import Any

import pytest

from ingester.sinks.elasticsearch.template import is_current, make_template, template_name
from tests.ingester.sinks.elasticsearch.parts import section


def template(**more: Any) -> dict[str, Any]:
    opensearch, lifecycle = more.pop("opensearch", False), more.pop("lifecycle", True)
    return make_template(section(index_prefix="p", **more), opensearch=opensearch, lifecycle=lifecycle)


def test_nothing_but_what_is_declared_is_indexed() -> None:
    made = template(fields={"pod": "kubernetes.pod.name"})["template"]
    assert made["mappings"]["dynamic"] is False
    assert made["mappings"]["properties"]["kubernetes.pod.name"]["type"] == "keyword"
    assert made["mappings"]["properties"]["labels"]["type"] == "flattened"
    assert template(opensearch=True)["template"]["mappings"]["properties"]["labels"] == {"type": "flat_object"}


def test_settings_are_the_configurations() -> None:
    made = template(
        shards=3, replicas=2, refresh_interval="30s", lifecycle_policy="x", signal="metrics", max_fields=200
    )
    assert made["template"]["settings"] == {
        "index.number_of_shards": 3,
        "index.number_of_replicas": 2,
        "index.refresh_interval": "30s",
        "index.lifecycle.name": "x",
        "index.mapping.total_fields.limit": 200,
        "index.mapping.total_fields.ignore_dynamic_beyond_limit": True,
    }
    assert made["index_patterns"] == ["p-metrics-*"]
    assert "data_stream" not in made and template(data_stream=True)["data_stream"] == {}


def test_a_server_without_lifecycles_gets_the_rest_and_is_not_asked_again() -> None:
    wanted, put = template(lifecycle_policy="x"), template(lifecycle_policy="x", lifecycle=False)
    assert "index.lifecycle.name" not in put["template"]["settings"]
    assert is_current(put, wanted)


@pytest.mark.parametrize(
    ("found", "current"),
    [
        ({}, False),
        ({"version": 0}, False),
        ({"version": "1"}, False),
        ({"version": 1}, False),
        ({"version": 1, "_meta": {"digest": "other"}}, False),
        ({"version": 2}, True),
    ],
)
def test_a_template_is_left_that_is_newer_or_made_of_the_same(found: dict[str, Any], current: bool) -> None:
    assert is_current(found, template()) is current
    assert is_current(template(), template())
    assert not is_current(template(shards=2), template())


def test_templates_of_both_signals_have_names_of_their_own() -> None:
    names = {template_name(section(index_prefix="p", signal=signal)) for signal in ("logs", "metrics")}
    assert names == {"p-logs", "p-metrics"}
