"""An agent whose configuration changes while it runs: by SIGHUP, by POST, by symbolic links; and for the worse."""

import asyncio
import json
import os
import re
import signal
import time
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from tests.e2e.exporter import Exporter, Target
from tests.e2e.judge import failed_scrapes, settled
from tests.e2e.processes import Member, until
from tests.servers.processes import free_port
from tests.servers.prometheus import Prometheus

INTERVAL_MS = 500
SERIES = 200
TURNS = 12


def job(name: str, exporter: Exporter, **keys: Any) -> dict[str, Any]:
    static = [{"targets": [f"127.0.0.1:{exporter.port}"]}]
    return {"job_name": name, "metrics_path": f"/{name}", "static_configs": static, **keys}


def configuration(admin: int, write_url: str, jobs: list[dict[str, Any]], **keys: Any) -> dict[str, Any]:
    interval = f"{INTERVAL_MS}ms"
    return {
        "global": {"scrape_interval": interval, "scrape_timeout": interval},
        "scrape_configs": jobs,
        "cluster": "c1",
        "admin": f"127.0.0.1:{admin}",
        "remote_write": [{"name": "store", "url": write_url}],
        **keys,
    }


class Running:
    """An agent with a file that changes."""

    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        self.admin = int(config["admin"].rpartition(":")[2])
        self.config = config
        self.member = Member(folder, "agent", config, self.admin)
        self.file = folder / "config.yml"

    async def __aenter__(self) -> "Running":
        await self.member.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.member.process.kill()

    def write(self, **keys: Any) -> None:
        self.config |= keys
        self.file.write_text(yaml.safe_dump(self.config, sort_keys=False))

    def hang_up(self) -> None:
        signal_process(self.member, signal.SIGHUP)

    async def ask(self, method: str, path: str) -> tuple[int, str]:
        url = f"http://127.0.0.1:{self.admin}{path}"
        async with aiohttp.ClientSession() as session, session.request(method, url) as answer:
            return answer.status, await answer.text()

    async def metric(self, name: str) -> float:
        _, text = await self.member.get("/metrics")
        found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else -1.0

    async def jobs(self) -> set[str]:
        """The jobs with a target that was scraped well."""
        _, text = await self.member.get("/api/v1/targets?state=active")
        return {
            target["scrapePool"] for target in json.loads(text)["data"]["activeTargets"] if target["health"] == "up"
        }


async def served_more(targets: Collection[Target]) -> None:
    """Wait until each target was scraped three times more."""
    wanted = {target.name: len(target.served) + 3 for target in targets}

    async def served() -> bool:
        return all(len(target.served) >= wanted[target.name] for target in targets)

    await until(served, "three more scrapes of every target")


