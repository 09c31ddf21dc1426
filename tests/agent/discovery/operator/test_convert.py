"""Jobs made of custom resources are those that the operator itself makes: the same options, the same labels."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from agent.config.lists import StaticConfig
from agent.config.operator import OperatorConfig
from agent.config.scrape import GlobalConfig, ScrapeConfig
from agent.discovery.operator.convert import KINDS, Parsed, convert, parse, written_out
from agent.discovery.operator.part import Reference
from pipeline.config import parse_bytes, parse_duration_s
from pipeline.relabel import RelabelConfig, compile_rules, relabel
from tests.agent.discovery.operator.cases import TARGETS, Case, cases

_CASES = [pytest.param(case, id=case.name) for case in cases()]
_DEFAULTS: dict[str, Any] = {
    "honor_labels": False,
    "honor_timestamps": True,
    "metric_relabel_configs": [],
    "type": "Bearer",
}


def parsed(case: Case) -> list[Parsed]:
    """Return a case's resources, read."""
    kinds = {kind.name: kind for kind in KINDS}
    return [parse(kinds[item["kind"]], item) for item in case.resources]


def values(case: Case) -> dict[Reference, str]:
    """Return what the Secrets and ConfigMaps of a case hold."""
    found = {}
    for secret in case.value.get("secrets", ()):
        for key, data in secret["data"].items():
            found[Reference("Secret", secret["metadata"]["name"], key)] = base64.b64decode(data).decode()
    for config_map in case.value.get("configMaps", ()):
        for key, text in config_map["data"].items():
            found[Reference("ConfigMap", config_map["metadata"]["name"], key)] = text
    return found


def made(case: Case) -> dict[str, dict[str, Any]]:
    """Return the jobs that we make of a case, by name."""
    settings = OperatorConfig.model_validate(case.value["operator"])
    jobs = [job for item in parsed(case) for _, job in written_out(item, settings, GlobalConfig(), values(case))]
    return {job.pop("job_name"): job for job in jobs}


def comparable(value: Any, name: str = "") -> Any:
    """Return options in one form, whether they come from the operator's YAML or from us."""
    if isinstance(value, dict):
        entries = {key: comparable(entry, key) for key, entry in value.items() if entry is not None}
        left = {key: entry for key, entry in entries.items() if _DEFAULTS.get(key, ...) != entry}
        return StaticConfig.model_validate(left) if name == "static_configs" else left
    if isinstance(value, list | tuple):
        if name.endswith("relabel_configs"):
            return [rule if isinstance(rule, RelabelConfig) else RelabelConfig.model_validate(rule) for rule in value]
        return [comparable(entry, name) for entry in value]
    if name.endswith(("_interval", "_timeout")):
        return value if isinstance(value, float) else parse_duration_s(value)
    if name == "body_size_limit":
        return parse_bytes(value)
    return str(value) if isinstance(value, Path) else value


def enforced(case: Case) -> dict[str, Any]:
    """Return the limits that a case enforces: the operator writes them into `global`, we into each job."""
    settings = case.value["operator"].items()
    return {name.removeprefix("enforced_"): value for name, value in settings if name.endswith("_limit")}


@pytest.mark.parametrize("case", _CASES)
def test_jobs_have_the_names_and_options_that_the_operator_gives_them(case: Case) -> None:
    ours = {name: comparable(job) for name, job in made(case).items()}
    for job in ours.values():
        del job["relabel_configs"]
    theirs = {name: comparable({**enforced(case), **job["options"]}) for name, job in case.expected.items()}
    assert ours == theirs


@pytest.mark.parametrize("case", _CASES)
def test_targets_get_the_labels_that_the_operators_rules_give_them(case: Case) -> None:
    ours = {}
    for name, job in made(case).items():
        rules = compile_rules(job["relabel_configs"])
        after = [relabel({"job": name, **target}, rules) for target in TARGETS]
        ours[name] = [None if labels is None else dict(labels) for labels in after]
    theirs = {name: job["labels"] for name, job in case.expected.items()}
    assert json.dumps(ours, indent=1, sort_keys=True) == json.dumps(theirs, indent=1, sort_keys=True)


@pytest.mark.parametrize("case", _CASES)
def test_jobs_are_such_that_an_agent_takes_them_from_a_file(case: Case) -> None:
    settings = OperatorConfig.model_validate(case.value["operator"])
    given = GlobalConfig(scrape_interval=60.0)
    for item in parsed(case):
        for ours in convert(item, settings, given, values(case)):
            theirs = {**enforced(case), **case.expected[ours.job_name]["options"]}
            rules = {"relabel_configs": ours.relabel_configs, "job_name": ours.job_name}
            assert ours == ScrapeConfig.model_validate({**theirs, **rules}).inherit(given)
