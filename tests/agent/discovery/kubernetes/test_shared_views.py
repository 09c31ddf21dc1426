"""Jobs whose sections mean the same share one view, and the very groups that it makes."""

import asyncio
from contextlib import aclosing

import pytest

from agent.config.kubernetes import KubernetesSdConfig
from agent.discovery import Groups, Place, Tools
from agent.discovery.kubernetes import view
from agent.discovery.kubernetes.discovery import Views, kubernetes_groups, server_of
from agent.discovery.kubernetes.resources import PODS
from agent.discovery.kubernetes.watches import Watches
from tests.agent.discovery.kubernetes.following import tools_for
from tests.agent.discovery.kubernetes.stub import stub_api_server
from tests.agent.discovery.kubernetes.test_follow import pod


def section(url: str) -> KubernetesSdConfig:
    return KubernetesSdConfig(role="pod", api_server=url)


def begun(url: str, tools: Tools, job: str) -> Groups:
    return kubernetes_groups(section(url), Place(job, "kubernetes_sd_configs", 0), tools)


async def test_a_group_is_made_once_for_all_jobs_that_look_at_it() -> None:
    async with stub_api_server() as server, tools_for() as tools:
        for name in ("a", "b"):
            await server.put(PODS, pod(name))
        async with aclosing(begun(server.url, tools, "one")) as one, aclosing(begun(server.url, tools, "two")) as two:
            first, second = await asyncio.gather(anext(one), anext(two))
            assert [group.source for group in first] == ["pod/default/a", "pod/default/b"]
            assert all(ours is theirs for ours, theirs in zip(first, second, strict=True))
            await server.put(PODS, pod("c"))
            later = await asyncio.gather(anext(one), anext(two))
            assert [len(groups) for groups in later] == [3, 3]
        assert Views.of(tools).open_count == 0


async def test_what_a_job_that_ends_leaves_half_made_is_made_for_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view, "TURN_S", 0.0)  # Each group is a turn.
    async with stub_api_server() as server, tools_for() as tools:
        for number in range(20):
            await server.put(PODS, pod(str(number)))
        config, wake = section(server.url), asyncio.Event()
        found = server_of(config, Watches.of(tools))
        async with Views.of(tools).view(config, "", found, Place("j", "k", 0), wake, tools) as shared:
            while not shared.tried:
                await wake.wait()
                wake.clear()
            ends = asyncio.create_task(shared.refresh())
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            ends.cancel()
            await asyncio.gather(ends, return_exceptions=True)
            assert 0 < len(shared.groups) < 20
            await shared.refresh()
            assert len(shared.groups) == 20
