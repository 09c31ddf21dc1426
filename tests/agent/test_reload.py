import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from agent.config import AgentConfig, Loaded
from agent.reload import Reloads, unchangeable
from agent.watch import Watch
from pipeline.config import ConfigError, Document, Mistake
from pipeline.telemetry import ReloadMetrics
from tests.e2e.processes import until

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


class Bed:
    """Reloads under test: `found` is what the file says, or why it cannot be used."""

    def __init__(self, found: AgentConfig | ConfigError) -> None:
        self.found = found
        self.running = config()
        self.reads = 0
        self.registry = CollectorRegistry()
        metrics = ReloadMetrics(self.registry)
        self.reloads = Reloads(self.load, lambda: self.running, self.apply, metrics, tuple, look_s=0.001, retry_s=0.001)

    def load(self) -> Loaded:
        self.reads += 1
        if isinstance(self.found, ConfigError):
            raise self.found
        return Loaded(self.found, (), Document("f.yml", {}, {}))

    async def apply(self, config: AgentConfig) -> None:
        self.running = config

    async def until(self, condition: Callable[[], bool]) -> None:
        async def holds() -> bool:
            return condition()

        watching = asyncio.create_task(self.reloads.watch())
        try:
            await until(holds, "what was waited for")
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    @property
    def successful(self) -> float | None:
        return self.registry.get_sample_value("pronoia_config_last_reload_successful")


async def test_a_bad_configuration_is_tried_again_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    missing = Mistake("f.yml", 3, "scrape_configs[0].bearer_token_file", "cannot be read")
    bed = Bed(ConfigError([missing]))
    await bed.until(lambda: bed.reads > 5)
    assert [record.getMessage() for record in caplog.records] == ["the old configuration runs on: cannot be read"]
    assert (bed.successful, bed.reloads.status.mistakes) == (0, (str(missing),))
    bed.found = config(canonical_bounds=True)
    await bed.until(lambda: bed.successful == 1)
    assert bed.running.canonical_bounds
    assert bed.reloads.status.mistakes == ()


async def test_what_changed_before_anybody_looked_is_taken_in() -> None:
    bed = Bed(config(canonical_bounds=True))
    await bed.until(lambda: bed.running.canonical_bounds)


async def test_nothing_is_applied_where_one_key_cannot_change() -> None:
    bed = Bed(config(canonical_bounds=True, lanes=2))
    with pytest.raises(ConfigError, match="lanes: a change needs a restart"):
        await bed.reloads.reload()
    assert not bed.running.canonical_bounds
