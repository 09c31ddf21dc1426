"""prometheus/prometheus, model/relabel/relabel_test.go, as data."""

from typing import Any

import pytest
from pydantic import ValidationError

from pipeline.config import parse, validate
from pipeline.errors import PermanentError
from pipeline.relabel import RelabelConfig, as_labels, compile_rules, relabel
from tests.conformance.data import folder, json_lines

CASES = folder("prom-relabel")


def rule(text: str) -> RelabelConfig:
    return validate(parse(text, "rule.yml", text_scalars=True), RelabelConfig)


@pytest.mark.parametrize("case", json_lines(CASES / "relabel_cases.jsonl"))
def test_rules_rewrite_and_drop_as_in_prometheus(case: dict[str, Any]) -> None:
    rules = compile_rules([rule(config["yaml"]) for config in case["relabel_configs"]])
    expected = None if case["drop"] else as_labels(case["output"])
    assert relabel(case["input"], rules) == expected


@pytest.mark.parametrize("case", json_lines(CASES / "relabel_validate_cases.jsonl"))
def test_rules_are_refused_as_in_prometheus(case: dict[str, Any]) -> None:
    # A rule without an action arises in Go only; in a file it is one with an empty action.
    text = case["config"]["yaml"] + ("" if case["config"]["action"] else 'action: ""\n')
    try:
        reason = rule(text).mistake(legacy=case["scheme"] == "legacy") or ""
    except (PermanentError, ValidationError) as error:
        reason = str(error)
    expected = case["expected_error_contains"]
    assert (expected in reason) if expected else not reason
