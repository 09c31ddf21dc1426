"""One source's way into the buffer: its stages, what they hold back, and how far the source was read."""

import asyncio
from collections.abc import Awaitable, Iterable, Sequence
from typing import Final

from agent.logs.aside import LONG_BYTES, aside
from agent.logs.chunk import Chunk, Take
from agent.logs.entry import Entry
from agent.logs.input import InputTools
from pipeline.errors import TransientError

LOOK_S: Final = 0.5
"""How often it is looked whether something was held back for long enough."""
_POSITION: Final = b"\0position"
_HELD: Final = b"\0held"


class Feed:
    """What one source (`kind/job/name`) gives goes through here, in its order; several tasks may put.

    A source's position and what stages hold back change in the transaction that keeps the entries: after whatever end,
    the next start goes on exactly there. `run` lets go on what was held back for long enough; run it beside.
    """

    def __init__(self, tools: InputTools, kind: str, name: str = "") -> None:
        self._tools = tools
        self._lane_key = _lane_key(kind, tools.job, name)
        self._key = _state_key(self._lane_key)
        self._turn = asyncio.Lock()
        self._load()

    def _load(self) -> None:
        """Go on from what the buffer has of this source, by stages that are as they were then."""
        kept = self._tools.keep.state(self._key)
        self._position = kept.get(self._key + _POSITION, b"")
        self._held = kept.get(self._key + _HELD, b"")
        self._pipeline = self._tools.make({})
        if self._held:
            self._pipeline.restore(self._held)

    @property
    def position(self) -> bytes:
        """How far the source was read, as the last `put` said it; empty at the very first start."""
        return self._position

    async def put(
        self, entries: Iterable[Entry], position: bytes | None = None, *, read_bytes: int = 0, durable: bool = False
    ) -> None:
        """Take entries, and the position behind them; waits as long as the buffer has no room.

        With `durable` it returns when they are on disk, else within half a second they are.
        """
        entries = list(entries)
        self._tools.metrics.read_lines.labels(self._tools.job).inc(len(entries))
        self._tools.metrics.read_bytes.labels(self._tools.job).inc(read_bytes)
        async with self._turn:
            keeping = await self._give(await self._through(entries), position, durable)
        # Outside: what others put meanwhile gets into the same transaction.
        await keeping

    async def _through(self, entries: Sequence[Entry]) -> Sequence[Chunk]:
        pipeline = self._pipeline
        if not any(len(entry.line) > LONG_BYTES for entry in entries):
            return pipeline.entries(entries)
        chunks = await aside(lambda: pipeline.entries(entries))
        if pipeline is not self._pipeline:
            raise TransientError("what was read before could not be kept: it is to be read again")
        return chunks

    async def run(self) -> None:
        """Let go on what stages have held back for long enough, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            if self._turn.locked():
                continue
            now_ns = self._tools.now_ns()
            due_ns = self._pipeline.due_ns()
            if due_ns is not None and due_ns <= now_ns:
                async with self._turn:
                    await (await self._give(self._pipeline.flush(now_ns), None, durable=False))

    async def end(self) -> None:
        """Give everything that is held back: the source has come to its end. On disk when this returns."""
        async with self._turn:
            chunks = self._pipeline.flush(self._tools.now_ns(), everything=True)
            await (await self._give(chunks, None, durable=True))

    async def forget(self) -> None:
        """Give what is held back, and keep no position any more: the source is gone for good."""
        await self.end()
        async with self._turn:
            nothing = {self._key + _POSITION: None, self._key + _HELD: None}
            await self._tools.keep.put(Take(self._lane_key, (), nothing))
            self._position = self._held = b""

    async def _give(self, chunks: Sequence[Chunk], position: bytes | None, durable: bool) -> Awaitable[None]:
        """Put chunks, and what they change of the state; return what waits until they are on disk, where that is asked.

        Where it fails they are to be read again: from the position that the buffer has then.
        """
        state: dict[bytes, bytes | None] = {}
        if position is not None and position != self._position:
            state[self._key + _POSITION] = self._position = position
        if (held := self._pipeline.snapshot()) != self._held:
            state[self._key + _HELD] = held or None
            self._held = held
        putting = self._put(Take(self._lane_key, tuple(chunks), state), durable) if chunks or state else _nothing()
        if durable:
            keeping = asyncio.ensure_future(putting)
            await asyncio.sleep(0)  # It begins now, before anything that is put later.
            return keeping
        await putting
        return _nothing()

    async def _put(self, take: Take, durable: bool) -> None:
        try:
            await (self._tools.keep.keep(take) if durable else self._tools.keep.put(take))
        except BaseException:
            self._load()
            raise


def position_key(kind: str, job: str, name: str = "") -> bytes:
    """Return the state's key of a source's position."""
    return _state_key(_lane_key(kind, job, name)) + _POSITION


def _lane_key(kind: str, job: str, name: str) -> str:
    return "/".join(part for part in (kind, job, name) if part)


def _state_key(lane_key: str) -> bytes:
    return f"input/{lane_key}".encode()


async def _nothing() -> None:
    return None
