"""What became of a log's files: where those that were being read are now, and which were written since.

The log's own name, the files beside it that rotation names so, and the files that those being read were last seen as
are looked at from the newest to the oldest, until one is known. All that are newer are to be read.
Everything here may wait for the disk.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from stat import S_ISREG

from agent.tail.folders import Folders
from agent.tail.packed import packing_of
from agent.tail.position import Position
from agent.tail.rotated import base_of, packing
from agent.tail.source import head_of, open_file
from pipeline.errors import PermanentError


@dataclass(eq=False, slots=True)
class Part:
    """One file there is: `path` as it is found, `number` from the oldest on, and what it begins with, decompressed."""

    path: str
    stat: os.stat_result
    zlib_too: bool = False
    number: int = 0
    trouble: str = ""
    _head: bytes | None = None

    @property
    def head(self) -> bytes:
        """What its content begins with; empty where it cannot be read, for which `trouble` has the reason."""
        if self._head is None:
            self._head = self._read_head()
        return self._head

    def _read_head(self) -> bytes:
        try:
            fd = open_file(self.path)
        except (OSError, PermanentError) as error:
            self.trouble = str(error)
            return b""
        try:
            return head_of(fd, packing_of(os.pread(fd, 8, 0), zlib_too=self.zlib_too))
        except (OSError, PermanentError) as error:
            self.trouble = f"{self.path}: {error}"
            return b""
        finally:
            os.close(fd)

    def is_it(self, position: Position) -> bool:
        """Return whether it is the file of a position, itself, with what was read of it still there."""
        if self.stat.st_ino != position.inode:
            return False
        shorter = not self.is_packed and self.stat.st_size < position.offset
        return not shorter and position.is_at(self.stat, self.head)

    def is_copy(self, position: Position) -> bool:
        """Return whether it is a copy of a position's file, compressed or not."""
        return position.head_bytes > 0 and bool(self.head) and position.begins(self.head)

    def from_start(self) -> Position:
        """Return the position of somebody who read nothing of it."""
        head, stat = self.head, self.stat
        position = Position(self.real, stat.st_dev, stat.st_ino, written_ns=stat.st_mtime_ns)
        position.learn(head)
        return position

    @property
    def is_packed(self) -> bool:
        """Whether its name says that it is compressed."""
        return bool(packing(self.path))

    @property
    def real(self) -> str:
        """Where it really is: a link may lead elsewhere next time."""
        return os.path.realpath(self.path)


