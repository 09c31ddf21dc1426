"""The input that follows a job's files: finds them, reads them in turns, and lets them go."""

import asyncio
import resource
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from agent.logs.input import InputTools, Source
from agent.logs.parts import Parts
from agent.tail.follows import Follows
from agent.tail.notify import notify
from agent.tail.options import TailOptions
from agent.tail.parts import parts
from agent.tail.reader import Reader
from agent.tail.scan import Wanted
from agent.tail.text import check_encoding
from agent.tail.turns import Turns


@dataclass(eq=False)
class Files:
    """Follows the files of one job (see `agent.logs.input.Input`); `imported` are promtail's positions, by path.

    `follow` says which files; until then it reads nothing. Raises ValueError for an encoding that is not supported.
    What `tools.keep.state` returns when `run` begins is where it goes on.
    """

    tools: InputTools
    options: TailOptions = field(default_factory=TailOptions)
    imported: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_encoding(self.options.encoding)
        self._wanted: Sequence[Wanted] = ()
        self._turns: Turns | None = None
        self._reader: Reader | None = None
        self._follows: Follows | None = None

    def follow(self, sources: Iterable[Source], /) -> None:
        """Follow the files of these sources from now on, and no others; raises ValueError for a bad pattern.

        Files that no source names any more are read to their end first; what is known of them is kept while they exist.
        """
        self._wanted = [Wanted.of(source) for source in sources]
        if self._turns is not None:
            self._turns.want(self._wanted)

    def trouble(self) -> str | None:
        """See `agent.logs.input.Input`."""
        troubles = self._reader.troubles.now if self._reader is not None else []
        if not troubles:
            return None
        return troubles[0] + (f" (and {len(troubles) - 1} more)" if len(troubles) > 1 else "")

    def parts(self) -> Parts:
        """Return what gives each file as it is now (see `agent.logs.parts`)."""
        follows = list(self._follows.all()) if self._follows is not None else []
        troubles = self._reader.troubles.by_path if self._reader is not None else {}
        return lambda: parts(follows, troubles, unpacks=self.options.decompression is not None)

    async def run(self) -> None:
        """See `agent.logs.input.Input`."""
        threads = ThreadPoolExecutor(2, f"files {self.tools.job}")
        max_open = self.options.max_open or resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 4
        reader = Reader(self.tools, self.options, threads, max_open, asyncio.get_running_loop().time)
        self._reader = reader
        packed = self.options.decompression
        follows = Follows(
            self.tools, dict(self.imported), packed is not None, packed is not None and packed.format == "z"
        )
        follows.load()
        self._follows = follows
        try:
            with notify(wanted=self.options.inotify) as changes:
                self._turns = Turns(self.tools, self.options, reader, follows, changes)
                self._turns.want(self._wanted)
                await self._turns.run()
        finally:
            self._turns = self._reader = self._follows = None
            for follow in follows.all():
                reader.forget(follow)
            threads.shutdown(wait=False, cancel_futures=True)
