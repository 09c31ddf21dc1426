"""What the tests of following files share: a buffer that keeps what was put, and stages that let lines pass."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from prometheus_client import CollectorRegistry

from agent.logs.chunk import Chunk, Take
from agent.logs.entry import Entry
from agent.logs.input import InputTools, Source
from agent.tail import Files, TailOptions
from pipeline.telemetry import LogInputMetrics

DEADLINE_S = 20.0


class Passing:
    """A stand-in for a job's stages: blocks go on as they are; a line that ends in a backslash waits for the next."""

    def __init__(self, labels: Mapping[str, str]) -> None:
        self.labels = dict(labels)
        self.held = b""
        self.due: int | None = None

    def block(self, block: bytes, now_ns: int) -> list[Chunk]:
        assert block.endswith(b"\n")
        whole = self.held + block
        cut = whole.rfind(b"\n", 0, -1) + 1 if whole.endswith(b"\\\n") else len(whole)
        self.held = whole[cut:].removesuffix(b"\\\n")
        self.due = now_ns + 10**12 if self.held else None
        return self._chunk(whole[:cut].replace(b"\\\n", b""))

    def entries(self, entries: Iterable[Entry]) -> list[Chunk]:
        raise AssertionError

    def due_ns(self) -> int | None:
        return self.due

    def flush(self, now_ns: int, *, everything: bool = False) -> list[Chunk]:
        held, self.held, self.due = self.held, b"", None
        return self._chunk(held + b"\n" if held else b"")

    def snapshot(self) -> bytes:
        return self.held

    def restore(self, snapshot: bytes) -> None:
        self.held = snapshot

    def _chunk(self, raw: bytes) -> list[Chunk]:
        return [Chunk(raw, raw.count(b"\n"))] if raw else []


class Buffer:
    """A stand-in for the buffer: what was put counts once it is durable, which is everything or nothing of a take.

    `lose` forgets the newest takes, as a kill does that comes before their transaction.
    """

    def __init__(self) -> None:
        self.takes: list[Take] = []
        self.changed = asyncio.Event()
        self.room = asyncio.Event()
        self.room.set()

    async def put(self, take: Take) -> None:
        await self.room.wait()
        self.takes.append(take)
        self.changed.set()

    def waits(self) -> bool:
        return not self.room.is_set()

    async def keep(self, take: Take) -> None:
        await self.put(take)

    def state(self, prefix: bytes) -> Mapping[bytes, bytes]:
        state: dict[bytes, bytes] = {}
        for take in self.takes:
            for key, value in take.state.items():
                if value is None:
                    state.pop(key, None)
                else:
                    state[key] = value
        return {key: value for key, value in state.items() if key.startswith(prefix)}

    def lose(self, takes: int) -> None:
        del self.takes[len(self.takes) - takes :]

    def text(self) -> str:
        return b"".join(chunk.raw for take in self.takes for chunk in take.chunks).decode()

    @property
    def lines(self) -> list[str]:
        return self.text().split("\n")[:-1]

    def rows(self) -> dict[str, object]:
        rows = self.state(b"files\0")
        return {key.split(b"\0")[3].decode(): json.loads(value) for key, value in rows.items() if b"\0row\0" in key}

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    async def until_lines(self, expected: Iterable[str]) -> None:
        """Wait for these lines in this order, and no others."""
        wanted = list(expected)
        with suppress(TimeoutError):
            await self.until(lambda: len(self.lines) >= len(wanted))
        assert self.lines == wanted


QUICK = TailOptions(sync_period_s=0.2, poll_s=0.01, rotated_wait_s=0.3, ended_wait_s=0.1)
"""Waits that tests need not wait for."""


def files(buffer: Buffer, options: TailOptions = QUICK, imported: Mapping[str, int] | None = None) -> Files:
    made: list[Passing] = []

    def make(labels: Mapping[str, str]) -> Passing:
        made.append(Passing(labels))
        return made[-1]

    tools = InputTools("job", make, lambda labels: dict(labels), buffer, LogInputMetrics(CollectorRegistry()))
    result = Files(tools, options, imported or {})
    result.pipelines = made  # type: ignore[attr-defined]
    return result


def source(path: str, labels: Mapping[str, str] | None = None, *, exclude: str = "", key: str = "") -> Source:
    return Source(labels or {}, {}, path, exclude, key)


@asynccontextmanager
async def following(
    buffer: Buffer,
    *targets: Source | Path | str,
    options: TailOptions = QUICK,
    imported: Mapping[str, int] | None = None,
) -> AsyncIterator[Files]:
    """Follow files until the block ends, which ends it as a kill does: nothing is put after it."""
    input_ = files(buffer, options, imported)
    input_.follow(one if isinstance(one, Source) else source(str(one)) for one in targets)
    task = asyncio.create_task(input_.run())
    try:
        yield input_
        if task.done():
            task.result()
    finally:
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled() and task.exception() is not None:
            raise task.exception()  # type: ignore[misc]
