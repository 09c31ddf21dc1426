import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from agent.config import GlobalConfig, ScrapeConfig
from agent.discovery import TargetGroup
from agent.scrape.options import page_options
from agent.targets import Dropped, Job, Target, Targets, find_once, settle_s
from tests.agent.discovery.tools import Bench, bench


def job(**keys: Any) -> ScrapeConfig:
    return ScrapeConfig.model_validate({"job_name": "j", **keys}).inherit(GlobalConfig())


def group(*addresses: str, **labels: str) -> TargetGroup:
    return TargetGroup("test", tuple({"__address__": address} for address in addresses), labels)


def the_one(config: ScrapeConfig, *groups: TargetGroup) -> Target:
    (target,) = Job(config).targets(groups).active
    return target


def the_dropped(config: ScrapeConfig, *groups: TargetGroup) -> Dropped:
    (dropped,) = Job(config).targets(groups).dropped
    return dropped


def test_series_keep_their_lane_when_the_address_of_their_target_changes() -> None:
    rules = [{"source_labels": ["__meta_pod"], "target_label": "instance"}]
    before, after = (the_one(job(relabel_configs=rules), group(at, __meta_pod="p")) for at in ("a:1", "b:1"))
    assert (before.labels, before.lane_key) == (after.labels, after.lane_key)
    assert before.key != after.key


def test_a_target_has_the_labels_of_its_job_and_group() -> None:
    target = the_one(job(params={"m": ["x y", "z"]}), group("a:1", env="p", __meta_x="y"))
    assert target.labels == (("env", "p"), ("instance", "a:1"), ("job", "j"))
    assert dict(target.discovered_labels) == {
        "__address__": "a:1",
        "__meta_x": "y",
        "__metrics_path__": "/metrics",
        "__param_m": "x y",
        "__scheme__": "http",
        "__always_scrape_classic_histograms__": "false",
        "__convert_classic_histograms_to_nhcb__": "false",
        "__scrape_interval__": "1m",
        "__scrape_native_histograms__": "false",
        "__scrape_timeout__": "10s",
        "env": "p",
        "job": "j",
    }
    assert (target.url, target.interval_s, target.timeout_s) == ("http://a:1/metrics?m=x+y&m=z", 60.0, 10.0)


def test_relabelling_decides_where_and_how_often_a_target_is_scraped() -> None:
    rules = [
        {"source_labels": ["__address__"], "target_label": "__param_target"},
        {"source_labels": ["__param_target"], "target_label": "instance"},
        {"target_label": "__address__", "replacement": "blackbox:9115"},
        {"target_label": "__metrics_path__", "replacement": "/probe me"},
        {"target_label": "__scheme__", "replacement": "https"},
        {"target_label": "__scrape_interval__", "replacement": "5s"},
        {"target_label": "__scrape_timeout__", "replacement": "1s500ms"},
    ]
    target = the_one(job(params={"module": ["http"]}, relabel_configs=rules), group("https://example.org/?a=b&c"))
    assert target.url == "https://blackbox:9115/probe%20me?module=http&target=https%3A%2F%2Fexample.org%2F%3Fa%3Db%26c"
    assert dict(target.labels)["instance"] == "https://example.org/?a=b&c"
    assert (target.interval_s, target.timeout_s) == (5.0, 1.5)


def test_relabelling_decides_which_histograms_a_target_is_scraped_for() -> None:
    switch = {"source_labels": ["__meta_native"], "regex": "(.+)", "target_label": "__scrape_native_histograms__"}
    classic = {**switch, "target_label": "__always_scrape_classic_histograms__"}
    own = job(scrape_native_histograms=True, relabel_configs=[switch, classic])
    made = Job(own).targets([group("a:1"), group("b:1", __meta_native="F"), group("c:1", __meta_native="1")])
    switched = [(one.scrape_native_histograms, one.always_scrape_classic_histograms) for one in made.active]
    assert switched == [(None, None), (False, None), (None, True)], "None: as the job says"
    assert dict(made.active[1].discovered_labels)["__scrape_native_histograms__"] == "true"
    read = [page_options(one).table for one in made.active]
    wanted = [(table.native_histograms, table.classic_too) for table in read]
    assert wanted == [(True, False), (False, False), (True, True)]


