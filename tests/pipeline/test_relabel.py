from collections.abc import Mapping

import pytest

from pipeline.relabel import RelabelConfig, as_labels, compile_rules, relabel, run


def after(labels: dict[str, str], *rules: Mapping[str, object], legacy_names: bool = False) -> dict[str, str] | None:
    compiled = compile_rules([RelabelConfig.model_validate(rule) for rule in rules], legacy_names)
    out = relabel(labels, compiled)
    return None if out is None else dict(out)


@pytest.mark.parametrize(
    ("replacement", "expected"),
    [
        ("$1", "ab"),
        ("${1}x", "abx"),
        ("$1x", ""),  # The name is as long as can be: the group `1x`, which there is not.
        ("$$1", "$1"),
        ("$", "$"),
        ("a$-b", "a$-b"),
        ("${1", "${1"),
        ("${}", "${}"),
        ("${rest}", "cd"),
        ("$rest$0", "cdabcd"),
        ("$9", ""),
        ("$01", ""),
        ("${ünknown}!", "!"),
    ],
)
def test_replacements_expand_as_in_go(replacement: str, expected: str) -> None:
    rule = {"source_labels": ["a"], "regex": "(ab)(?P<rest>.*)", "target_label": "t", "replacement": replacement}
    assert (after({"a": "abcd"}, rule) or {}).get("t", "") == expected


def test_a_regex_matches_whole_values_and_newlines() -> None:
    keep = {"source_labels": ["a"], "regex": "x.y", "action": "keep"}
    assert after({"a": "x\ny"}, keep) == {"a": "x\ny"}
    assert after({"a": "xxyy"}, keep) is None


def test_a_regex_takes_go_names_for_groups() -> None:
    rule = {"source_labels": ["a"], "regex": "(?<first>.).*", "target_label": "t", "replacement": "$first"}
    assert after({"a": "xyz"}, rule) == {"a": "xyz", "t": "x"}


def test_a_regex_that_would_run_for_ever_elsewhere_ends() -> None:
    keep = {"source_labels": ["a"], "regex": "(a+)+b", "action": "keep"}
    assert after({"a": "a" * 5000}, keep) is None


@pytest.mark.parametrize("regex", ["a|b.c|", r"a|b\.c|", "x|a"])
def test_lists_of_words_match_as_their_regex_does(regex: str) -> None:
    values = ["", "a", "b.c", "bxc", "x", "ab"]
    words = [value for value in values if after({"l": value, "k": "1"}, keep_by(regex)) is not None]
    # Brackets keep the rule from being read as a list of words.
    assert words == [value for value in values if after({"l": value, "k": "1"}, keep_by(f"({regex})")) is not None]


def keep_by(regex: str) -> dict[str, object]:
    return {"source_labels": ["l"], "regex": regex, "action": "keep"}


def test_letters_change_case_one_by_one() -> None:
    upper = {"source_labels": ["a"], "target_label": "u", "action": "uppercase"}
    lower = {"source_labels": ["a"], "target_label": "l", "action": "lowercase"}
    assert after({"a": "ßaŉΣ"}, upper, lower) == {"a": "ßaŉΣ", "u": "ßAŉΣ", "l": "ßaŉσ"}
    assert after({"a": "İ"}, lower) == {"a": "İ", "l": "i"}


def test_an_empty_result_takes_the_label_away() -> None:
    assert after({"a": "x", "t": "y"}, {"source_labels": ["b"], "target_label": "t"}) == {"a": "x"}
    assert after({"a": "x", "t": "y"}, {"target_label": "t", "replacement": ""}) == {"a": "x"}


def test_an_empty_regex_matches_nothing_but_the_empty_value() -> None:
    rule = {"source_labels": ["a"], "regex": None, "target_label": "t", "replacement": "r"}
    assert after({"a": "x"}, rule) == {"a": "x"}
    assert after({"b": "x"}, rule) == {"b": "x", "t": "r"}


def test_legacy_names_bound_what_a_replacement_may_name() -> None:
    rule = {"source_labels": ["a"], "target_label": "$1", "replacement": "v"}
    assert after({"a": "x-y"}, rule) == {"a": "x-y", "x-y": "v"}
    assert after({"a": "x-y"}, rule, legacy_names=True) == {"a": "x-y"}


def test_the_rule_that_dropped_is_told() -> None:
    configs = [
        RelabelConfig(source_labels=("a",), target_label="t"),
        RelabelConfig(source_labels=("t",), regex="x", action="drop"),
    ]
    rules = compile_rules(configs)
    assert run(rules, {"a": "x"}) == 1
    assert run(rules, {"a": "y"}) is None
    assert str(configs[1]) == "action=drop source_labels=t regex=x"


def test_labels_are_sorted_by_their_bytes() -> None:
    assert as_labels({"é": "1", "z": "2", "Z": "3", "𝒂": "4", "\uffff": "5"}) == (
        ("Z", "3"),
        ("z", "2"),
        ("é", "1"),
        ("\uffff", "5"),
        ("𝒂", "4"),
    )
