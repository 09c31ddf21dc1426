"""Any history of writing, rotating, stopping and being killed gives each numbered line once, in order."""

import asyncio
import bz2
import gzip
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from io import FileIO
from pathlib import Path
from typing import Final

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from agent.tail import Files
from tests.agent.tail.following import QUICK, Buffer, files, source

KEPT: Final = 40
"""More rotated files than a history makes: what rotation deletes unread, nobody can read."""
PACK: Final[dict[str, Callable[[bytes], bytes]]] = {"gz": gzip.compress, "bz2": bz2.compress}


@dataclass
class Log:
    """A program that writes numbered lines to a log, and what rotates it."""

    path: Path
    written: int = 0
    file: FileIO | None = None

    def write(self, lines: int, length: int = 20) -> None:
        if self.file is None:
            self.file = FileIO(self.path, "a")
        text = "".join(f"{number} {'x' * length}\n" for number in range(self.written, self.written + lines))
        self.file.write(text.encode())
        self.written += lines

    def reopen(self) -> None:
        if self.file is not None:
            self.file.close()
            self.file = None

    def part(self, number: int, packing: str = "") -> Path:
        return self.path.with_name(f"{self.path.name}.{number}{packing}")

    def shift(self) -> None:
        for number in range(KEPT, 0, -1):
            for packing in ("", ".gz", ".bz2"):
                part = self.part(number, packing)
                if part.exists():
                    part.rename(self.part(number + 1, packing))

    def rename(self, *, late: int = 0, create: bool = True) -> None:
        if not self.path.exists():
            return
        self.shift()
        self.path.rename(self.part(1))
        if create:
            self.path.touch()
        if self.file is not None:
            self.write(late)
        self.reopen()

    def copytruncate(self) -> None:
        if not self.path.exists():
            return
        self.shift()
        shutil.copyfile(self.path, self.part(1))
        os.truncate(self.path, 0)

    def compress(self, number: int, pack: Callable[[bytes], bytes] = gzip.compress, ending: str = ".gz") -> None:
        part = self.part(number)
        if not part.exists():
            return
        packed = self.part(number, ending)
        packed.write_bytes(pack(part.read_bytes()))
        stat = part.stat()
        os.utime(packed, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        part.unlink()

    def recreate(self) -> None:
        self.path.unlink(missing_ok=True)
        self.reopen()


@dataclass
class World:
    """A log, the agent that follows it or does not, and the buffer that outlives it."""

    log: Log
    inotify: bool
    buffer: Buffer = field(default_factory=Buffer)
    durable: int = 0
    agent: tuple[Files, "asyncio.Task[None]"] | None = None

    def start(self) -> None:
        if self.agent is None:
            options = replace(QUICK, inotify=self.inotify, sync_period_s=0.02, poll_s=0.005, rotated_wait_s=0.02)
            input_ = files(self.buffer, options)
            input_.follow([source(str(self.log.path))])
            self.agent = input_, asyncio.create_task(input_.run())

    async def stop(self, lost: int = 0) -> None:
        if self.agent is not None:
            task = self.agent[1]
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled():
                task.result()
            self.agent = None
        self.buffer.lose(min(lost, len(self.buffer.takes) - self.durable))

    async def wait(self) -> None:
        """Let the agent look around a few times, for room or for files."""
        await asyncio.sleep(0.07)

    async def all_read(self) -> None:
        self.buffer.room.set()
        self.start()
        expected = self.log.written
        with suppress(TimeoutError):
            await self.buffer.until(lambda: len(self.buffer.lines) >= expected or self.is_over())
        assert self.agent is not None
        if self.agent[1].done():
            self.agent[1].result()
        assert [int(line.split()[0]) for line in self.buffer.lines] == list(range(expected))
        self.durable = len(self.buffer.takes)

    def is_over(self) -> bool:
        return self.agent is not None and self.agent[1].done()


numbers = st.integers(0, 6)
step = st.one_of(
    st.tuples(st.just("write"), st.integers(1, 60), st.sampled_from([0, 20, 400])),
    st.tuples(st.just("rename"), numbers, st.booleans()),
    st.tuples(st.just("copytruncate")),
    st.tuples(st.just("compress"), st.integers(1, 3), st.sampled_from(["gz", "bz2"])),
    st.tuples(st.just("recreate")),
    st.tuples(st.just("start")),
    st.tuples(st.just("stop")),
    st.tuples(st.just("kill"), numbers),
    st.tuples(st.just("pause"), numbers),
    st.tuples(st.just("read")),
    st.tuples(st.just("full")),
    st.tuples(st.just("wait")),
)


async def play(steps: Sequence[tuple[object, ...]], *, inotify: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = World(Log(Path(folder, "app.log")), inotify)
        log = world.log
        # What is there before an agent's first start is the log itself, not its older parts.
        world.start()
        log.write(1)
        await world.all_read()
        doing: Mapping[str, Callable[..., None]] = {
            "write": log.write,
            "rename": lambda late, create: log.rename(late=late, create=create),
            "copytruncate": log.copytruncate,
            "compress": lambda number, how: log.compress(number, PACK[how], f".{how}"),
            "start": world.start,
        }
        try:
            for name, *arguments in steps:
                match name:
                    case "read":
                        await world.all_read()
                    case "recreate":
                        # Deleted unread it would be gone, if nobody has it open.
                        await world.all_read()
                        log.recreate()
                    case "full":
                        world.buffer.room.clear()
                    case "wait":
                        await world.wait()
                    case "stop":
                        await world.stop()
                    case "kill":
                        await world.stop(int(str(arguments[0])))
                    case "pause":
                        for _ in range(int(str(arguments[0]))):
                            await asyncio.sleep(0)
                    case _:
                        doing[str(name)](*arguments)
            await world.all_read()
            await world.stop()
            await world.all_read()
        finally:
            await world.stop()
            log.reopen()


# Histories that once went wrong.
STOPPED_ACROSS_TWO: list[tuple[object, ...]] = [
    ("write", 20, 20),
    ("stop",),
    ("write", 9, 20),
    ("rename", 0, True),
    ("write", 9, 20),
]
STOPPED_ACROSS_TWO += [("compress", 1, "gz"), ("rename", 0, True), ("write", 3, 20)]
COPIED_THEN_COMPRESSED: list[tuple[object, ...]] = [
    ("rename", 1, False),
    ("write", 29, 400),
    ("copytruncate",),
    ("compress", 1, "bz2"),
]
COPIED_THEN_COMPRESSED += [("read",), ("rename", 1, False)]
INODE_AGAIN: list[tuple[object, ...]] = [
    ("rename", 5, False),
    ("write", 49, 0),
    ("rename", 6, False),
    ("recreate",),
    ("write", 27, 400),
]
INODE_AGAIN += [("read",), ("compress", 1, "bz2"), ("recreate",), ("write", 30, 400)]
COPIED_WHILE_STOPPED = [("write", 20, 20), ("stop",), ("write", 9, 20), ("copytruncate",), ("write", 60, 400)]
# Deleted and forgotten; then its next file is rotated before anybody sees it, also while the agent is stopped.
GONE_THEN_ROTATED = [("recreate",), ("wait",), ("write", 8, 400), ("rename", 1, False)]
GONE_THEN_STOPPED = [("recreate",), ("wait",), ("stop",), ("write", 50, 400), ("rename", 0, True), ("read",)]
GONE_AFTER_A_START = [("stop",), ("recreate",), ("wait",), ("write", 51, 0), ("rename", 4, True)]
EMPTY_INODE_AGAIN = [("copytruncate",), ("start",), ("wait",), ("recreate",), ("wait",), ("write", 11, 0)]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=st.lists(step, max_size=25), inotify=st.booleans())
@example(steps=STOPPED_ACROSS_TWO, inotify=True)
@example(steps=COPIED_THEN_COMPRESSED, inotify=True)
@example(steps=INODE_AGAIN, inotify=False)
@example(steps=COPIED_WHILE_STOPPED, inotify=True)
@example(steps=GONE_THEN_ROTATED, inotify=False)
@example(steps=GONE_THEN_STOPPED, inotify=False)
@example(steps=GONE_AFTER_A_START, inotify=True)
@example(steps=EMPTY_INODE_AGAIN, inotify=False)
def test_each_line_is_given_once_and_in_order(steps: list[tuple[object, ...]], inotify: bool) -> None:
    asyncio.run(play(steps, inotify=inotify))
