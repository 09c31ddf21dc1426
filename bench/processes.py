"""Starts what is measured, and reads what its process tree used: CPU seconds, peak memory, bytes written."""

import asyncio
import contextlib
import os
import socket
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Usage:
    """What a process tree has used since it began. Memory is the sum of the processes' own peaks."""

    cpu_s: float
    peak_mib: float
    written_bytes: int


def tree(pid: int) -> list[int]:
    """Return a process and all its descendants."""
    pids = [pid]
    for parent in pids:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{parent}/task").iterdir():
                pids += [int(child) for child in (task / "children").read_text().split()]
    return pids


def usage(pid: int) -> Usage:
    """Read what a process tree has used so far."""
    cpu_s, peak_mib, written_bytes = 0.0, 0.0, 0
    for process in tree(pid):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
            cpu_s += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
            for line in Path(f"/proc/{process}/status").read_text().splitlines():
                if line.startswith("VmHWM"):
                    peak_mib += int(line.split()[1]) / 1024
            for line in Path(f"/proc/{process}/io").read_text().splitlines():
                if line.startswith("write_bytes"):
                    written_bytes += int(line.split()[1])
    return Usage(cpu_s, peak_mib, written_bytes)


def resident_mib(pid: int) -> float:
    """Read the memory that a process tree holds now."""
    mib = 0.0
    for process in tree(pid):
        with contextlib.suppress(OSError):
            mib += int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    return mib


def free_port() -> int:
    """Return a loopback port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


async def start(command: str, folder: Path, log_name: str = "log") -> asyncio.subprocess.Process:
    """Start a shell command in a folder; what it prints goes to a file there."""
    with (folder / log_name).open("ab") as log:
        return await asyncio.create_subprocess_exec("sh", "-c", "exec " + command, stdout=log, stderr=log, cwd=folder)


async def stop(process: asyncio.subprocess.Process, deadline_s: float = 20.0) -> None:
    """Ask a process to end, and make it end at the deadline."""
    if process.returncode is not None:
        return
    process.terminate()
    try:
        await asyncio.wait_for(process.wait(), deadline_s)
    except TimeoutError:
        process.kill()
        await process.wait()