def test_a_target_s_own_labels_win_over_its_group_s_and_those_over_the_job_s() -> None:
    own = TargetGroup("test", ({"__address__": "a:1", "x": "target", "job": "target"},), {"x": "group", "y": "group"})
    assert the_one(job(), own).labels == (("instance", "a:1"), ("job", "target"), ("x", "target"), ("y", "group"))


def test_a_dropped_target_names_the_rule_that_dropped_it() -> None:
    rules = [{"target_label": "x", "replacement": "y"}, {"source_labels": ["x"], "regex": "y", "action": "drop"}]
    dropped = the_dropped(job(relabel_configs=rules), group("a:1"))
    assert (dropped.rule, dropped.reason) == (1, "relabel_configs[1]: action=drop source_labels=x regex=y")
    assert "x" not in dict(dropped.discovered_labels)


@pytest.mark.parametrize(
    ("label", "value", "reason"),
    [
        ("__address__", "", "no address"),
        ("__address__", "a/b", '"a/b" is not a valid hostname'),
        ("__scrape_interval__", "x", "error parsing scrape interval: not a valid duration string: 'x'"),
        ("__scrape_interval__", "0s", "scrape interval cannot be 0"),
        ("__scrape_timeout__", "0", "scrape timeout cannot be 0"),
        ("__scrape_timeout__", "2m", 'scrape timeout cannot be greater than scrape interval ("2m" > "1m")'),
        ("__scrape_native_histograms__", "maybe", 'error parsing scrape native histograms: "maybe" is neither true'),
        ("__convert_classic_histograms_to_nhcb__", "1", "__convert_classic_histograms_to_nhcb__ is not supported"),
        ("__unix_socket__", "/s", "__unix_socket__ is not supported"),
        ("x", "\ud800", "invalid label value for 'x'"),
    ],
)
def test_a_target_that_cannot_be_scraped_says_why(label: str, value: str, reason: str) -> None:
    # With a rule, since a job without any refuses odd addresses when it is read.
    rules = [{"target_label": label, "replacement": value, "action": "replace"}]
    dropped = the_dropped(job(relabel_configs=rules), group("a:1"))
    assert dropped.rule is None
    assert dropped.reason.startswith(reason)


def test_a_target_found_twice_counts_once() -> None:
    targets = Job(job()).targets([group("a:1", "a:1"), group("a:1", "b:1")])
    assert [target.url for target in targets.active] == ["http://a:1/metrics", "http://b:1/metrics"]


def test_only_so_many_dropped_targets_are_kept_but_all_are_counted() -> None:
    rules = [{"regex": ".*", "action": "drop"}]
    targets = Job(job(relabel_configs=rules, keep_dropped_targets=2)).targets([group("a:1", "b:1", "c:1")])
    assert (len(targets.dropped), targets.dropped_count) == (2, 3)


def test_all_targets_of_a_job_beyond_its_limit_are_refused() -> None:
    at_limit = Job(job(target_limit=2)).targets([group("a:1", "b:1")])
    beyond = Job(job(target_limit=2)).targets([group("a:1", "b:1", "c:1")])
    assert [target.refused for target in at_limit.active] == ["", ""]
    assert {target.refused for target in beyond.active} == {"target_limit exceeded (number of targets: 3, limit: 2)"}


def test_a_key_tells_targets_apart_and_stays() -> None:
    one, two = Job(job()).targets([group("a:1", x="1"), group("a:1", x="2")]).active
    assert one.key != two.key
    assert one.key == the_one(job(scrape_interval="5s", scrape_timeout="1s"), group("a:1", x="1")).key


