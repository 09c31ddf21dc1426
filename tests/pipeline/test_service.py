"""What becomes of a process when one of its parts ends."""

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import asyncio, sys
from pipeline.service import serve, vital
from pronoia.component import run_component

class Part:
    name = "part"
    def __init__(self, fails): self.fails = fails
    async def start(self):
        self.task = asyncio.create_task(self.work(), name=f"part-{self.fails}")
        vital(self.task)
    async def work(self):
        if self.fails == "raises": raise ZeroDivisionError("a bug")
        if self.fails == "returns": return
        await asyncio.Event().wait()
    async def drain(self):
        self.task.cancel()
        print("drained", self.fails)
    def ready(self): return None

async def finished():
    if sys.argv[1] != "finishes": await asyncio.Event().wait()

run_component(lambda: serve([Part("never"), Part(sys.argv[1])], finished=finished), "info")
"""


def run(fails: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, fails],
        capture_output=True, text=True, timeout=60, check=False, cwd=Path(__file__).parents[2],
    )  # fmt: skip


def test_a_part_that_fails_ends_the_process_once_the_others_have_drained() -> None:
    done = run("raises")
    assert (done.returncode, done.stdout) == (1, "drained raises\ndrained never\n")
    assert "Error: part-raises has ended" in done.stderr
    assert '"level": "critical"' in done.stderr
    assert "ZeroDivisionError: a bug" in done.stderr


def test_a_part_that_ends_without_an_error_ends_the_process_too() -> None:
    done = run("returns")
    assert (done.returncode, done.stdout) == (1, "drained returns\ndrained never\n")
    assert "Error: part-returns has ended" in done.stderr


def test_work_that_is_finished_ends_the_process_as_a_signal_does() -> None:
    done = run("finishes")
    assert (done.returncode, done.stdout) == (0, "drained finishes\ndrained never\n")
