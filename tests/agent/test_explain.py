from collections.abc import Callable, Mapping
from typing import Any

import pytest

from agent.explain import Alike, Explanation, explain, indexed, looking
from agent.job import Job, JobTargets
from agent.target import Dropped, Target
from pipeline.relabel import Change
from tests.agent.test_targets import group, job

SHARDS: list[dict[str, Any]] = [
    {"source_labels": ["__meta_pod"], "target_label": "pod"},
    {"source_labels": ["__meta_none"], "target_label": "none"},
    {"source_labels": ["__meta_shard", "pod"], "regex": "1;.*", "action": "keep"},
    {"regex": "__meta_.*", "action": "labeldrop"},
]


def explained(labels: dict[str, str], **keys: Any) -> Explanation:
    return explain(Job(job(**keys)), labels, looking({}))


def test_each_rule_says_what_it_looked_at_and_what_it_changed() -> None:
    found = explained({"__address__": "a:1", "__meta_pod": "p", "__meta_shard": "1"}, relabel_configs=SHARDS)
    assert [step.changes for step in found.steps] == [
        (Change("pod", "", "p"),),
        (),
        (),
        (Change("__meta_pod", "p", ""), Change("__meta_shard", "1", "")),
    ]
    assert [step.value for step in found.steps] == ["p", "", "1;p", ""]
    assert all(step.keep for step in found.steps)
    assert dict(found.steps[2].labels)["__meta_shard"] == "1"
    assert (found.state, dict(found.discovered)["__metrics_path__"]) == ("active", "/metrics")
    assert isinstance(found.outcome, Target)
    assert dict(found.outcome.labels) == {"instance": "a:1", "job": "j", "pod": "p"}


def test_the_rule_that_drops_is_named_and_those_behind_it_do_not_run() -> None:
    found = explained({"__address__": "a:1", "__meta_pod": "p", "__meta_shard": "2"}, relabel_configs=SHARDS)
    assert [step.keep for step in found.steps] == [True, True, False, False]
    assert [(step.value, step.labels) for step in found.steps[2:]] == [("2;p", ()), ("", ())]
    assert isinstance(found.outcome, Dropped)
    assert (found.state, found.outcome.rule) == ("dropped", 2)


def test_a_target_that_no_rule_drops_may_be_unusable_all_the_same() -> None:
    found = explained({"__meta_pod": "p"}, relabel_configs=SHARDS[:1])
    assert isinstance(found.outcome, Dropped)
    assert (found.state, found.outcome.reason, found.steps[0].keep) == ("unusable", "no address", True)


AlikeIn = Callable[[Mapping[str, JobTargets[Target]]], Alike]


@pytest.fixture(params=[looking, indexed])
def alike_in(request: pytest.FixtureRequest) -> AlikeIn:
    chosen: AlikeIn = request.param
    return chosen


def test_what_was_found_twice_names_the_other_and_only_one_of_them_is_scraped(alike_in: AlikeIn) -> None:
    config = job()
    made = Job(config).targets([group("a:1", __meta_x="1"), group("a:1", "b:1", __meta_x="2")])
    targets = alike_in({"j": made})
    first = explain(Job(config), {"__address__": "a:1", "__meta_x": "1"}, targets)
    second = explain(Job(config), {"__address__": "a:1", "__meta_x": "2"}, targets)
    alone = explain(Job(config), {"__address__": "b:1", "__meta_x": "2"}, targets)
    assert (first.state, second.state, alone.state) == ("active", "duplicate", "active")
    assert (first.same_count, second.same_count, alone.same_count) == (1, 1, 0)
    assert dict(first.same[0].discovered_labels)["__meta_x"] == "2"
    assert dict(second.same[0].discovered_labels)["__meta_x"] == "1"


def test_the_same_found_twice_from_the_same_labels_is_named_too(alike_in: AlikeIn) -> None:
    config = job()
    found = explain(Job(config), {"__address__": "a:1"}, alike_in({"j": Job(config).targets([group("a:1", "a:1")])}))
    assert (found.state, found.same_count) == ("active", 1)


def test_targets_of_two_jobs_or_urls_with_the_same_labels_are_both_scraped_and_name_each_other(
    alike_in: AlikeIn,
) -> None:
    rules = [{"target_label": "job", "replacement": "x"}, {"target_label": "instance", "replacement": "y"}]
    one = job(relabel_configs=rules)
    other = one.model_copy(update={"job_name": "k"})
    targets = {"j": Job(one).targets([group("a:1", "a:2")]), "k": Job(other).targets([group("a:1")])}
    found = explain(Job(one), {"__address__": "a:1"}, alike_in(targets))
    assert (found.state, found.same_count) == ("active", 2)
    assert [(target.config.job_name, target.url) for target in found.same] == [
        ("j", "http://a:2/metrics"),
        ("k", "http://a:1/metrics"),
    ]


def test_an_explanation_names_so_many_that_are_the_same_and_counts_all(alike_in: AlikeIn) -> None:
    config = job()
    found = explain(Job(config), {"__address__": "a:1"}, alike_in({"j": Job(config).targets([group(*["a:1"] * 100)])}))
    assert (len(found.same), found.same_count) == (20, 99)


def test_what_another_agent_scrapes_is_elsewhere() -> None:
    one = Job(job())
    found = explain(one, {"__address__": "a:1"}, looking({"j": JobTargets()}), lambda target: "b:1" in target.url)
    assert (found.state, isinstance(found.outcome, Target)) == ("elsewhere", True)
    assert explain(one, {"__address__": "b:1"}, looking({}), lambda target: "b:1" in target.url).state == "active"