@dataclass(frozen=True, slots=True)
class Traced:
    """`places`: where each of the files being read is now, as far as it was found; `fresh`: newer ones, oldest first.

    `passed` is the newest of those that nobody reads (any more). `troubles` are reasons.
    """

    places: tuple[Part | None, ...] = ()
    fresh: tuple[Part, ...] = ()
    passed: Part | None = None
    troubles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked about one log. `known` are its files being read, oldest first, `done` those read to their end.

    `others` gives the files of other logs with an inode: one of them under this name is nothing new. `wanted` says
    which of the rotated files that were there first are to be read, too.
    """

    path: str
    known: Sequence[Position] = ()
    done: Sequence[Position] = ()
    others: Callable[[int], Sequence[Position]] = field(default=lambda _: ())
    wanted: Callable[[str], bool] = field(default=lambda _: False)
    zlib_too: bool = False
    since_ns: int = 0
    """When the last file of this log was written, where all that were known are gone: what came since is to be read."""


def trace(question: Question, folders: Folders) -> Traced | None:
    """Look through a log's files; None where its name is only another name of another log's file.

    Raises OSError where that cannot be known: nothing may be concluded from it.
    """
    parts = list(_parts(question, folders))
    for number, part in enumerate(parts):
        part.number, part.zlib_too = number, question.zlib_too
    own = parts[-1] if parts and parts[-1].path == question.path else None
    if own is not None and not question.known and _is_others(own, question):
        return None
    places, newest = _find(question, parts)
    if newest >= 0:
        newer = parts[newest + 1 :]
    elif question.known or question.done or question.since_ns:
        # Nothing is left of what was known: what was written since then is newer.
        since_ns = max(question.since_ns, *(one.written_ns for one in (*question.known, *question.done)), 0)
        newer = [part for part in parts if part is own or part.stat.st_mtime_ns >= since_ns]
    else:
        newer = [part for part in parts if part is own or _is_wanted(part, question)]
    fresh = tuple(part for part in newer if part not in places and (part is own or _is_read(part, own)))
    passed = [part for part in parts if part not in newer and part not in places]
    troubles = tuple(part.trouble for part in parts if part.trouble)
    return Traced(places, fresh, passed[-1] if passed else None, troubles)


def _is_read(part: Part, own: Part | None) -> bool:
    """Return whether an older part is to be read: not if it is empty, nor the copy of a log about to be truncated.

    Such a copy is never longer than the log; once that is truncated, the log's place is in it.
    """
    if own is None or not own.head or part.is_packed or part.stat.st_size > own.stat.st_size:
        return bool(part.head)
    return bool(part.head) and not own.head.startswith(part.head)


def _is_wanted(part: Part, question: Question) -> bool:
    return question.wanted(part.path) and not _is_others(part, question)


def _is_others(part: Part, question: Question) -> bool:
    return any(part.is_it(other) for other in question.others(part.stat.st_ino))


def _find(question: Question, parts: Sequence[Part]) -> tuple[tuple[Part | None, ...], int]:
    """Return where the known files are, and the number of the newest part that is known at all (-1: none)."""
    places: dict[int, int] = {}
    for which, position in enumerate(question.known):
        number = _last(parts, lambda part, position=position: part.is_it(position))  # type: ignore[misc]
        # An empty file's inode may be another's by now; nothing was read of it, so it is found anew.
        if number >= 0 and (position.head_bytes or position.offset):
            places[which] = number
    # That nothing was read of a file says nothing about those before it.
    newest = max((places[which] for which in places if question.known[which].offset), default=-1)
    # Of one that was empty to its end only its inode is known, which may be another file's by now.
    for position in (one for one in question.done if one.head_bytes or one.offset):
        number = _last(parts, lambda part: part.is_it(position))  # noqa: B023
        if number < 0:
            # Renamed it is not: it was compressed or copied, or it is gone.
            number = _last(parts, lambda part: part.path != question.path and part.is_copy(position))  # noqa: B023
        newest = max(newest, number)
    for which, position in enumerate(question.known):
        if which in places:
            continue
        taken = set(places.values())
        number = _last(parts, lambda part: id(part) not in {id(parts[n]) for n in taken} and part.is_copy(position))  # noqa: B023
        if number >= 0:
            places[which] = number
            newest = max(newest, number if position.offset else -1)
    found = tuple(parts[places[which]] if which in places else None for which in range(len(question.known)))
    return found, newest


def _last(parts: Sequence[Part], test: Callable[[Part], bool]) -> int:
    for number in range(len(parts) - 1, -1, -1):
        if test(parts[number]):
            return number
    return -1


def _parts(question: Question, folders: Folders) -> Iterator[Part]:
    """Give the files that may be a log's, oldest first, its own name's last."""
    real = os.path.realpath(question.path)
    bases = dict.fromkeys(_base(position.path) for position in question.known if position.path)
    seen = set[int]()
    for base in [base for base in bases if base not in (question.path, real)]:
        # A link led to another file before.
        yield from _new(folders.beside(base), seen)
        yield from _new([base], seen)
    for base in dict.fromkeys((real, question.path)):
        yield from _new(folders.beside(base), seen)
    yield from _new([question.path], set())


def _base(path: str) -> str:
    directory, _, name = path.rpartition("/")
    return f"{directory}/{base_of(name) or name}"


def _new(paths: Sequence[str], seen: set[int]) -> Iterator[Part]:
    for path in paths:
        try:
            stat = Path(path).stat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        if S_ISREG(stat.st_mode) and stat.st_ino not in seen:
            seen.add(stat.st_ino)
            yield Part(path, stat)
