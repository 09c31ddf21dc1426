"""What becomes of what discovery found for a job of logs, and why some of it is not read."""

from agent.config.agent import AgentConfig
from agent.config.logs import LogScrapeConfig
from agent.config.promtail import LogsConfig
from agent.config.sharing import SharingConfig
from agent.discovery.groups import TargetGroup
from agent.job import JobTargets
from agent.logs.api import describe_all, describe_way
from agent.logs.job import LogJob, LogTarget
from agent.logs.service import labels_of, logs_of

HOST = "n1"


def job(**keys: object) -> LogJob:
    return LogJob(LogScrapeConfig.model_validate({"job_name": "j", "static_configs": [{"labels": {}}], **keys}), HOST)


def found(one: LogJob, *targets: dict[str, str], **shared: str) -> JobTargets[LogTarget]:
    return one.targets([TargetGroup("g", tuple({"__address__": "localhost", **target} for target in targets), shared)])


def test_a_target_has_its_labels_and_its_paths_and_no_others() -> None:
    (target,) = found(
        job(), {"__path__": "/a/*.log", "__path_exclude__": "/a/x*", "job": "a", "__x": "y"}, b="c"
    ).active
    assert (target.path, target.exclude, dict(target.labels)) == ("/a/*.log", "/a/x*", {"job": "a", "b": "c"})
    source = target.source
    assert (source.path, source.exclude, dict(source.labels), source.found["__x"]) == (
        "/a/*.log",
        "/a/x*",
        {"job": "a", "b": "c"},
        "y",
    )


def test_what_is_not_read_says_why() -> None:
    rules = [{"action": "drop", "source_labels": ["a"], "regex": "1"}]
    targets = found(job(relabel_configs=rules), {"a": "1"}, {"__host__": "n2", "__path__": "/x"}, {"a": "2"})
    assert targets.active == ()
    assert [(one.reason, one.is_elsewhere) for one in targets.dropped] == [
        ("relabel_configs[0]: action=drop source_labels=a regex=1", False),
        ("__host__ is n2: that node's agent reads it (this one's node is n1)", True),
        ("no __path__", False),
    ]
    assert found(job(), {"__host__": HOST, "__path__": "/x"}).active


def test_the_same_files_with_the_same_labels_are_read_once() -> None:
    targets = found(job(), {"__path__": "/x", "__address__": "a"}, {"__path__": "/x", "__address__": "b"})
    assert (len(targets.active), len(targets.duplicates)) == (1, 1)


def test_containers_need_no_path_and_are_told_apart_by_what_was_found() -> None:
    one = LogJob(
        LogScrapeConfig.model_validate(
            {"job_name": "j", "docker_sd_configs": [{"host": "unix:///var/run/docker.sock"}]}
        ),
        HOST,
    )
    ids = "__meta_docker_container_id"
    assert [target.source.found[ids] for target in found(one, {ids: "1"}, {ids: "2"}).active] == ["1", "2"]


def test_a_pattern_that_cannot_be_read_costs_its_target_alone() -> None:
    targets = found(
        job(), {"__path__": "/a/[x"}, {"__path__": "/a/*", "__path_exclude__": "/a/[]"}, {"__path__": "/a/b"}
    )
    assert [target.path for target in targets.active] == ["/a/b"]
    assert [one.reason.partition(": ")[0] for one in targets.dropped] == ["__path__ /a/[x", "__path_exclude__ /a/[]"]


def test_each_rules_work_can_be_looked_at() -> None:
    rules = [{"source_labels": ["uid"], "target_label": "__path__", "replacement": "/pods/*$1/*.log"}]
    one = job(relabel_configs=rules)
    way = describe_way(one, {"uid": "7", "__address__": "a"})
    assert (way["state"], way["path"], way["scrapePool"]) == ("active", "/pods/*7/*.log", "logs/j")
    assert way["steps"][0]["changes"] == [{"label": "__path__", "from": None, "to": "/pods/*7/*.log"}]
    assert describe_way(job(), {})["reason"] == "no __path__"
    shown = describe_all({"logs/j": found(one, {"uid": "7"})})
    assert shown["activeTargets"][0]["discoveredLabels"] == {"__address__": "localhost", "uid": "7"}


def test_streams_carry_the_cluster_whatever_stages_do_and_external_labels_where_they_have_none() -> None:
    config = AgentConfig.model_validate({"global": {"external_labels": {"cluster": "c1", "site": "s"}}})
    labels = labels_of(config)
    assert (labels.first, labels.last) == ({"site": "s"}, {"cluster": "c1"})
    assert labels_of(AgentConfig()).last == {}, "a promtail's file needs no cluster"


def test_an_agent_that_does_shared_work_only_reads_no_nodes_logs() -> None:
    logs = LogsConfig.model_validate(
        {"scrape_configs": [{"job_name": "j", "static_configs": [{"labels": {"__path__": "/x"}}]}]}
    )
    config = AgentConfig().model_copy(update={"logs": logs})
    assert logs_of(config).scrape_configs
    for by, reads in (("leases", True), ("node", True), ("ordinal", False)):
        shared = config.model_copy(update={"sharing": SharingConfig(by=by)})
        assert bool(logs_of(shared).scrape_configs) is reads
