"""What every real server of the tests does alike: a free port, a log file, readiness with a deadline, and its end."""

import asyncio
import contextlib
import fcntl
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Self

import aiohttp

STOP_S = 20.0


class MissingServerError(Exception):
    """A server cannot be had on this machine; the message names the tool that is missing."""


class ServerFailedError(Exception):
    """A server did not become ready, or ended by itself; the message ends with the tail of what it wrote."""


def cache_folder() -> Path:
    """Return where downloaded and built servers are kept."""
    repository = Path(__file__).parents[2]
    return Path(os.environ.get("PRONOIA_SERVER_CACHE", repository / ".cache" / "servers"))


def free_port() -> int:
    """Return a loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Process:
    """One server process, which can be started again with the same command after it was killed or stopped."""

    def __init__(self, command: Sequence[str | Path], folder: Path, *, env: Mapping[str, str] | None = None) -> None:
        self.command = [str(part) for part in command]
        self.folder = folder
        self.output = folder / "output.log"
        self._env = {**os.environ, **(env or {})}
        self._process: asyncio.subprocess.Process | None = None
        self._file: IO[bytes] | None = None
        self._began = 0

    @property
    def pid(self) -> int:
        """The process id while it runs."""
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.returncode is None

    async def start(self, ready: Callable[[], Awaitable[bool]], deadline_s: float = 60.0) -> None:
        """Start it and wait until `ready` says so; raises ServerFailedError."""
        self._file = self.output.open("ab")
        self._began = self._file.tell()
        self._process = await asyncio.create_subprocess_exec(
            *self.command,
            cwd=self.folder,
            env=self._env,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=self._file,
            stderr=self._file,
        )
        try:
            async with asyncio.timeout(deadline_s):
                while not await ready():
                    if self._process.returncode is not None:
                        code = self._process.returncode
                        raise ServerFailedError(f"{self.command[0]} ended with {code}: {self.tail()}")
                    await asyncio.sleep(0.05)
        except TimeoutError:
            await self.kill()
            raise ServerFailedError(f"{self.command[0]} was not ready in {deadline_s:.0f} s: {self.tail()}") from None
        except BaseException:
            await self.kill()
            raise

    async def kill(self) -> None:
        """End it the hard way (SIGKILL) and wait until it is gone."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> None:
        """End it the polite way (SIGTERM), the hard way where that takes too long."""
        try:
            async with asyncio.timeout(STOP_S):
                await self._end(signal.SIGTERM)
        except TimeoutError:
            await self._end(signal.SIGKILL)

    async def _end(self, number: signal.Signals) -> None:
        process = self._process
        if process is not None:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(number)
            await process.wait()
        self._process = None
        if self._file is not None:
            self._file.close()
            self._file = None

    def said(self, text: str) -> bool:
        """Return whether the server has written this since it was last started."""
        return self.output.exists() and text.encode() in self.output.read_bytes()[self._began :]

    def tail(self, size: int = 4000) -> str:
        """Return the end of what the server wrote."""
        return self.output.read_bytes()[-size:].decode(errors="replace") if self.output.exists() else ""


class Server:
    """A server that a test starts, kills, and starts again on the same data and ports."""

    process: Process | None = None

    async def restart(self) -> None:
        """Start it on the same data and ports, and wait until it answers."""
        assert self.process is not None
        await self.process.start(self.ready)

    async def ready(self) -> bool:
        """Return whether it answers."""
        raise NotImplementedError

    async def kill(self) -> None:
        """kill -9."""
        assert self.process is not None
        await self.process.kill()

    async def stop(self) -> None:
        """Let it shut down."""
        if self.process is not None:
            await self.process.stop()


def run_tool(*command: str | Path, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> str:
    """Run a build tool to its end and return what it wrote; raises ServerFailedError."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    output = done.stdout.decode(errors="replace")
    if done.returncode != 0:
        raise ServerFailedError(f"{command[0]} failed with {done.returncode}: {output[-4000:]}")
    return output


def provide(name: str, make: Callable[[Path], None]) -> Path:
    """Return `name` in the cache; where it is not there, `make` fills it first, once also when several runs start."""
    wanted = cache_folder() / name
    if wanted.exists():
        return wanted
    wanted.parent.mkdir(parents=True, exist_ok=True)
    with wanted.with_name(f"{name}.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not wanted.exists():
            partial = wanted.with_name(f"{name}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            make(partial)
            partial.rename(wanted)
    return wanted


class Target(Server):
    """A real target that serves pages of metrics, on a free loopback port; `program` may take long to build."""

    def __init__(self, folder: Path, program: Callable[[], Path], arguments: Callable[[str], Sequence[str]]) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        self._folder = folder
        self._program = program
        self._arguments = arguments(self.address)

    async def __aenter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        program = await asyncio.to_thread(self._program)
        self.process = Process((program, *self._arguments), self._folder)
        await self.restart()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def page(self, accept: str) -> tuple[bytes, str]:
        """Return the page and its Content-Type."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://{self.address}/metrics", headers={"Accept": accept}) as answer,
        ):
            answer.raise_for_status()
            return await answer.read(), answer.headers["Content-Type"]

    async def ready(self) -> bool:
        """Return whether it answers."""
        try:
            await self.page("*/*")
        except (aiohttp.ClientError, OSError):
            return False
        return True
