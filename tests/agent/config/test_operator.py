from pathlib import Path

import pytest

from agent.config import load
from agent.config.label_selector import LabelSelector
from pipeline.config import ConfigError


def mistakes(folder: Path, text: str) -> list[str]:
    """Return what is wrong with an `operator` section, by key and reason."""
    file = folder / "agent.yml"
    file.write_text(f"operator:\n  {text}\n")
    with pytest.raises(ConfigError) as error:
        load(file, {})
    return [f"{mistake.line}: {mistake.key}: {mistake.reason}" for mistake in error.value.mistakes]


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("namespace: n", "operator: selects nothing: give at least one of service_monitor_selector,"),
        (
            "{probe_selector: {}, pod_monitor_namespace_selector: {}}",
            "operator: pod_monitor_namespace_selector needs pod_monitor_selector: {} selects every resource",
        ),
        ("{probe_selector: {}, shards: 2}", "operator.shards: unknown key"),
        (
            "{probe_selector: {}, kubeconfig_file: /k, api_server: http://a}",
            "operator: cannot use 'kubeconfig_file' and 'api_server' simultaneously",
        ),
        (
            "{probe_selector: {}, bearer_token: t}",
            "operator: to use custom HTTP client configuration please provide the 'api_server' URL explicitly",
        ),
        (
            "{probe_selector: {match_labels: {a: not one}}}",
            "operator.probe_selector: unable to parse requirement: 'a=not one' in label selector 'a=not one'",
        ),
        (
            "{probe_selector: {match_expressions: [{key: a, operator: Exists, values: [b]}]}}",
            "operator.probe_selector.match_expressions[0]: operator Exists takes no values",
        ),
        (
            "{probe_selector: {}, scrape_classes: [{name: a}, {name: a}]}",
            "operator: scrape_classes: two have the same name",
        ),
        (
            "{probe_selector: {}, scrape_classes: [{name: a, default: true}, {name: b, default: true}]}",
            "operator: scrape_classes: more than one is the default",
        ),
        (
            "{probe_selector: {}, scrape_classes: [{name: a, tls_config: {ca_file: /nowhere/ca}}]}",
            "operator.scrape_classes[0].tls_config.ca_file: cannot be read: /nowhere/ca: No such file or directory",
        ),
    ],
)
def test_a_section_that_cannot_be_meant_is_refused(tmp_path: Path, text: str, mistake: str) -> None:
    if "kubeconfig_file" in text:
        (tmp_path / "k").touch()
        text = text.replace("/k", str(tmp_path / "k"))
    (found,) = mistakes(tmp_path, text)
    assert mistake in found
    assert found[0] in "12"


def test_a_selector_is_written_as_the_api_reads_it() -> None:
    selector = LabelSelector.model_validate(
        {
            "matchLabels": {"b": "1"},
            "match_expressions": [
                {"key": "c", "operator": "NotIn", "values": ["y", "x"]},
                {"key": "a", "operator": "In", "values": ["2", "1"]},
                {"key": "d", "operator": "DoesNotExist"},
                {"key": "e", "operator": "Exists"},
            ],
        }
    )
    assert selector.text == "a in (1,2),b=1,c notin (x,y),!d,e"
    assert LabelSelector().text == ""
