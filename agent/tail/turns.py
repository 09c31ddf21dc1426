"""Whose turn it is: each file that has something gives one block, then the next one does; then all wait."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from agent.logs.chunk import Take
from agent.logs.input import InputTools
from agent.tail.folders import Folders
from agent.tail.follow import Follow, LostTrackError, Tail
from agent.tail.follows import Follows
from agent.tail.notify import Notify
from agent.tail.options import TailOptions
from agent.tail.patient import Patient
from agent.tail.reader import Reader
from agent.tail.scan import Seen, Wanted, scan
from agent.tail.trace import Traced, trace

_IDLE_S: Final = 5.0
"""How long nothing is written to a file until it is watched instead of looked at."""
_UNWATCHED_S: Final = 1.0
_SCAN_SHARE: Final = 20
"""Directories that keep changing are looked through for at most one part in so many of the time."""
_JOIN_S: Final = 0.02
"""How long is waited for more changes after one, so that they cost one turn."""


@dataclass(eq=False)
class Turns:
    """One run of a job's files."""

    tools: InputTools
    options: TailOptions
    reader: Reader
    follows: Follows
    changes: Notify
    _wanted: Sequence[Wanted] = ()
    _active: dict[Follow, None] = field(default_factory=dict)
    _refused: set[str] = field(default_factory=set)
    _scanning: "asyncio.Future[Seen] | None" = None
    _scan_began_s: float = 0.0
    _scan_took_s: float = 0.0
    _next_scan_s: float = 0.0

    def __post_init__(self) -> None:
        self.patient = Patient(self.tools.keep, self.options.sync_period_s, self._stand_by)
        self.reader.put_block = self.patient.put_block

    def want(self, wanted: Sequence[Wanted]) -> None:
        """Follow what these name from now on."""
        self._wanted, self._next_scan_s = wanted, 0.0
        self.changes.woken.set()

    async def run(self) -> None:
        """Take turns until cancelled."""
        try:
            while True:
                await self._look_around()
                if not await self._round():
                    await self._wait()
        finally:
            if self._scanning is not None:
                self._scanning.cancel()

    async def _look_around(self) -> None:
        """Wake what was written, begin to look for files when it is time, and take what was found."""
        now_s = self.reader.clock()
        self._stir(self.changes.written)
        self.changes.written.clear()
        if self.changes.moved:
            self.changes.moved = False
            soonest_s = self._scan_began_s + (1 + _SCAN_SHARE) * self._scan_took_s
            self._next_scan_s = min(self._next_scan_s, max(soonest_s, now_s))
        if self._scanning is None and now_s >= self._next_scan_s:
            self._scan_began_s, self._next_scan_s = now_s, now_s + self.options.sync_period_s
            wanted, remembered = self._wanted, self.follows.remembered()
            self._scanning = asyncio.ensure_future(self.reader.in_thread(lambda: scan(wanted, remembered)))
            self._scanning.add_done_callback(lambda _: self.changes.woken.set())
        if self._scanning is not None and self._scanning.done():
            seen, self._scanning = self._scanning.result(), None
            self._scan_took_s = self.reader.clock() - self._scan_began_s
            await self._take(seen)

    async def _stand_by(self) -> None:
        """Find what came while nothing can be read, and hold it open."""
        await self._look_around()
        if self._scanning is not None:
            await asyncio.wait({self._scanning})
            await self._look_around()
        for follow in list(self._active):
            for tail in follow.chain:
                await self.reader.hold(follow, tail)

    async def _take(self, seen: Seen) -> None:
        self.changes.watch_directories(seen.directories)
        for path, why in seen.refused.items():
            self.reader.troubles.tell(path, why)
        for path in self._refused - seen.refused.keys():
            self.reader.troubles.over(path)
        self._refused = set(seen.refused)
        compared = self.follows.compare(seen, self._wanted)
        self._stir(compared.stirred)
        if compared.state:
            await self.patient.put(Take(self.tools.job, (), compared.state))
        if compared.unclear:
            await self._trace(compared.unclear)

    def _stir(self, follows: Iterable[Follow]) -> None:
        for follow in follows:
            follow.look_s = 0.0
            self._active[follow] = None

    async def _trace(self, unclear: Sequence[Follow]) -> None:
        """Find out what became of paths' files."""
        answers = await self.reader.in_thread(lambda: self._ask(unclear))
        for follow, answer in zip(unclear, answers, strict=True):
            if isinstance(answer, OSError):
                self.reader.troubles.tell(follow.path, f"{follow.path} cannot be looked for: {answer.strerror}")
                follow.lost, follow.look_s = False, self.reader.clock() + self.options.sync_period_s
                continue
            for why in answer.troubles if answer is not None else ():
                self.reader.troubles.tell(follow.path, why)
            was_read = bool(follow.chain)
            self.follows.settle(follow, answer)
            if not was_read and not follow.chain and not follow.changed:
                self.follows.put_back(follow)
            elif follow.chain:
                self._stir([follow])
            else:
                await self._end(follow)

    def _ask(self, unclear: Sequence[Follow]) -> list[Traced | OSError | None]:
        by_inode, folders = self.follows.by_inode(), Folders()
        answers = list[Traced | OSError | None]()
        for follow in unclear:
            try:
                for tail in follow.chain:
                    tail.learn()
                answers.append(trace(self.follows.question(follow, by_inode), folders))
            except OSError as error:
                answers.append(error)
        return answers

    async def _round(self) -> bool:
        """Read one block of each path that has one; return whether any had."""
        more, lost = False, []
        for follow in list(self._active):
            # What could not be put for long may have ended others meanwhile.
            if self.reader.clock() < follow.look_s or follow not in self._active:
                continue
            if await self.reader.step(follow):
                more = True
                # Other tasks have their turn between any two blocks.
                await asyncio.sleep(0)
            elif follow.lost:
                lost.append(follow)
            else:
                await self._settle(follow)
        if lost := [follow for follow in lost if follow.lost and follow in self._active]:
            await self._trace(lost)
        await self.reader.holding.flush()
        return more

    async def _settle(self, follow: Follow) -> None:
        """Do what is to do with a path that has nothing to read now: let old files go, then watch the last."""
        now_s, newest = self.reader.clock(), follow.chain[-1]
        for tail in list(follow.chain):
            if tail.source is not None and follow.rest_is_due(tail, now_s, self.options):
                await self.reader.give_rest(follow, tail)
            if follow.let_go(tail, now_s, self.options):
                if tail is newest:
                    await self._end(follow)
                    return
                await self._let_go(follow, tail)
        waits_for_end = follow.leaving or (follow.missing and newest.links == 0)
        if len(follow.chain) == 1 and not waits_for_end and newest.is_quiet(now_s, _IDLE_S):
            self._watch(follow, newest, now_s)

    def _watch(self, follow: Follow, newest: Tail, now_s: float) -> None:
        """Look at a file no longer until it is written; where that is not told, look at it less often."""
        if newest.over:
            del self._active[follow]
        elif not self.changes.arm(newest.position.path, follow):
            follow.look_s = now_s + _UNWATCHED_S
        elif newest.source is None or not self._has_more(newest):
            del self._active[follow]

    def _has_more(self, tail: Tail) -> bool:
        """Return whether something came before the file was watched."""
        try:
            return tail.look()
        except (LostTrackError, OSError):
            return True

    async def _let_go(self, follow: Follow, tail: Tail) -> None:
        """Be done with a file that was renamed or deleted."""
        self.reader.close(tail)
        follow.chain.remove(tail)
        # Even one that is deleted: it may have been compressed.
        follow.remember(tail.position)
        await self.patient.put(Take(follow.path, (), follow.state()))

    async def _end(self, follow: Follow) -> None:
        """Follow a path no longer; what its stages hold goes on its way."""
        self._active.pop(follow, None)
        self.reader.forget(follow)
        chunks = tuple(follow.pipeline.flush(self.tools.now_ns(), everything=True))
        await self.patient.put(Take(follow.path, chunks, self.follows.finish(follow)))

    async def _wait(self) -> None:
        """Wait until something is to do: at once when told, else when what is being written is looked at again."""
        now_s = self.reader.clock()
        waits = [] if self._scanning is not None else [self._next_scan_s - now_s]
        if self._active:
            first_s = min(follow.look_s for follow in self._active)
            waits.append(max(self.options.poll_s, first_s - now_s))
        if (wait_s := self.reader.holding.wait_s()) is not None:
            waits.append(wait_s)
        try:
            async with asyncio.timeout(max(0.0, min(waits)) if waits else None):
                await self.changes.woken.wait()
        except TimeoutError:
            return
        await asyncio.sleep(_JOIN_S)
        self.changes.woken.clear()
