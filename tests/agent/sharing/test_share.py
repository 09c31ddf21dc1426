"""Which jobs and targets are an agent's, by what its file says."""

from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from agent.config import AgentConfig, GlobalConfig, ScrapeConfig
from agent.config.sharing import SharingConfig, restricted
from agent.sharing.share import Share, slot_of
from agent.target import Target
from pipeline.errors import PermanentError


def job(name: str, **keys: Any) -> ScrapeConfig:
    return ScrapeConfig.model_validate({"job_name": name, **keys}).inherit(GlobalConfig())


def kubernetes(name: str, *roles: str, **keys: Any) -> ScrapeConfig:
    return job(name, kubernetes_sd_configs=[{"role": role, **keys} for role in roles])


PODS, NODES = kubernetes("pods", "pod"), kubernetes("nodes", "node")
SERVICES, STATIC = kubernetes("services", "service"), job("static", static_configs=[{"targets": ["a:1"]}])
BOTH = job("both", kubernetes_sd_configs=[{"role": "pod"}], static_configs=[{"targets": ["a:1"]}])
EVERYTHING = (PODS, NODES, SERVICES, STATIC, BOTH)


def sharing(**keys: Any) -> SharingConfig:
    return SharingConfig.model_validate({"node_name": "n1", "pod_name": "workers-1", **keys})


def share(**keys: Any) -> Share:
    config = AgentConfig(scrape_configs=EVERYTHING).model_copy(update={"sharing": sharing(**keys)})
    return Share(config, "a", CollectorRegistry())


def names(jobs: tuple[ScrapeConfig, ...]) -> list[str]:
    return [each.job_name for each in jobs]


def target(config: ScrapeConfig, instance: str, url: str = "http://x/") -> Target:
    return Target(config, (("instance", instance), ("job", config.job_name)), url, 15.0, 10.0)


def test_pods_and_nodes_are_each_nodes_own_and_all_else_is_shared() -> None:
    own = [each.job_name for each in EVERYTHING if sharing().is_per_node(each)]
    assert own == ["pods", "nodes"]


def test_a_job_can_be_said_to_be_either() -> None:
    said = sharing(per_node=["static"], shared=["pods"])
    assert [each.job_name for each in EVERYTHING if said.is_per_node(each)] == ["nodes", "static"]


def test_without_a_section_an_agent_does_everything() -> None:
    alone = Share(AgentConfig(scrape_configs=EVERYTHING), "a", CollectorRegistry())
    assert alone.jobs(EVERYTHING, ()) == EVERYTHING
    assert alone.does_shared
    turn = alone.turn_of(target(SERVICES, "x"))
    assert turn is not None
    assert turn.seed == "a"


def test_an_agent_without_a_slot_looks_at_its_node_only() -> None:
    idle = share()
    assert not idle.does_shared
    assert names(idle.jobs(EVERYTHING, (kubernetes("podMonitor/x/y/0", "pod"),))) == ["pods", "nodes"]
    assert idle.turn_of(target(SERVICES, "x")) is None
    assert idle.turn_of(target(PODS, "x")) is not None


def test_a_statefulsets_agent_does_the_shared_work_of_its_number_only() -> None:
    ordinal = share(by="ordinal", workers=3)
    assert names(ordinal.jobs(EVERYTHING, ())) == ["services", "static", "both"]
    targets = [target(SERVICES, f"i{n}") for n in range(300)]
    mine = [each for each in targets if ordinal.turn_of(each) is not None]
    assert all(slot_of(each, 3) == 1 for each in mine)
    assert 60 < len(mine) < 140


def test_a_node_only_agent_leaves_the_shared_work_alone() -> None:
    assert names(share(by="node").jobs(EVERYTHING, ())) == ["pods", "nodes"]


def test_targets_of_the_same_series_are_one_workers_whatever_their_url() -> None:
    signed = {slot_of(target(SERVICES, "x", f"http://x/?signature={n}"), 7) for n in range(20)}
    assert len(signed) == 1


def test_the_api_server_is_asked_for_one_nodes_pods_only() -> None:
    (config,) = restricted(PODS, "n1").kubernetes_sd_configs
    selector = config.selector("pod")
    assert selector is not None
    assert selector.field == "spec.nodeName=n1"
    assert config.selector("node") is None
    (config,) = restricted(NODES, "n1").kubernetes_sd_configs
    assert [(each.role, each.field) for each in config.selectors] == [("node", "metadata.name=n1")]


def test_the_nodes_selector_is_added_to_those_of_the_file() -> None:
    given = [{"role": "pod", "label": "app=x", "field": "status.phase=Running"}]
    with_node = kubernetes("pods", "pod", selectors=given, attach_metadata={"node": True})
    (config,) = restricted(with_node, "n1").kubernetes_sd_configs
    assert [(each.role, each.label, each.field) for each in config.selectors] == [
        ("pod", "app=x", "status.phase=Running,spec.nodeName=n1"),
        ("node", "", "metadata.name=n1"),
    ]


@pytest.mark.parametrize(
    ("interval", "lease_s"), [("1s", 3), ("5s", 3), ("10s", 4), ("15s", 6), ("30s", 12), ("1m", 15), ("10m", 15)]
)
def test_a_lease_follows_from_the_shortest_shared_interval(interval: str, lease_s: int) -> None:
    shared = (job("a", scrape_interval=interval), job("b", scrape_interval="10m"))
    assert sharing().lease_s(shared) == lease_s


def test_a_lease_that_is_given_is_kept() -> None:
    assert sharing(lease="20s").lease_s((STATIC,)) == 20
    assert sharing().lease_s(()) == 15


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"node_name": ""}, "NODE_NAME"),
        ({"by": "ordinal", "pod_name": ""}, "POD_NAME"),
        ({"by": "ordinal", "pod_name": "agent-x7k2p"}, "POD_NAME"),
        ({"by": "ordinal", "pod_name": "workers-2"}, "beyond sharing.workers"),
    ],
)
async def test_what_the_environment_does_not_say_is_asked_for_at_start(keys: dict[str, str], reason: str) -> None:
    async def nothing() -> None:
        return None

    with pytest.raises(PermanentError, match=reason):
        await share(**keys).start(AgentConfig(), None, lambda: None, nothing)  # type: ignore[arg-type] # it is not asked


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"name": "Über"}, "lower-case letters"),
        ({"lease": "2500ms"}, "whole seconds"),
        ({"lease": "2s"}, "at least 3"),
        ({"per_node": ["x"], "shared": ["x"]}, "both per_node and shared"),
        ({"workers": 0}, "greater than or equal to 1"),
    ],
)
def test_mistakes_are_refused(keys: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        sharing(**keys)
