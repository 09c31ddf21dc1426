"""Reading: block by block, whole lines to a path's stages, and what came of them with the position into the buffer."""

import asyncio
import errno
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, TypeVar

from agent.logs.chunk import Chunk, Take
from agent.logs.input import InputTools
from agent.tail.blocks import MOST_BYTES, BlockSize, through
from agent.tail.follow import Follow, LostTrackError, Tail
from agent.tail.holding import Holding
from agent.tail.lines import Lines, take_lines
from agent.tail.options import TailOptions
from agent.tail.source import Source, open_source
from agent.tail.text import text_of
from agent.tail.troubles import Troubles
from pipeline.errors import PermanentError

logger = logging.getLogger(__name__)
ResultT = TypeVar("ResultT")

_RETRY_S: Final = 10.0
_STOP_S: Final = 5.0


@dataclass(eq=False)
class Reader:
    """Reads the files of one job, one after the other; `clock` is the loop's."""

    tools: InputTools
    options: TailOptions
    threads: ThreadPoolExecutor
    max_open: int
    clock: Callable[[], float] = time.monotonic
    _open: dict[Tail, Follow] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.holding = Holding(self.tools)
        self.troubles = Troubles(self.tools.job, self.tools.metrics)
        self._buffer = bytearray(max(MOST_BYTES, self.options.limit.max_bytes + 4096))
        self._size = BlockSize()
        self.put_block = self.tools.keep.put

    async def step(self, follow: Follow) -> bool:
        """Read one block of a path's oldest file that has one; False where there is nothing to read now."""
        for tail in list(follow.chain):
            try:
                has_more = not tail.over and await self._is_open(follow, tail) and tail.look()
                if has_more and await self._block(follow, tail):
                    return True
            except LostTrackError:
                follow.lost = True
                return False
            except PermanentError as error:
                self.troubles.tell(follow.path, str(error))
                tail.over = True
            except OSError as error:
                self._later(follow, tail, error)
        # What stages held back before a restart is due even if nothing more is read.
        self.holding.note(follow)
        return False

    async def _is_open(self, follow: Follow, tail: Tail) -> bool:
        if tail.source is not None:
            return True
        if self.clock() < tail.retry_s:
            return False
        position, packed = tail.position, self.options.decompression
        unpack = packed is not None or tail.renamed
        zlib_too = packed is not None and packed.format == "z"
        try:
            source = await self.in_thread(lambda: open_source(position.path, unpack=unpack, zlib_too=zlib_too))
        except FileNotFoundError:
            raise LostTrackError from None
        stat = source.stat()
        if stat.st_ino != position.inode:
            source.close()
            raise LostTrackError
        early_s = stat.st_mtime + packed.initial_delay_s - self.tools.clock() if packed and source.packing else 0.0
        if early_s > 0:
            source.close()
            # At most the whole delay, whatever the clock was set to.
            tail.retry_s = self.clock() + min(early_s, packed.initial_delay_s if packed else 0.0)
            return False
        tail.source = source
        self.troubles.over(follow.path)
        self._make_room(follow, tail)
        return True

    def _make_room(self, follow: Follow, tail: Tail) -> None:
        """Close what was read longest ago, if it can be found again by its name."""
        self._open[tail] = follow
        if len(self._open) <= self.max_open:
            return
        for other, of in list(self._open.items()):
            is_own = bool(of.chain) and other is of.chain[-1] and not other.renamed
            if other.source is None or (other is not tail and is_own and not of.missing and other.links > 0):
                self.close(other)
            if len(self._open) <= self.max_open:
                return

    async def _block(self, follow: Follow, tail: Tail) -> bool:
        """Read one block; return whether anything came of it."""
        assert tail.source is not None
        position, limit = tail.position, self.options.limit
        window = memoryview(self._buffer)[: len(self._buffer) if tail.wide else self._size.bytes]
        stamp = tail.stamp
        filled, head = await self._read(tail.source, window, position.offset)
        if not position.begins(head):
            tail.truncated = True
            raise LostTrackError
        if position.head_bytes < len(head) and head[position.head_bytes]:
            position.learn(head)
        if tail.text is None or position.offset == 0:
            tail.text = text_of(self.options.encoding, head)
            if position.offset == 0 and tail.text.bom:
                position.offset = len(tail.text.bom)
                return True
        if filled and not self._buffer[0] and not position.skipping and len(tail.text.newline) == 1:
            return await self._pass_zeros(tail, filled, stamp)
        lines = take_lines(
            self._buffer,
            filled,
            tail.text,
            max_bytes=limit.max_bytes,
            keep_start=limit.cut,
            skipping=position.skipping,
        )
        if not lines.consumed:
            if filled == len(window) and not tail.wide:
                tail.wide = True
                return True
            return await self._at_end(follow, tail, filled, stamp)
        tail.wide, tail.quiet_s = False, None
        position.offset += lines.consumed
        position.skipping, position.written_ns = lines.skipping, stamp[1]
        self._open[tail] = self._open.pop(tail, follow)
        await self.put_block(await self._take(follow, tail, lines))
        return True

    async def _read(self, source: Source, window: memoryview, offset: int) -> tuple[int, bytes]:
        """Fill the window, and then look at the file's beginning: what was read is of the file that begins so."""
        try:
            return source.read_now(window, offset), source.head_now()
        except BlockingIOError:
            return await self.in_thread(lambda: (source.read(window, offset), source.head()))

    async def _pass_zeros(self, tail: Tail, filled: int, stamp: tuple[int, int]) -> bool:
        """Pass over zeros where a line should begin: a hole that truncating left, or room for lines to come."""
        assert tail.source is not None
        content = bytes(memoryview(self._buffer)[:filled]).lstrip(b"\0")
        if content:
            tail.position.offset += filled - len(content)
            return True
        source, offset = tail.source, tail.position.offset
        behind = None if source.packing else await self.in_thread(lambda: source.past_zeros(offset))
        if behind is None:
            self._end(tail, 0, stamp)
            return False
        tail.position.offset = behind
        return True

    async def _at_end(self, follow: Follow, tail: Tail, filled: int, stamp: tuple[int, int]) -> bool:
        assert tail.source is not None
        self._end(tail, filled, stamp)
        if tail.source.unpacked is None or not tail.source.unpacked.ended:
            return False
        if tail.rest:
            await self.give_rest(follow, tail)
        tail.position.ended = tail.over = True
        await self.tools.keep.put(Take(follow.path, (), follow.state()))
        return False

    def _end(self, tail: Tail, filled: int, stamp: tuple[int, int]) -> None:
        tail.seen, tail.rest = stamp, filled > 0
        tail.quiet_s = self.clock() if tail.quiet_s is None else tail.quiet_s

    async def give_rest(self, follow: Follow, tail: Tail) -> None:
        """Give what is behind a file's last newline as a line: nobody will end it."""
        assert tail.source is not None
        assert tail.text is not None
        position, tail.rest = tail.position, False
        try:
            filled, _ = await self._read(tail.source, memoryview(self._buffer), position.offset)
        except (OSError, PermanentError) as error:
            self.troubles.tell(follow.path, f"the end of {follow.path} cannot be read: {error}")
            return
        filled -= filled % len(tail.text.newline)
        if filled and not position.skipping:
            rest = bytes(memoryview(self._buffer)[:filled])
            position.offset += filled
            await self.tools.keep.put(await self._take(follow, tail, Lines(rest + tail.text.newline, filled)))

    async def _take(self, follow: Follow, tail: Tail, lines: Lines) -> Take:
        """Return what comes of lines, and the position behind them with it."""
        assert tail.text is not None
        job, metrics = self.tools.job, self.tools.metrics
        self.tools.cut(lines.cut)
        if lines.dropped:
            self.tools.drop("line_too_long", lines.dropped)
            logger.error("%d lines of %s are longer than the limit: dropped", lines.dropped, follow.path)
        metrics.read_bytes.labels(job).inc(lines.consumed)
        chunks: Sequence[Chunk] = ()
        if lines.block:
            block = tail.text.utf8(lines.block)
            count, follow.read_s = block.count(b"\n"), self.tools.clock()
            follow.lines += count
            metrics.read_lines.labels(job).inc(count)
            chunks = await through(follow.pipeline, block, int(follow.read_s * 1e9), self._size)
        self.holding.note(follow)
        return Take(follow.path, tuple(chunks), follow.state())

    def _later(self, follow: Follow, tail: Tail, error: OSError) -> None:
        """Try a file again after a while; one without a handle left has to wait for others."""
        tail.retry_s = self.clock() + (1.0 if error.errno in (errno.EMFILE, errno.ENFILE) else _RETRY_S)
        tail.close()
        self.troubles.tell(follow.path, f"{follow.path} cannot be read: {error.strerror}")

    async def hold(self, follow: Follow, tail: Tail) -> None:
        """Open a file that is not read yet, if a handle is left: then it may be deleted."""
        if tail.source is None and not tail.over and len(self._open) < self.max_open:
            with suppress(LostTrackError, PermanentError, OSError):
                await self._is_open(follow, tail)

    def close(self, tail: Tail) -> None:
        """Let a file go."""
        tail.close()
        self._open.pop(tail, None)

    def forget(self, follow: Follow) -> None:
        """Let all of a path's files go."""
        for tail in follow.chain:
            self.close(tail)
        self.holding.forget(follow)
        self.troubles.over(follow.path)

    async def in_thread(self, work: Callable[[], ResultT]) -> ResultT:
        """Do what may wait for the disk."""
        future = asyncio.get_running_loop().run_in_executor(self.threads, work)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            # The file must not be closed under it; a server of files that is gone is not waited for for ever.
            done, _ = await asyncio.wait([future], timeout=_STOP_S)
            for one in done:
                one.exception()  # nobody asks for it any more
            raise
