from pathlib import Path

from agent.config import load
from agent.config.sharing import SharingConfig
from tests.agent.config.test_load import mistakes, write

FILE = """\
scrape_configs:
- {job_name: a, scrape_interval: 4s, static_configs: [{targets: ['x:1']}]}
- {job_name: b, scrape_interval: 4s, kubernetes_sd_configs: [{role: pod}]}
"""
ENVIRONMENT = {"NODE_NAME": "n1", "POD_NAME": "workers-0"}


def read(folder: Path, text: str, environment: dict[str, str]) -> tuple[SharingConfig, list[str]]:
    result = load(write(folder, FILE + text), environment)
    assert result.config.sharing is not None
    return result.config.sharing, [warning.replace(f"{folder}/", "") for warning in result.warnings]


def test_the_environment_says_which_node_and_pod_this_is(tmp_path: Path) -> None:
    sharing, warnings = read(tmp_path, "sharing: {by: ordinal}", ENVIRONMENT)
    assert (sharing.node_name, sharing.ordinal, warnings) == ("n1", 0, [])
    assert read(tmp_path, "sharing: {by: node, node_name: x}", ENVIRONMENT)[0].node_name == "x"


def test_what_the_environment_does_not_say_is_a_warning_for_whoever_checks_the_file_elsewhere(tmp_path: Path) -> None:
    _, (warning,) = read(tmp_path, "sharing: {by: node}", {})
    assert warning.startswith("prometheus.yml:4: sharing: sharing needs the node's name: set NODE_NAME")


def test_an_interval_too_short_for_any_lease_is_warned_of(tmp_path: Path) -> None:
    _, (warning,) = read(tmp_path, "sharing: {}", ENVIRONMENT)
    assert warning == (
        "prometheus.yml:4: sharing: job a: when an agent dies, its targets may be left for longer than two intervals:"
        " a lease lasts 3 s"
    )


def test_jobs_that_are_not_there_are_mistakes(tmp_path: Path) -> None:
    assert mistakes(tmp_path, FILE + "sharing: {per_node: [a, z], shared: [y]}") == [
        'prometheus.yml:4: sharing.per_node[1]: no job is named "z"',
        'prometheus.yml:4: sharing.shared[0]: no job is named "y"',
    ]
