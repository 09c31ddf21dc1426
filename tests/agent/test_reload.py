from pathlib import Path
from typing import Any

import pytest

from agent.config import AgentConfig
from agent.reload import unchangeable
from agent.watch import Watch

BEFORE: dict[str, Any] = {
    "cluster": "c1",
    "global": {"external_labels": {"cluster": "c1", "region": "r"}},
    "gateway": {"url": "http://gateway:1"},
    "remote_write": [{"name": "w", "url": "http://w"}],
}


def config(**keys: Any) -> AgentConfig:
    return AgentConfig.model_validate({**BEFORE, **keys})


@pytest.mark.parametrize(
    "keys",
    [
        {"scrape_configs": [{"job_name": "j"}]},
        {"scrape_config_files": ["*.yml"]},
        {"global": {"scrape_interval": "5s", "external_labels": {"cluster": "c1", "region": "other"}}},
        {"gateway": {"url": "http://other:1", "token": "t"}},
        {"remote_write": [{"name": "w", "url": "http://other", "basic_auth": {"username": "u", "password": "p"}}]},
        {"canonical_bounds": True},
        {"operator": {"service_monitor_selector": {}}},
    ],
)
def test_what_can_change_while_the_agent_runs(keys: dict[str, Any]) -> None:
    assert unchangeable(config(), config(**keys)) == []


@pytest.mark.parametrize(
    ("keys", "key"),
    [
        ({"cluster": "", "global": {"external_labels": {"cluster": "c2"}}}, ("global", "external_labels", "cluster")),
        ({"lanes": 2}, ("lanes",)),
        ({"buffer": {"path": "elsewhere"}}, ("buffer",)),
        ({"gateway": None}, ("gateway",)),
        ({"remote_write": [{"url": "http://w"}]}, ("remote_write",)),
    ],
)
def test_what_cannot_is_named(keys: dict[str, Any], key: tuple[str, ...]) -> None:
    found = unchangeable(config(), config(**keys))
    assert {at for at, _ in found} == {key}
    assert all("a change needs a restart" in reason for _, reason in found)


def test_a_change_counts_when_two_looks_have_seen_it(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_text("one")
    watch = Watch(lambda: [file])
    watch.remember()
    assert not watch.changed()
    file.write_text("two, half-writt")
    assert not watch.changed()
    file.write_text("two, written")
    assert not watch.changed()
    assert watch.changed()
    assert not watch.changed()


def test_the_same_content_in_another_file_is_no_change(tmp_path: Path) -> None:
    file, other = tmp_path / "f", tmp_path / "other"
    file.write_text("one")
    watch = Watch(lambda: [file])
    watch.remember()
    other.write_text("one")
    other.rename(file)
    assert [watch.changed() for _ in range(3)] == [False] * 3


def test_files_may_come_and_go(tmp_path: Path) -> None:
    watch = Watch(lambda: sorted(tmp_path.iterdir()))
    watch.remember()
    (tmp_path / "a").write_text("")
    assert [watch.changed() for _ in range(3)] == [False, True, False]
    (tmp_path / "a").unlink()
    assert [watch.changed() for _ in range(3)] == [False, True, False]
