"""One path that is followed: its files from the oldest to the newest, each read to its end before the next."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import itemgetter

from agent.logs.pipeline import Pipeline
from agent.tail.options import TailOptions
from agent.tail.position import Position, Row, done_key, encode, row_key
from agent.tail.source import Source
from agent.tail.text import Text
from agent.tail.trace import Part, Traced


class LostTrackError(Exception):
    """The file is not what it was: truncated, replaced, renamed or gone. Its directory has to be looked through."""


@dataclass(eq=False, slots=True)
class Tail:
    """One file that is read.

    `seen` is its size and time when there was nothing more to take, `quiet_s` since when that is so (on the loop's
    clock). `rest`: something is behind the last newline. `wide`: it takes the whole buffer to see a line's end.
    `over`: nothing more will be read of it. `truncated`: what was read of it is not there any more. `renamed`: it is
    not under the path's own name. `alone`: looking for it would find no more of it than
    is known.
    """

    position: Position
    source: Source | None = None
    text: Text | None = None
    stamp: tuple[int, int] = (-1, -1)
    seen: tuple[int, int] = (-1, -1)
    links: int = 1
    quiet_s: float | None = None
    retry_s: float = 0.0
    rest: bool = False
    wide: bool = False
    over: bool = False
    truncated: bool = False
    renamed: bool = False
    alone: bool = False

    def look(self) -> bool:
        """Return whether there may be something to read of an open file; raises LostTrackError."""
        assert self.source is not None
        stat = self.source.stat()
        self.stamp, self.links = (stat.st_size, stat.st_mtime_ns), stat.st_nlink
        if not self.source.packing and stat.st_size < self.position.offset:
            self.truncated = True
            raise LostTrackError
        if self.stamp == self.seen:
            return False
        if stat.st_size == 0 and stat.st_mtime_ns != self.position.written_ns:
            # It was written and emptied in between: what it held may be in a copy.
            self.position.written_ns = stat.st_mtime_ns
            raise LostTrackError
        if stat.st_size and not self.position.head_bytes and not self.alone:
            # Its inode is all that was known of it, and may have been another file's meanwhile.
            raise LostTrackError
        return True

    def is_quiet(self, now_s: float, for_s: float) -> bool:
        """Return whether it is read to its end, and was not written for so long."""
        return self.over or (self.quiet_s is not None and now_s - self.quiet_s >= for_s)

    def learn(self) -> None:
        """Take what an open file begins with by now, so that it is known again under another name."""
        if self.source is not None and not self.position.head_bytes:
            self.position.learn(self.source.head())

    def close(self) -> None:
        """Let the file go; it may be opened again."""
        if self.source is not None:
            self.source.close()
            self.source = None

    def move(self, part: Part) -> None:
        """Go on at another place: where it was renamed to, or in a copy of it."""
        position, copied = self.position, part.stat.st_ino != self.position.inode or self.truncated
        position.path = part.real
        if not copied:
            return
        position.device, position.inode = part.stat.st_dev, part.stat.st_ino
        self.close()
        self.over = not part.is_packed and part.stat.st_size < position.offset
        self.truncated, self.seen, self.quiet_s, self.wide = False, (-1, -1), None, False


@dataclass(eq=False, slots=True)
class Follow:
    """A path of a job with its stages.

    `missing`: nothing is there now. `leaving`: no target names it any more; `part`: because it is an older part of a
    log that is followed itself now. `lost`: its files have to be looked for. `last_ns` is when the last of the files
    that are not read any more was written. For people to see: `source` is the key of its target, `lines` are those read
    since the start, `read_s` is when the last was (Unix).
    """

    job: str
    path: str
    twin: int
    labels: dict[str, str]
    pipeline: Pipeline
    chain: list[Tail] = field(default_factory=list)
    done: list[Position] = field(default_factory=list)
    missing: bool = False
    leaving: bool = False
    part: bool = False
    lost: bool = False
    look_s: float = 0.0
    last_ns: int = 0
    changed: dict[bytes, bytes | None] = field(default_factory=dict)
    source: str = ""
    lines: int = 0
    read_s: float | None = None

    @property
    def key(self) -> bytes:
        """The state's key of its row."""
        return row_key(self.job, self.path, self.twin)

    def state(self) -> dict[bytes, bytes | None]:
        """Return its row as it is now, and what else has to be kept with it."""
        row = Row([tail.position for tail in self.chain], self.pipeline.snapshot())
        changed, self.changed = self.changed, {}
        return {self.key: encode(row), **changed}

    def remember(self, position: Position) -> None:
        """Know a file again that is not read any more: `state` has it from now on."""
        self.last_ns = max(self.last_ns, position.written_ns)
        self.forget([done for done in self.done if done.inode == position.inode])
        self.done.append(position)
        self.changed[done_key(self.job, self.path, self.twin, position.inode)] = encode(position)

    def forget(self, positions: Sequence[Position]) -> None:
        """Take back `remember`."""
        for position in list(positions):
            self.done.remove(position)
            self.changed[done_key(self.job, self.path, self.twin, position.inode)] = None

    def relabel(self, labels: dict[str, str], pipeline: Pipeline) -> None:
        """Go on with other labels; what stages hold back is taken over."""
        if held := self.pipeline.snapshot():
            pipeline.restore(held)
        self.labels, self.pipeline = labels, pipeline

    def apply(self, traced: Traced) -> None:
        """Take what became of its files, and those that came."""
        again = {part.stat.st_ino for part in traced.fresh}
        aged = [(part.number, self._begin(part)) for part in traced.fresh]
        alone = list[Tail]()
        for tail, part in zip(self.chain, traced.places, strict=False):
            if part is not None:
                tail.move(part)
                tail.renamed = part.path != self.path
            elif (
                tail.source is None or tail.truncated or (not tail.position.head_bytes and tail.position.inode in again)
            ):
                tail.over = True
            if tail.over and part is None:
                tail.close()
                if tail.position.offset:
                    self.remember(tail.position)
            elif part is not None:
                aged.append((part.number, tail))
            else:
                tail.alone = True
                alone.append(tail)
        self.chain = alone + [tail for _, tail in sorted(aged, key=itemgetter(0))]
        self.lost = False

    def _begin(self, part: Part) -> Tail:
        position = part.from_start()
        nothing_known = part.stat.st_size > 0 and not position.head_bytes
        return Tail(position, renamed=part.path != self.path, alone=nothing_known)

    def let_go(self, tail: Tail, now_s: float, options: TailOptions) -> bool:
        """Return whether a file that is read to its end need not be waited for any longer."""
        newest = self.chain[-1]
        if tail is not self.chain[0]:
            return False
        if tail is not newest:
            has_begun = newest.position.offset > 0 or newest.stamp[0] > 0 or newest.over
            return tail.over or (tail.is_quiet(now_s, options.rotated_wait_s) and has_begun)
        if self.leaving:
            return tail.is_quiet(now_s, options.ended_wait_s)
        return self.missing and tail.links == 0 and tail.is_quiet(now_s, options.rotated_wait_s)

    def rest_is_due(self, tail: Tail, now_s: float, options: TailOptions) -> bool:
        """Return whether what is behind the last newline of a file is given as a line now: no newline will come."""
        may_grow = tail is self.chain[-1] and not self.leaving and not (self.missing and tail.links == 0)
        return tail.rest and not may_grow and tail.is_quiet(now_s, options.ended_wait_s)