def left_out(times_ms: list[int]) -> int:
    """Return how many scrapes are missing in a row of scrapes, of which most were on time."""
    phase_ms = Counter(at_ms % INTERVAL_MS for at_ms in times_ms).most_common(1)[0][0]
    slots = [(at_ms - phase_ms + 3) // INTERVAL_MS for at_ms in times_ms]
    assert len(set(slots)) == len(slots), "one scrape a slot"
    return slots[-1] - slots[0] + 1 - len(slots)


def signal_process(member: Member, number: signal.Signals) -> None:
    os.kill(member.process.pid, number)


@pytest.mark.prometheus
async def test_no_sample_is_lost_or_doubled_while_the_configuration_changes_again_and_again(
    prometheus: Prometheus, tmp_path: Path
) -> None:
    targets = {name: Target(name, SERIES) for name in ("steady", "changing", "moving")}
    async with Exporter(targets) as exporter:
        steady, changing, moving = (job(name, exporter) for name in targets)
        config = configuration(free_port(), prometheus.write_url, [steady, changing, moving])
        async with Running(tmp_path / "agent", config) as agent:
            for turn in range(TURNS):
                await served_more(targets.values())
                # A rule that matches nothing: the job is another one, its series are the same.
                rule = {"action": "labeldrop", "regex": f"nothing_{turn}"}
                group = {"targets": [f"127.0.0.1:{exporter.port}"], "labels": {"turn": str(turn % 2)}}
                new = [steady, {**changing, "metric_relabel_configs": [rule]}, {**moving, "static_configs": [group]}]
                # A header that nobody reads: the push is another one, its receiver is the same.
                write = {"name": "store", "url": prometheus.write_url, "headers": {"X-Turn": str(turn)}}
                agent.write(scrape_configs=new, remote_write=[write])
                agent.hang_up()
            await served_more(targets.values())
            exporter.frozen = True
            skipped = {name: await agent.metric(f'pronoia_scrape_skipped_total{{job="{name}"}}') for name in targets}
            await settled(prometheus, quiet_s=3.0)
            tail = agent.member.process.tail(3000)
        for name in ("steady", "changing"):
            end_ms = targets[name].served[-1][0]
            (samples,) = (await prometheus.samples(f'up{{job="{name}"}}', end_s=time.time(), window_s=3600)).values()
            times = [at_ms for at_ms, _ in samples if at_ms <= end_ms]
            # A machine under load skips scrapes, and says so: a reload must leave out none beside those.
            assert left_out(times) <= max(skipped[name], 0), f"{name}: {times}\n{tail}"
        failed = await failed_scrapes(prometheus, {"c1": exporter}, interval_s=INTERVAL_MS / 1000)
        for name, target in targets.items():
            stored = await prometheus.samples(f'served_total{{target="{name}"}}', end_s=time.time(), window_s=3600)
            assert len(stored) == SERIES * (3 if name == "moving" else 1), "one label set of `moving` after another"
            kept = Counter((at_ms, value) for samples in stored.values() for at_ms, value in samples)
            assert set(kept.values()) == {SERIES}, f"{name}: every page whole, and once\n{tail}"
            lost = [(at_ms, value) for at_ms, value in target.served if (at_ms, value) not in kept]
            assert [page for page in lost if (f"c1/{name}", page[0]) not in failed] == [], f"{name}: {lost}\n{tail}"
            assert len(kept) > TURNS * 3 - 5


@pytest.mark.prometheus
async def test_a_bad_file_leaves_the_old_configuration_running_and_says_why(
    prometheus: Prometheus, tmp_path: Path
) -> None:
    async with Exporter({"a": Target("a", 5), "b": Target("b", 5)}) as exporter:
        config = configuration(free_port(), prometheus.write_url, [job("a", exporter)])
        async with Running(tmp_path / "agent", config) as agent:
            assert await agent.metric("pronoia_config_last_reload_successful") == 1
            read_at_s = await agent.metric("pronoia_config_last_reload_success_timestamp_seconds")

            rule = {"regex": "(", "action": "drop"}
            agent.write(scrape_configs=[job("b", exporter, relabel_configs=[rule])])
            status, text = await agent.ask("POST", "/-/reload")
            assert status == 500
            assert re.search(r"config\.yml:\d+: scrape_configs\[0\]\.relabel_configs\[0\]\.regex: error parsing", text)
            assert await agent.metric("pronoia_config_last_reload_successful") == 0
            assert await agent.metric("pronoia_config_last_reload_success_timestamp_seconds") == read_at_s
            told = json.loads((await agent.member.get("/api/v1/status/runtimeinfo"))[1])["data"]
            assert (told["reloadConfigSuccess"], len(told["reloadConfigMistakes"])) == (False, 1)
            (line,) = [line for line in agent.member.process.tail().splitlines() if '"level": "error"' in line]
            said = json.loads(line)
            assert said["key"] == "scrape_configs[0].relabel_configs[0].regex"
            assert Path(said["file"]).name == "config.yml"
            served = len(exporter.targets["a"].served)

            async def still_scraped() -> bool:
                return len(exporter.targets["a"].served) > served + 2

            await until(still_scraped, "the old job goes on")

            agent.write(scrape_configs=[job("b", exporter)], lanes=4)
            status, text = await agent.ask("PUT", "/-/reload")
            assert status == 500
            assert re.fullmatch(r".*config\.yml:\d+: lanes: a change needs a restart\n", text)

            agent.write(lanes=8)
            assert (await agent.ask("POST", "/api/reload"))[0] == 200
            assert await agent.metric("pronoia_config_last_reload_successful") == 1
            assert await agent.metric("pronoia_config_last_reload_success_timestamp_seconds") > read_at_s

            async def changed() -> bool:
                return await agent.jobs() == {"b"}

            await until(changed, "the new job alone is scraped")


@pytest.mark.parametrize(
    ("change", "refused"),
    [
        ({"cluster": "c2"}, "cluster: the cluster's name is part of every buffered batch"),
        ({"agent": "other"}, "agent: a change needs a restart"),
        ({"buffer": {"max_age": "1h"}}, "buffer: a change needs a restart"),
        ({"admin": "127.0.0.1:1"}, "admin: a change needs a restart"),
        (
            {"remote_write": [{"name": "other", "url": "http://127.0.0.1:1"}]},
            "the destination remote_write:other is new",
        ),
        ({"gateway": {"url": "http://127.0.0.1:1"}}, "gateway: the destination gateway is new"),
        ({"remote_write": []}, "names no destination"),
    ],
)
async def test_what_needs_a_restart_is_refused_by_name(change: dict[str, Any], refused: str, tmp_path: Path) -> None:
    config = configuration(free_port(), "http://127.0.0.1:1", [])
    async with Running(tmp_path / "agent", config) as agent:
        agent.write(**change)
        status, text = await agent.ask("POST", "/-/reload")
        assert status == 500
        assert refused in text


async def test_a_config_map_s_swapped_links_are_noticed(tmp_path: Path) -> None:
    mount = tmp_path / "mount"

    def publish(version: int, config: dict[str, Any]) -> None:
        """Do what a kubelet does: a new folder, a link to it beside, one rename."""
        folder = mount / f"..{version}"
        folder.mkdir(parents=True)
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        (mount / "..next").symlink_to(folder.name)
        (mount / "..next").rename(mount / "..data")

    async with Exporter({"a": Target("a", 5), "b": Target("b", 5)}) as exporter:
        config = configuration(free_port(), "http://127.0.0.1:1", [job("a", exporter)])
        publish(1, config)
        (mount / "prometheus.yml").symlink_to("..data/prometheus.yml")
        agent = Running(tmp_path / "agent", config)
        agent.file.unlink()
        agent.file.symlink_to(mount / "prometheus.yml")
        async with agent:
            publish(2, {**config, "scrape_configs": [job("b", exporter)]})

            async def noticed() -> bool:
                return await agent.jobs() == {"b"}

            await until(noticed, "the new job is scraped, the old one is not")


async def test_an_included_file_that_comes_is_noticed(tmp_path: Path) -> None:
    async with Exporter({"a": Target("a", 5)}) as exporter:
        config = configuration(free_port(), "http://127.0.0.1:1", [], scrape_config_files=["more/*.yml"])
        async with Running(tmp_path / "agent", config) as agent:
            folder = tmp_path / "agent" / "more"
            folder.mkdir()
            (folder / "a.yml").write_text(yaml.safe_dump({"scrape_configs": [job("a", exporter)]}))

            async def noticed() -> bool:
                return await agent.jobs() == {"a"}

            await until(noticed, "the included job is scraped")


async def test_pushes_move_to_another_gateway(tmp_path: Path) -> None:
    gateways = []
    for name in ("one", "two"):
        http, admin = free_port(), free_port()
        listen = {"http": f"127.0.0.1:{http}", "grpc": None, "admin": f"127.0.0.1:{admin}"}
        (tmp_path / f"{name}.token").write_text(f"token-{name}")
        clusters = [{"name": "c1", "token_file": str(tmp_path / f"{name}.token")}]
        log = {"sqlite": {"path": "log"}}
        gateways.append(
            (http, Member(tmp_path / name, "gateway", {"listen": listen, "log": log, "clusters": clusters}, admin))
        )

    async def received(member: Member) -> float:
        _, text = await member.get("/metrics")
        found = re.search(
            r'^pronoia_gateway_received_items_total\{cluster="c1",signal="metrics"\} (\S+)$', text, re.MULTILINE
        )
        return float(found[1]) if found else 0.0

    (first, one), (second, two) = gateways
    async with Exporter({"a": Target("a", 5)}) as exporter:
        config = configuration(free_port(), "", [job("a", exporter)])
        del config["remote_write"]
        config["gateway"] = {"url": f"http://127.0.0.1:{first}", "token": "token-one"}
        try:
            await asyncio.gather(one.start(), two.start())
            async with Running(tmp_path / "agent", config) as agent:

                async def taken() -> bool:
                    return await received(one) > 0

                await until(taken, "the first gateway takes batches")
                agent.write(gateway={"url": f"http://127.0.0.1:{second}", "token": "token-two"})
                agent.hang_up()

                async def moved() -> bool:
                    return await received(two) > 0

                await until(moved, "the second gateway takes batches")
        finally:
            await asyncio.gather(one.process.kill(), two.process.kill())


async def test_nothing_is_missing_when_pushes_change_their_way_under_load(tmp_path: Path) -> None:
    targets = {name: Target(name, SERIES) for name in ("a", "b")}
    async with Exporter(targets) as exporter:
        admin, http, grpc, console = (free_port() for _ in range(4))
        listen = {"http": f"127.0.0.1:{http}", "grpc": f"127.0.0.1:{grpc}", "admin": f"127.0.0.1:{admin}"}
        ways = [f"http://127.0.0.1:{http}", f"grpc://127.0.0.1:{grpc}"]
        config = configuration(admin, "", [job(name, exporter) for name in targets], gateway={"url": ways[0]})
        del config["remote_write"], config["admin"]
        whole = {"agent": config, "gateway": {"listen": listen}, "console": {"listen": f"127.0.0.1:{console}"}}
        agent = Running(tmp_path / "up", {**whole, "admin": f"127.0.0.1:{admin}"})
        agent.member.process.command[3] = "up"
        agent.config = whole
        agent.write()

        async def ledger() -> dict[str, Any]:
            clusters = json.loads((await agent.member.get("/api/v1/status"))[1])["clusters"]
            return dict(clusters[0]["signals"]["metrics"]) if clusters else {"received": 0, "sinks": {"store": {}}}

        async with agent:
            for turn in range(TURNS):
                await served_more(targets.values())
                agent.write(agent={**config, "gateway": {"url": ways[turn % 2]}})
                assert (await agent.ask("POST", "/-/reload"))[0] == 200
            await served_more(targets.values())
            served = sum(len(target.served) for target in targets.values()) * SERIES

            async def delivered() -> bool:
                return int((await ledger())["sinks"]["store"].get("delivered", 0)) >= served

            await until(delivered, "the store has everything")
            store = (await ledger())["sinks"]["store"]
            assert (store["missing"], store["rejected"]) == (0, 0), agent.member.process.tail(2000)
            _, metrics = await agent.member.get("/metrics")
            ways_taken = set(re.findall(r'pronoia_gateway_requests_total\{[^}]*protocol="(\w+)"', metrics))
            assert len(ways_taken) >= 2, ways_taken


async def test_the_agent_inside_up_is_reloaded_and_the_other_sections_are_not(tmp_path: Path) -> None:
    async with Exporter({"a": Target("a", 5), "b": Target("b", 5)}) as exporter:
        admin, http, console = free_port(), free_port(), free_port()
        listen = {"http": f"127.0.0.1:{http}", "grpc": None, "admin": f"127.0.0.1:{admin}"}
        config = configuration(admin, "", [job("a", exporter)])
        del config["remote_write"], config["admin"]
        whole = {"agent": config, "gateway": {"listen": listen}, "console": {"listen": f"127.0.0.1:{console}"}}
        agent = Running(tmp_path / "up", {**whole, "admin": f"127.0.0.1:{admin}"})
        agent.member.process.command[3] = "up"
        agent.config = whole
        agent.write()
        async with agent:
            agent.write(agent={**config, "scrape_configs": [job("b", exporter)]})
            agent.hang_up()

            async def changed() -> bool:
                return await agent.jobs() == {"b"}

            await until(changed, "the new job alone is scraped")
            agent.write(console={"listen": f"127.0.0.1:{free_port()}"})
            status, text = await agent.ask("POST", "/-/reload")
            assert status == 500
            assert re.fullmatch(r".*config\.yml:\d+: console: a change needs a restart\n", text)
            url = f"http://127.0.0.1:{console}/api/console/overview"
            async with aiohttp.ClientSession() as session, session.get(url) as answer:
                parts = (await answer.json())["data"]["parts"]
            assert parts["agent"] is None
            assert parts["agent's configuration"].endswith("console: a change needs a restart")
