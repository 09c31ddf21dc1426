"""Following real journals: from where, how far, with which fields, across restarts, rotation and vacuum."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from agent.config.journal import JournalConfig
from agent.inputs.journal import MAX_ENTRY_BYTES, Journal
from tests.agent.inputs.parts import Desk, Memory, all_labels, running
from tests.servers.journal import JournalFolder

pytestmark = pytest.mark.journal


def config(folder: JournalFolder, **more: Any) -> JournalConfig:
    return JournalConfig.model_validate({"path": str(folder.folder), **more})


def message(text: str) -> dict[str, str | bytes]:
    return {"MESSAGE": text, "PRIORITY": "3", "_SYSTEMD_UNIT": "a.service", "_HOSTNAME": "n1"}


async def test_entries_come_with_their_fields_as_labels(tmp_path: Path) -> None:
    folder, desk = JournalFolder(tmp_path / "j"), Desk(Memory(), all_labels)
    folder.write("system", message("before"))
    async with running(Journal(config(folder, labels={"job": "systemd-journal"}), desk.tools())):
        await desk.memory.has(1)
        folder.write("system", message("while"), message("several\nlines"))
        lines = await desk.memory.has(3)
    assert desk.memory.texts == ["before", "while", "several\nlines"]
    assert {
        "job": "systemd-journal",
        "journal_priority": "3",
        "journal_priority_keyword": "error",
        "journal__systemd_unit": "a.service",
        "journal__hostname": "n1",
    }.items() <= dict(lines[0].labels).items()


async def test_a_restart_goes_on_behind_the_last_entry(tmp_path: Path) -> None:
    folder, memory = JournalFolder(tmp_path / "j"), Memory()
    expected: list[str] = []
    for start in range(3):
        added = [f"{start}-{number}" for number in range(50)]
        folder.write("system", *map(message, added[:25]))
        async with running(Journal(config(folder), Desk(memory).tools())):
            folder.write("system", *map(message, added[25:]))
            await memory.has(len(expected) + 50)
        expected += added
        folder.write("system", message(f"stopped {start}"))
        expected.append(f"stopped {start}")
    async with running(Journal(config(folder), Desk(memory).tools())):
        await memory.has(len(expected))
    assert memory.texts == expected


async def test_journalctl_that_is_killed_is_started_again(tmp_path: Path) -> None:
    folder, desk = JournalFolder(tmp_path / "j"), Desk(Memory())
    folder.write("system", *(message(str(number)) for number in range(500)))
    async with running(Journal(config(folder), desk.tools())):
        await desk.memory.has(500)
        for pid in _children():
            os.kill(pid, signal.SIGKILL)
        folder.write("system", message("after"))
        await desk.memory.has(501)
    assert desk.memory.texts == [*map(str, range(500)), "after"]


def _children() -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = path.read_text().partition(") ")
        except OSError:
            continue
        if "(journalctl" in name and int(rest.split()[1]) == os.getpid():
            found.append(int(path.parent.name))
    assert found
    return found


async def test_what_the_buffer_refused_is_read_again(tmp_path: Path) -> None:
    folder, desk = JournalFolder(tmp_path / "j"), Desk(Memory(fails=2))
    folder.write("system", *(message(str(number)) for number in range(100)))
    async with running(Journal(config(folder), desk.tools())):
        await desk.memory.has(100)
    assert desk.memory.texts == list(map(str, range(100)))


async def test_rotated_and_vacuumed_files_neither_repeat_nor_stop_anything(tmp_path: Path) -> None:
    folder, memory = JournalFolder(tmp_path / "j"), Memory()
    folder.write("system", message("1"))
    async with running(Journal(config(folder), Desk(memory).tools())):
        await memory.has(1)
        (folder.folder / "system.journal").rename(folder.folder / "system@1.journal")
        folder.write("system", message("2"))
        await memory.has(2)
    folder.write("system", message("3"))
    # The entry that the cursor names is gone with its file, and so are all before it.
    (folder.folder / "system@1.journal").unlink()
    folder.write("user", message("4"))
    (folder.folder / "system.journal").unlink()
    async with running(Journal(config(folder), Desk(memory).tools())):
        await memory.has(3)
    assert memory.texts == ["1", "2", "4"]


async def test_binary_fields_and_whole_entries_as_json(tmp_path: Path) -> None:
    folder, desk = JournalFolder(tmp_path / "j"), Desk(Memory())
    folder.write("system", {"MESSAGE": b"\xff\0x", "A": "1"}, {"B": b"no message"})
    async with running(Journal(config(folder, json=True), desk.tools())):
        lines = await desk.memory.has(2)
    first = json.loads(lines[0].line)
    assert (first["MESSAGE"], first["A"]) == ("\ufffd\0x", "1")
    assert not any(name.startswith("__") for name in first)
    assert json.loads(lines[1].line)["B"] == "no message"


async def test_what_is_no_line_or_not_wanted_is_counted(tmp_path: Path) -> None:
    folder, desk = JournalFolder(tmp_path / "j"), Desk(Memory())
    desk.relabel = lambda found: None if found.get("__journal_noise") else {}
    folder.write("system", {"A": "1"}, {"MESSAGE": "x", "NOISE": "1"}, {"MESSAGE": "old"}, age_s=7200.0)
    folder.write("system", {"A": "1"}, {"MESSAGE": "x", "NOISE": "1"}, {"MESSAGE": "new"})
    async with running(Journal(config(folder, max_age="1h"), desk.tools())):
        await desk.memory.has(1)
    assert desk.memory.texts == ["new"]
    assert desk.value("dropped_lines", reason="journal_entry_without_message") == 1
    assert desk.value("dropped_lines", reason="relabel_configs") == 1


async def test_matches_choose_entries(tmp_path: Path) -> None:
    folder, desk = JournalFolder(tmp_path / "j"), Desk(Memory())
    folder.write("system", message("1"), {**message("2"), "_SYSTEMD_UNIT": "b.service"}, message("3"))
    async with running(Journal(config(folder, matches="_SYSTEMD_UNIT=b.service PRIORITY=3"), desk.tools())):
        await desk.memory.has(1)
    assert desk.memory.texts == ["2"]


async def test_an_entry_that_is_far_too_large_is_passed_over(tmp_path: Path) -> None:
    folder, desk = JournalFolder(tmp_path / "j"), Desk(Memory())
    folder.write("system", message("1"), {"MESSAGE": os.urandom(MAX_ENTRY_BYTES + (1 << 20))}, message("2"))
    async with running(Journal(config(folder), desk.tools())):
        await desk.memory.has(2)
    assert desk.memory.texts == ["1", "2"]
    assert desk.value("dropped_lines", reason="journal_entry_too_large") == 1


async def test_a_position_that_is_none_is_told_and_the_age_counts(tmp_path: Path) -> None:
    folder, memory = JournalFolder(tmp_path / "j"), Memory()
    folder.write("system", message("1"))
    async with running(Journal(config(folder), Desk(memory).tools())):
        await memory.has(1)
    [key] = [key for key in memory.kept if key.endswith(b"position")]
    memory.kept[key] = b"none;t=" + memory.kept[key].partition(b";t=")[2]
    async with running(Journal(config(folder), Desk(memory).tools())):
        await memory.has(2)
    assert memory.texts == ["1", "1"]


async def test_held_back_lines_survive_a_kill(tmp_path: Path) -> None:
    folder, memory = JournalFolder(tmp_path / "j"), Memory()
    folder.write("system", *(message(str(number)) for number in range(10)))
    async with running(Journal(config(folder), Desk(memory, holding=3).tools())):
        await memory.has(7)
    folder.write("system", message("10"))
    async with running(Journal(config(folder), Desk(memory, holding=0).tools())):
        await memory.has(11)
    assert memory.texts == list(map(str, range(11)))


async def test_a_folder_without_a_journal_is_told(tmp_path: Path) -> None:
    folder, desk = JournalFolder(tmp_path / "j"), Desk(Memory())
    async with running(Journal(config(folder), desk.tools())):
        folder.write("system", message("at last"))
        await desk.memory.has(1)


def test_matches_that_are_none_are_refused() -> None:
    for text in ("_PID", "A=1 + B=2", "--merge", "/usr/bin/x"):
        with pytest.raises(ValidationError, match="no match"):
            JournalConfig.model_validate({"matches": text})
