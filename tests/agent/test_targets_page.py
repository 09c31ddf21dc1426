from agent.job import Job, JobTargets
from agent.target import Target
from agent.targets_api import Health
from agent.targets_page import Wanted, page
from tests.agent.test_targets import group, job

RULES = [
    {"source_labels": ["__address__"], "regex": "drop.*", "action": "drop"},
    {"source_labels": ["__meta_team"], "target_label": "team"},
]


def by_job(**keys: int) -> dict[str, JobTargets[Target]]:
    one = Job(job(relabel_configs=RULES, **keys))
    found = [
        group("up:1", "down:1", "new:1", "up:1", "drop:1", "drop:2", "a/b:1", __meta_team="Blue", __meta_hidden="deep")
    ]
    other = Job(one.config.model_copy(update={"job_name": "a"}))
    return {"j": one.targets(found), "a": other.targets([group("up:2")])}


def health_of(target: Target) -> Health:
    if "new" in target.url:
        return Health()
    return Health("down", "refused", 1.0) if "down" in target.url else Health("up", "", 1.0)


def states(wanted: Wanted, **keys: int) -> list[str]:
    return [row["state"] for row in page(by_job(**keys), health_of, "h", wanted)["rows"]]


def test_all_are_counted_by_job_and_state_whatever_is_shown() -> None:
    shown = page(by_job(), health_of, "h", Wanted(limit=0))
    assert shown["jobs"]["j"] == {"down": 1, "unknown": 1, "up": 1, "duplicate": 1, "unusable": 1, "dropped": 2}
    assert shown["jobs"]["a"] == {"down": 0, "unknown": 0, "up": 1, "duplicate": 0, "unusable": 0, "dropped": 0}
    assert (shown["rows"], shown["matching"]) == ([], 8)


def test_what_needs_looking_at_comes_first() -> None:
    assert states(Wanted()) == ["down", "unknown", "up", "up", "duplicate", "unusable", "dropped", "dropped"]
    assert states(Wanted(limit=2)) == ["down", "unknown"]


def test_a_job_states_and_words_narrow_it_down() -> None:
    assert states(Wanted(job="a")) == ["up"]
    assert states(Wanted(states=frozenset(("up", "dropped")))) == ["up", "up", "dropped", "dropped"]
    assert states(Wanted(words=("team=blue", "down"))) == ["down"]
    assert len(states(Wanted(words=("__meta_hidden=deep",)))) == 7, "what was discovered is looked through, too"
    assert states(Wanted(words=("not a valid hostname",))) == ["unusable"]


def test_dropped_targets_are_counted_whole_though_few_are_kept() -> None:
    shown = page(by_job(keep_dropped_targets=1), health_of, "h", Wanted(states=frozenset(("dropped",))))
    assert (shown["jobs"]["j"]["dropped"], shown["matching"]) == (3, 1)


def test_rows_have_what_the_api_tells_of_targets() -> None:
    down, *_, dropped = page(by_job(), health_of, "h", Wanted())["rows"]
    assert (down["lastError"], down["scrapeUrl"], down["health"]) == ("refused", "http://down:1/metrics", "down")
    assert (dropped["rule"], dropped["discoveredLabels"]["__address__"]) == (0, "drop:2")
