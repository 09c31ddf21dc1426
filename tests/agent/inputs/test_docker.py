"""The logs of real containers: streams, terminals, long lines, restarts of reader, container and daemon."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from agent.config.docker import DockerSdConfig
from agent.inputs.docker import DockerLogs
from agent.inputs.docker_container import CONTAINER_ID
from agent.inputs.docker_position import Position
from agent.logs.input import Source
from agent.logs.job import LOG_STREAM
from pipeline.wire.docker_logs import Line
from tests.agent.inputs.parts import Desk, Memory
from tests.e2e.processes import until
from tests.servers.docker import Docker

pytestmark = [pytest.mark.docker, pytest.mark.asyncio(loop_scope="module")]

NO_NETWORK = {"NetworkMode": "none"}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def docker(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Docker]:
    async with Docker(tmp_path_factory.mktemp("docker")) as server:
        yield server


async def container(docker: Docker, name: str, script: str, **more: Any) -> str:
    return await docker.run(name, Cmd=["/bin/sh", "-c", script], HostConfig=NO_NETWORK, **more)


def source(identity: str) -> Source:
    found = {CONTAINER_ID: identity, "__meta_docker_container_name": "/one"}
    return Source({}, found)


@asynccontextmanager
async def reading(docker: Docker, desk: Desk, *identities: str) -> AsyncIterator[DockerLogs]:
    made = DockerLogs(DockerSdConfig(host=f"unix://{docker.socket}"), desk.tools())
    made.follow([source(identity) for identity in identities])
    task = asyncio.create_task(made.run())
    try:
        yield made
        assert not task.done(), task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def by_stream(found: Any) -> dict[str, str]:
    return {"stream": found[LOG_STREAM], "name": found["__meta_docker_container_name"]}


def texts(desk: Desk, stream: str) -> Sequence[str]:
    return [line.line for line in desk.memory.lines if line.labels["stream"] == stream]


async def test_both_streams_come_with_their_times_and_labels(docker: Docker) -> None:
    desk = Desk(Memory(), by_stream)
    identity = await container(docker, "both", "echo out; echo err >&2; sleep 1000")
    async with reading(docker, desk, identity) as made:
        lines = await desk.memory.has(2)
        assert made.trouble() is None
        assert [(part.name, part.trouble) for part in made.parts()()] == [("one", "")]
    assert texts(desk, "stdout") == ["out"]
    assert texts(desk, "stderr") == ["err"]
    assert lines[0].labels["name"] == "/one"
    assert all(line.time_ns > 1_700_000_000 * 10**9 for line in lines)


async def test_a_terminal_and_a_line_in_pieces(docker: Docker) -> None:
    desk = Desk(Memory(), by_stream)
    script = "head -c 50000 /dev/zero | tr '\\\\0' x; echo; echo end; sleep 1000"
    plain = await container(docker, "plain", script)
    terminal = await container(docker, "terminal", script, Tty=True)
    async with reading(docker, desk, plain, terminal):
        await desk.memory.has(4)
    assert sorted(len(line.line) for line in desk.memory.lines) == [3, 3, 50_000, 50_000]


async def test_a_restart_of_the_reader_neither_loses_nor_repeats(docker: Docker) -> None:
    memory = Memory()
    script = 'n=0; while [ $n -lt 3000 ]; do echo "line $n"; echo "err $n" >&2; n=$((n+1)); done; sleep 1000'
    identity = await container(docker, "many", script)
    for part in range(1, 5):
        async with reading(docker, Desk(memory, by_stream), identity):
            await memory.has(min(6000, part * 1500))
    desk = Desk(memory, by_stream)
    assert texts(desk, "stdout") == [f"line {number}" for number in range(3000)]
    assert texts(desk, "stderr") == [f"err {number}" for number in range(3000)]


async def test_a_container_that_is_started_again_goes_on(docker: Docker) -> None:
    desk = Desk(Memory(), by_stream)
    identity = await container(docker, "again", "echo begun; printf unfinished")
    async with reading(docker, desk, identity):
        await desk.memory.has(2)
        await docker.ask("POST", f"/containers/{identity}/start")
        await desk.memory.has(4)
    assert desk.memory.texts == ["begun", "unfinished"] * 2


async def test_a_container_that_is_removed_is_read_to_its_end_and_forgotten(docker: Docker) -> None:
    desk = Desk(Memory(), by_stream, holding=1)
    identity = await container(docker, "short", "echo one; echo two")
    async with reading(docker, desk, identity) as made:
        await desk.memory.has(1)
        assert desk.memory.kept
        await docker.ask("DELETE", f"/containers/{identity}?force=true")
        made.follow([])
        await desk.memory.has(2)

        async def is_forgotten() -> bool:
            return not desk.memory.kept

        await until(is_forgotten, "nothing is kept of it")
    assert desk.memory.texts == ["one", "two"]


async def test_a_container_that_is_not_wanted_any_more_is_let_go(docker: Docker) -> None:
    desk = Desk(Memory(), by_stream)
    identity = await container(docker, "unwanted", "while true; do echo x; sleep 0.1; done")
    async with reading(docker, desk, identity) as made:
        await desk.memory.has(1)
        made.follow([])

        async def is_let_go() -> bool:
            return not made._containers

        await until(is_let_go, "its task has ended")


async def test_a_daemon_that_is_away_is_told_and_asked_again(tmp_path: Path) -> None:
    desk = Desk(Memory(), by_stream)
    made = DockerLogs(DockerSdConfig(host=f"unix://{tmp_path}/none.sock"), desk.tools())
    made.follow([source("abc")])
    task = asyncio.create_task(made.run())

    async def is_told() -> bool:
        return "none.sock" in (made.trouble() or "")

    try:
        await until(is_told, "it says so")
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_what_comes_again_is_known_by_time_and_number() -> None:
    first = [Line("stdout", 50, b"a"), Line("stdout", 60, b"b"), Line("stdout", 60, b"c"), Line("stderr", 55, b"d")]
    position = Position()
    position.begin()
    assert all(map(position.is_new, first))
    again = Position.read(position.write())
    assert again.begin() == "0.000000055"
    more = [*first, Line("stdout", 60, b"e"), Line("stderr", 56, b"f"), Line("stdout", 40, b"clock set back")]
    assert [line.text for line in more if again.is_new(line)] == [b"e", b"f", b"clock set back"]
