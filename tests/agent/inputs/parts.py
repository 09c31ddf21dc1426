"""What inputs are given in tests: stand-ins for a job's stages and for the buffer, which keep what they are given."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import CollectorRegistry

from agent.logs.chunk import Chunk, Take
from agent.logs.entry import Entry
from agent.logs.input import Input, InputTools, Relabel
from pipeline.errors import TransientError
from pipeline.telemetry import LogInputMetrics
from pipeline.wire.loki import decode, encode_entry, encode_labels, encode_stream, parse_labels
from tests.e2e.processes import until


@dataclass(frozen=True)
class Line:
    """An entry as the buffer has it."""

    line: str
    labels: Mapping[str, str]
    time_ns: int
    metadata: Mapping[str, str]


class NoStages:
    """A stand-in for a pipeline without stages; `holding` lines are held back until the next ones come."""

    def __init__(self, holding: int = 0) -> None:
        self._holding = holding
        self._held: list[Entry] = []

    def block(self, block: bytes, now_ns: int) -> list[Chunk]:
        return self.entries(Entry({}, now_ns, line.decode(errors="replace")) for line in block.splitlines())

    def entries(self, entries: Iterable[Entry]) -> list[Chunk]:
        self._held += entries
        ready = self._held[: len(self._held) - self._holding] if self._holding else self._held
        self._held = self._held[len(ready) :]
        return [_chunk(entry) for entry in ready]

    def due_ns(self) -> int | None:
        return None

    def flush(self, now_ns: int, *, everything: bool = False) -> list[Chunk]:
        held, self._held = self._held, []
        return [_chunk(entry) for entry in held]

    def snapshot(self) -> bytes:
        return b"".join(_chunk(entry).raw for entry in self._held)

    def restore(self, snapshot: bytes) -> None:
        self._held = [Entry(dict(one.labels), one.time_ns, one.line) for one in _lines(snapshot)]


def _chunk(entry: Entry) -> Chunk:
    labels = encode_labels((entry.labels or {"none": ""}).items())
    content = encode_entry(entry.time_ns, entry.line.encode(), entry.metadata.items())
    at_ms = entry.time_ns // 1_000_000
    return Chunk(encode_stream(labels, content), 1, at_ms, at_ms)


def _lines(raw: bytes) -> list[Line]:
    return [
        Line(entry.line.decode(), dict(parse_labels(stream.labels)), entry.time_ns, dict(entry.metadata))
        for stream in decode(raw)
        for entry in stream.entries
    ]


@dataclass
class Memory:
    """A stand-in for the buffer, which lasts for several starts; without `room` it takes nothing."""

    lines: list[Line] = field(default_factory=list)
    kept: dict[bytes, bytes] = field(default_factory=dict)
    room: asyncio.Event = field(default_factory=asyncio.Event)
    fails: int = 0
    takes: int = 0

    def __post_init__(self) -> None:
        self.room.set()

    async def put(self, take: Take) -> None:
        await self.room.wait()
        if self.fails:
            self.fails -= 1
            raise TransientError("the disk is full")
        self.takes += 1
        for chunk in take.chunks:
            self.lines += _lines(chunk.raw)
        for key, value in take.state.items():
            if value is None:
                self.kept.pop(key, None)
            else:
                self.kept[key] = value

    def waits(self) -> bool:
        return False

    async def keep(self, take: Take) -> None:
        await self.put(take)

    def state(self, prefix: bytes) -> Mapping[bytes, bytes]:
        return {key: value for key, value in self.kept.items() if key.startswith(prefix)}

    @property
    def texts(self) -> list[str]:
        return [line.line for line in self.lines]

    async def has(self, count: int, deadline_s: float = 30.0) -> list[Line]:
        """Wait until there are as many lines."""

        async def enough() -> bool:
            return len(self.lines) >= count

        await until(enough, f"{count} lines (have {self.texts[-5:]})", deadline_s)
        return self.lines


@dataclass
class Desk:
    """The tools of one job, with its metrics."""

    memory: Memory
    relabel: Relabel = dict
    holding: int = 0
    clock: Callable[[], float] | None = None
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)

    def __post_init__(self) -> None:
        self._metrics = LogInputMetrics(self.registry)

    def tools(self, job: str = "job") -> InputTools:
        given: dict[str, Any] = {"clock": self.clock} if self.clock is not None else {}
        return InputTools(
            job,
            lambda _: NoStages(self.holding),
            self.relabel,
            self.memory,
            self._metrics,
            **given,
        )

    def value(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(f"pronoia_agent_log_{name}_total", {"job": "job", **labels}) or 0.0


@asynccontextmanager
async def running(source: Input) -> AsyncIterator[None]:
    """Let an input run until the end of the block, and until it has no trouble before it begins."""
    task = asyncio.create_task(source.run())
    try:

        async def works() -> bool:
            if task.done():
                task.result()
            return source.trouble() is None

        await until(works, "the input has begun")
        yield
        if task.done():
            task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def all_labels(found: Mapping[str, str]) -> dict[str, str]:
    """Relabel so that everything that was discovered can be seen: `__x` becomes `x`."""
    return {name.lstrip("_"): value for name, value in found.items()}
