"""Journal, syslog and push requests through an agent's process into a real Loki, as promtail's file says; kill -9."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
import yaml

from tests.e2e.processes import Member, until
from tests.servers.journal import JournalFolder
from tests.servers.loki import Found, Loki
from tests.servers.processes import free_port
from tests.servers.rsyslog import Rsyslog

pytestmark = [pytest.mark.loki, pytest.mark.journal, pytest.mark.syslog]

HOUR_NS = 3600 * 10**9


class Machine:
    """An agent with a journal, a syslog listener and a push endpoint, and a Loki behind it."""

    def __init__(self, folder: Path, loki: Loki) -> None:
        self.loki = loki
        self.name = folder.name
        self.journal = JournalFolder(folder / "journal")
        self.syslog_port, self.push_port, port = free_port(), free_port(), free_port()
        self.agent = Member(folder / "agent", "agent", self._config(port), port)

    def _config(self, port: int) -> dict[str, Any]:
        labels = {"machine": self.name}
        syslog = {"listen_address": f"127.0.0.1:{self.syslog_port}", "labels": labels, "use_incoming_timestamp": True}
        server = {"http_listen_address": "127.0.0.1", "http_listen_port": self.push_port}
        unit = {"source_labels": ["__journal__systemd_unit"], "target_label": "unit"}
        joined = {"multiline": {"firstline": "^begin", "max_wait_time": "1h"}}
        return {
            "server": {"http_listen_address": "127.0.0.1", "http_listen_port": port},
            "clients": [{"url": self.loki.push_url}],
            "scrape_configs": [
                {
                    "job_name": "journal",
                    "journal": {"path": str(self.journal.folder), "labels": labels},
                    "relabel_configs": [unit],
                },
                {
                    "job_name": "joined",
                    "journal": {"path": str(self.journal.folder), "labels": labels, "matches": "SYSLOG_IDENTIFIER=j"},
                    "pipeline_stages": [joined, {"static_labels": {"stage": "multiline"}}],
                },
                {
                    "job_name": "syslog",
                    "syslog": syslog,
                    "relabel_configs": [
                        {"source_labels": ["__syslog_message_app_name"], "target_label": "app"},
                        {"source_labels": ["__syslog_message_severity"], "target_label": "level"},
                    ],
                },
                {"job_name": "push", "loki_push_api": {"server": server, "labels": labels}},
            ],
        }

    async def found(self, more: str) -> list[Found]:
        now_ns = time.time_ns()
        selector = f'{{machine="{self.name}", {more}}}'
        return await self.loki.entries(selector, start_ns=now_ns - HOUR_NS, end_ns=now_ns + HOUR_NS)

    async def has(self, more: str, lines: list[str]) -> None:
        async def all_there() -> bool:
            return len(await self.found(more)) >= len(lines)

        await until(all_there, f"{len(lines)} lines of {more} are in Loki")
        assert sorted(entry.line for entry in await self.found(more)) == sorted(lines)


@pytest_asyncio.fixture
async def machine(tmp_path: Path, loki: Loki) -> AsyncIterator[Machine]:
    made = Machine(tmp_path, loki)
    await made.agent.start()
    try:
        yield made
    finally:
        await made.agent.process.kill()


def message(text: str, **more: str) -> dict[str, str | bytes]:
    return {"MESSAGE": text, "_SYSTEMD_UNIT": "a.service", **more}


async def test_the_journal_comes_once_however_often_the_agent_is_killed(machine: Machine) -> None:
    lines: list[str] = []
    for kill in range(3):
        added = [f"{kill}-{number}" for number in range(300)]
        lines += added
        machine.journal.write("system", *map(message, added))
        if kill:
            await machine.agent.start()
        await machine.has('unit="a.service"', lines)
        await machine.agent.process.kill()
        machine.journal.write("system", message(f"while dead {kill}"))
        lines.append(f"while dead {kill}")
    await machine.agent.start()
    await machine.has('unit="a.service"', lines)


async def test_an_entry_of_several_lines_survives_a_kill_in_its_middle(machine: Machine) -> None:
    for text in ("begin one", "more"):
        machine.journal.write("system", message(text, SYSLOG_IDENTIFIER="j"))
    await machine.has('unit="a.service"', ["begin one", "more"])
    await machine.agent.process.kill()
    for text in ("and more", "begin two"):
        machine.journal.write("system", message(text, SYSLOG_IDENTIFIER="j"))
    await machine.agent.start()
    await machine.has('stage="multiline"', ["begin one\nmore\nand more"])


async def test_syslog_and_push_requests_arrive_with_their_fields(machine: Machine, tmp_path: Path) -> None:
    action = (
        f'action(type="omfwd" target="127.0.0.1" port="{machine.syslog_port}" protocol="tcp"'
        ' TCP_Framing="octet-counted" template="RSYSLOG_SyslogProtocol23Format")'
    )
    async with Rsyslog(tmp_path / "rsyslog", action) as rsyslog:
        rsyslog.log(*(b"<34>Oct 11 22:14:15 app[7]: line %d" % number for number in range(500)))
        await machine.has('app="app", level="critical"', [f" line {number}" for number in range(500)])
    async with aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{machine.push_port}/loki/api/v1/push"
        body = {"streams": [{"stream": {"app": "pushed"}, "values": [[str(time.time_ns()), "hello", {"m": "1"}]]}]}
        async with session.post(url, json=body) as answer:
            assert answer.status == 204
    await machine.has('app="pushed"', ["hello"])
    (found,) = await machine.found('app="pushed"')
    assert dict(found.metadata) == {"m": "1"}


async def test_standard_input_is_delivered_to_its_end_and_the_agent_with_it(tmp_path: Path, loki: Loki) -> None:
    job = {
        "job_name": "piped",
        "static_configs": [{"labels": {"machine": tmp_path.name, "job": "piped"}}],
        "pipeline_stages": [{"multiline": {"firstline": "^[0-9]", "max_wait_time": "1h"}}],
    }
    config = {
        "server": {"http_listen_address": "127.0.0.1", "http_listen_port": free_port()},
        "clients": [{"url": loki.push_url}],
        "scrape_configs": [job],
    }
    (tmp_path / "promtail.yml").write_text(yaml.safe_dump(config))
    lines = [f"{number} line" for number in range(5000)]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pronoia", "agent", "--config", "promtail.yml", "--data", "data", "--stdin"),
        cwd=tmp_path,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(60):
        said, _ = await process.communicate("\n".join([*lines, "and more"]).encode())
    assert process.returncode == 0, said.decode()
    now_ns = time.time_ns()
    found = await loki.entries(f'{{machine="{tmp_path.name}"}}', start_ns=now_ns - HOUR_NS, end_ns=now_ns + HOUR_NS)
    assert sorted(entry.line for entry in found) == sorted([*lines[:-1], f"{lines[-1]}\nand more"])
