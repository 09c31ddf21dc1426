"""Lines from standard input, up to its end: `some-program | pronoia agent --config … --stdin`.

As with promtail every line that is not empty is an entry of now, with the labels of the job's `static_configs`.
"""

import asyncio
import os
import sys
from collections.abc import Mapping
from typing import IO, Final

from agent.inputs.feed import Feed
from agent.inputs.ticks import Ticks
from agent.logs.entry import Entry
from agent.logs.input import BY_RULES, Input, InputTools

READ_BYTES: Final = 64 * 1024
MAX_LINE_BYTES: Final = 256 * 1024
"""A longer line is cut, as Loki would refuse it."""


class Stdin:
    """An `Input`: it ends by itself when everything up to the end of the stream is in the buffer, on disk."""

    def __init__(self, labels: Mapping[str, str], tools: InputTools, stream: IO[bytes] | None = None) -> None:
        self._labels = tools.relabel(labels)
        self._tools = tools
        self._stream = sys.stdin.buffer if stream is None else stream
        self._feed = Feed(tools, "stdin")
        self._ticks = Ticks(tools.clock)
        self._rest = b""
        self._skips = False

    def trouble(self) -> str | None:
        """Return None: what comes is taken."""
        return None

    async def run(self) -> None:
        """Read to the end, or until cancelled. Nothing is read on while the buffer is full."""
        flushing = asyncio.create_task(self._feed.run(), name="stdin: what is held back")
        try:
            # A file, a pipe or a terminal: a thread reads from all of them.
            while data := await asyncio.to_thread(os.read, self._stream.fileno(), READ_BYTES):
                await self._take(data)
            await self._take(b"\n")
            await self._feed.end()
        finally:
            flushing.cancel()
            await asyncio.gather(flushing, return_exceptions=True)

    async def _take(self, data: bytes) -> None:
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        if self._skips and lines:
            del lines[0]
            self._skips = False
        if len(self._rest) > MAX_LINE_BYTES:
            if not self._skips:
                lines.append(self._rest)
            self._rest, self._skips = b"", True
        await self._give([text for line in lines if (text := line.rstrip(b"\r"))], len(data))

    async def _give(self, lines: list[bytes], size: int) -> None:
        if self._labels is None:
            self._tools.drop(BY_RULES, len(lines))
            return
        self._tools.cut(sum(len(line) > MAX_LINE_BYTES for line in lines))
        texts = (line[:MAX_LINE_BYTES].decode(errors="replace") for line in lines)
        await self._feed.put(
            [Entry(dict(self._labels), self._ticks.next_ns(), text) for text in texts], read_bytes=size
        )


def stdin_input(labels: Mapping[str, str], tools: InputTools) -> Input:
    """Return what reads standard input; `labels` are those of the job's static groups."""
    return Stdin(labels, tools)
