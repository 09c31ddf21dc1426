"""Debian's logrotate at work on a log that is written all the time, and on one whose agent is stopped meanwhile."""

import asyncio
import os
import shutil
import subprocess
from io import FileIO
from pathlib import Path

import pytest

from tests.agent.tail.following import Buffer, following

LOGROTATE = shutil.which("logrotate", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


@pytest.fixture
def logrotate() -> str:
    if LOGROTATE is None:
        if os.environ.get("PRONOIA_REQUIRE_SERVERS"):
            pytest.fail("logrotate is not installed (Debian's logrotate)")
        pytest.skip("logrotate is not installed (Debian's logrotate)")
    return LOGROTATE


class Rotation:
    def __init__(self, program: str, folder: Path, directives: str) -> None:
        self.program, self.folder, self.log = program, folder, folder / "app.log"
        folder.chmod(0o755)
        self.config = folder / "logrotate.conf"
        self.config.write_text(f"{self.log} {{\n  size 1\n  rotate 20\n  {directives}\n}}\n")
        self.config.chmod(0o644)
        self.written = 0
        self.file = FileIO(self.log, "a")

    def write(self, lines: int) -> None:
        text = "".join(f"{number} of a log that is rotated\n" for number in range(self.written, self.written + lines))
        self.file.write(text.encode())
        self.written += lines

    async def rotate(self, *, reopens: bool) -> None:
        command = [self.program, "--force", "--state", str(self.folder / "state"), str(self.config)]
        await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True, timeout=20)
        if reopens:
            # It is still written until its program is told to open it anew.
            self.write(3)
            self.file.close()
            self.file = FileIO(self.log, "a")

    @property
    def numbers(self) -> list[str]:
        return [f"{number} of a log that is rotated" for number in range(self.written)]


@pytest.mark.parametrize(
    ("directives", "reopens"),
    [
        ("create", True),
        ("nocreate", True),
        ("create\n  dateext\n  dateformat -%Y%m%d-%s", True),
        ("create\n  compress\n  delaycompress", True),
        ("copytruncate", False),
        ("copytruncate\n  compress", False),
        ("copytruncate\n  compress\n  compresscmd /usr/bin/bzip2\n  compressext .bz2", False),
    ],
)
@pytest.mark.parametrize("stopped", [False, True], ids=["following", "stopped"])
async def test_each_line_is_given_once(
    tmp_path: Path, logrotate: str, directives: str, reopens: bool, stopped: bool
) -> None:
    if "bzip2" in directives and shutil.which("bzip2") is None:
        pytest.skip("bzip2 is not installed")
    rotation, buffer = Rotation(logrotate, tmp_path, directives), Buffer()
    rotation.write(500)
    async with following(buffer, rotation.log):
        await buffer.until_lines(rotation.numbers)
        if not stopped:
            for _ in range(3):
                rotation.write(20_000)
                await rotation.rotate(reopens=reopens)
                rotation.write(500)
                if "dateext" in directives:
                    break  # Twice in one second it rotates once.
            await buffer.until_lines(rotation.numbers)
    if stopped:
        rotation.write(500)
        await rotation.rotate(reopens=reopens)
        rotation.write(500)
        if "dateext" not in directives:
            await rotation.rotate(reopens=reopens)
        rotation.write(500)
        async with following(buffer, rotation.log):
            await buffer.until_lines(rotation.numbers)
    rotation.file.close()