async def test_targets_follow_what_discovery_finds(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('[{"targets": ["a:1"]}]')
    jobs = [
        job(static_configs=[{"targets": ["s:1", "s:2"]}]),
        job(job_name="k", file_sd_configs=[{"files": [str(path)]}]).model_copy(update={"job_name": "k"}),
    ]
    async with bench() as made, asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        targets = Targets(jobs, made.tools, settle_s=0.0)
        running = tasks.create_task(targets.run())
        seen: list[list[str]] = []

        async def follow() -> None:
            async for found in targets.changes():
                urls = [target.url for target in found]
                seen.append(urls)

        following = tasks.create_task(follow())
        while not seen or len(seen[-1]) < 3:
            made.time.move(0.0)
            await asyncio.sleep(0.001)
        assert seen[-1] == ["http://s:1/metrics", "http://s:2/metrics", "http://a:1/metrics"]
        path.write_text('[{"targets": ["a:1", "a:2", "a:1"]}]')
        while len(seen[-1]) < 4:
            made.time.move(2.0)
            await asyncio.sleep(0.001)
        assert targets.by_job["k"].active[1].url == "http://a:2/metrics"
        assert made.registry.get_sample_value("pronoia_discovery_targets", {"job": "k"}) == 2
        assert made.registry.get_sample_value("pronoia_discovery_duplicate_targets", {"job": "k"}) == 1
        running.cancel()
        following.cancel()


async def test_what_becomes_an_agents_own_is_not_held_back_like_changes_that_take_long_to_follow() -> None:
    async with bench() as made, asyncio.timeout(20):
        ours = {"s:1"}

        def is_ours(target: Target) -> bool:
            made.time.now_s += 10.0  # Following changes takes long here: the next ones would wait for more.
            return target.url.removeprefix("http://").removesuffix("/metrics") in ours

        jobs = [job(static_configs=[{"targets": ["s:1", "s:2"]}])]
        targets = Targets(jobs, made.tools, settle_s=0.0, is_ours=is_ours)
        running = asyncio.create_task(targets.run())
        changes = targets.changes()

        async def next_urls() -> list[str]:
            found = asyncio.ensure_future(anext(changes))
            while not found.done():
                made.time.move(0.0)
                await asyncio.sleep(0.001)
            return [target.url for target in found.result()]

        assert await next_urls() == ["http://s:1/metrics"]
        ours.add("s:2")
        targets.reload(jobs)
        assert await next_urls() == ["http://s:1/metrics", "http://s:2/metrics"]
        assert made.registry.get_sample_value("pronoia_discovery_targets", {"job": "j"}) == 2
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def test_changes_that_take_long_to_follow_are_joined_for_longer() -> None:
    assert settle_s(0.25, took_s=0.0) == 0.25
    assert settle_s(0.25, took_s=0.02) == 1.0
    assert settle_s(0.25, took_s=3.0) == 5.0
    assert settle_s(0.0, took_s=0.0) == 0.0


async def test_discovery_can_be_tried_once(tmp_path: Path) -> None:
    jobs = [job(file_sd_configs=[{"files": [str(tmp_path / "none.yml")]}], static_configs=[{"targets": ["a:1"]}])]
    async with bench() as made:
        found = await find_once(jobs, made.tools)
    assert [target.url for target in found["j"].active] == ["http://a:1/metrics"]


def test_a_group_that_is_as_it_was_is_not_made_anew() -> None:
    made, rules = Job(job()), [{"source_labels": ["__address__"], "target_label": "x"}]
    (before,) = made.targets([group("a:1", env="p")]).active
    (equal,) = made.targets([group("a:1", env="p")]).active
    assert equal is before
    assert made.targets([group("a:1", env="q")]).active[0].labels != before.labels
    (other,) = Job(job(relabel_configs=rules)).targets([group("a:1", env="p")]).active
    assert dict(other.labels)["x"] == "a:1"


def test_groups_of_one_name_are_told_apart() -> None:
    made, groups = Job(job()), [group("a:1"), group("b:1"), group("a:1", env="p")]
    before = made.targets(groups).active
    assert [target.url for target in before] == ["http://a:1/metrics", "http://b:1/metrics", "http://a:1/metrics"]
    assert all(one is other for one, other in zip(made.targets(list(groups)).active, before, strict=True))


def test_what_was_found_a_second_time_is_told_apart_from_what_is_scraped() -> None:
    targets = Job(job()).targets([group("a:1", __meta_x="1"), group("a:1", __meta_x="2")])
    assert [dict(target.discovered_labels)["__meta_x"] for target in targets.active] == ["1"]
    assert [dict(target.discovered_labels)["__meta_x"] for target in targets.duplicates] == ["2"]
    assert targets.active == targets.duplicates, "how a target was found is not part of what it is"


def test_a_label_that_is_empty_keeps_its_group_s_away_and_lets_the_job_s_be() -> None:
    own = TargetGroup("test", ({"__address__": "a:1", "x": "", "job": ""},), {"x": "group", "job": "group"})
    assert the_one(job(), own).labels == (("instance", "a:1"), ("job", "j"))


@asynccontextmanager
async def following(
    made: Bench, jobs: list[ScrapeConfig]
) -> AsyncIterator[tuple[Targets, Callable[[int], Awaitable[list[str]]]]]:
    """Run targets; give them, and a way to wait until so many are found, which returns their URLs."""
    seen: list[list[str]] = []
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        targets = Targets(jobs, made.tools, settle_s=0.0)

        async def follow() -> None:
            async for found in targets.changes():
                urls = [target.url.removeprefix("http://").removesuffix("/metrics") for target in found]
                seen.append(urls)

        async def until(count: int) -> list[str]:
            seen.clear()
            while not seen or len(seen[-1]) != count:
                made.time.move(1.0)
                await asyncio.sleep(0.001)
            return seen[-1]

        running = [tasks.create_task(targets.run()), tasks.create_task(follow())]
        yield targets, until
        for task in running:
            task.cancel()


async def test_a_reload_takes_in_new_jobs_and_leaves_out_those_that_are_gone() -> None:
    one, two = (job(job_name=name, static_configs=[{"targets": [f"{name}:1"]}]) for name in ("one", "two"))
    async with bench() as made, following(made, [one]) as (targets, until):
        assert await until(1) == ["one:1"]
        targets.reload([one, two])
        assert await until(2) == ["one:1", "two:1"]
        targets.reload([two])
        assert await until(1) == ["two:1"]
        assert made.registry.get_sample_value("pronoia_discovery_targets", {"job": "one"}) is None
        targets.reload([])
        assert await until(0) == []


async def test_a_reload_leaves_alone_what_did_not_change(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('[{"targets": ["a:1"]}]')
    section = [{"files": [str(path)]}]
    async with bench() as made, following(made, [job(file_sd_configs=section)]) as (targets, until):
        await until(1)
        before = targets.by_job["j"]
        targets.reload([job(file_sd_configs=section), job(job_name="k")])
        targets.reload([job(file_sd_configs=section), job(job_name="k", static_configs=[{"targets": ["k:1"]}])])
        assert await until(2) == ["a:1", "k:1"]
        assert targets.by_job["j"] is before
        # The rules are others, the discovery goes on: a broken file is not read anew.
        path.write_text("[")
        rules = [{"target_label": "x", "replacement": "y"}]
        targets.reload([job(file_sd_configs=section, relabel_configs=rules)])
        assert await until(1) == ["a:1"]
        assert dict(targets.by_job["j"].active[0].labels)["x"] == "y"


async def test_what_was_found_stays_until_its_successor_has_looked(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('[{"targets": ["a:1"]}]')
    broken = tmp_path / "b.json"
    broken.write_text("[")
    static = [{"targets": ["s:1"]}]
    async with bench() as made, following(made, [job(file_sd_configs=[{"files": [str(path)]}])]) as (targets, until):
        await until(1)
        targets.reload([job(file_sd_configs=[{"files": [str(broken)]}], static_configs=static)])
        assert await until(2) == ["a:1", "s:1"]
        broken.write_text("[]")
        assert await until(1) == ["s:1"]


def test_labels_are_one_object_for_all_targets_that_have_them_unless_they_are_long() -> None:
    long = "x" * 1000
    one, other = Job(job()).targets([group("a:1", "b:1", env="p", long=long)]).active
    assert one.labels[0] is other.labels[0] == ("env", "p")
    assert one.labels[3] == other.labels[3] == ("long", long)
    assert one.labels[3] is not other.labels[3]
