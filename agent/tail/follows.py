"""All paths that a job follows, and what is remembered of them: nothing is read and nothing waited for here."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from agent.logs.input import InputTools, Source
from agent.tail.follow import Follow, Tail
from agent.tail.names import Key, further_names
from agent.tail.position import Position, Row, done_key, gone_key, prefix, read_key, read_position, read_row, row_key
from agent.tail.rotated import base_of, packing
from agent.tail.scan import Seen, Wanted
from agent.tail.trace import Question, Traced
from agent.tail.twins import labels_of, twins_of

logger = logging.getLogger(__name__)

_KEPT_DONE = 2
_KEPT_GONE = 1000
_UNMOUNTED_S = 7 * 86_400.0
"""How long files of a file system that is not mounted are remembered after they were written last."""


@dataclass(frozen=True, slots=True)
class Compared:
    """What a search changed: paths whose files have to be looked for, those to look at now, and rows to forget."""

    unclear: list[Follow] = field(default_factory=list)
    stirred: list[Follow] = field(default_factory=list)
    state: dict[bytes, bytes | None] = field(default_factory=dict)


@dataclass(eq=False)
class Follows:
    """Paths by target. `imported` are offsets of another program; `unpacks`: compressed files are content, too."""

    tools: InputTools
    imported: dict[str, int]
    unpacks: bool = False
    zlib_too: bool = False
    _by: dict[Key, Follow] = field(default_factory=dict)
    _rows: dict[Key, Row] = field(default_factory=dict)
    _done: dict[Key, list[Position]] = field(default_factory=dict)
    _twins: dict[str, int] = field(default_factory=dict)
    _names: dict[Key, int] = field(default_factory=dict)
    _gone_ns: dict[Key, int] = field(default_factory=dict)
    _files: dict[str, list[int]] = field(default_factory=dict)
    _inodes: dict[str, int] = field(default_factory=dict)

    def load(self) -> None:
        """Take what is remembered of files."""
        for key, value in self.tools.keep.state(prefix(self.tools.job)).items():
            kind, path, twin = read_key(key)
            try:
                if kind == "gone":
                    self._gone_ns[path, twin] = int(value)
                elif kind == "row":
                    self._rows[path, twin] = read_row(value)
                else:
                    self._done.setdefault((path, twin), []).append(read_position(value))
            except (msgspec.DecodeError, ValueError) as error:
                logger.error("what was remembered of %s cannot be read: %s", path, error)

    def all(self) -> Iterable[Follow]:
        """Return the paths that are followed."""
        return self._by.values()

    def remembered(self) -> dict[str, Position | None]:
        """Return paths that are remembered but not followed, with their newest files' positions.

        None where it does not matter any more on which device a file was: devices may be numbered anew.
        """
        found: dict[str, Position | None] = {path: None for path, _ in self._gone_ns}
        since_ns = int((self.tools.clock() - _UNMOUNTED_S) * 1e9)
        for key, row in self._rows.items():
            newest = (*self._done.get(key, ()), *row.files)[-1:]
            found[key[0]] = newest[0] if newest and newest[0].written_ns > since_ns else None
        return found

    def compare(self, seen: Seen, wanted: Sequence[Wanted]) -> Compared:
        """Take what a search found."""
        result, self._files = Compared(), seen.files
        self._inodes = {path: stat.st_ino for path, stat in seen.stats.items()}
        keys = {key: target for path in sorted(seen.files) for key, target in self._keys(path, wanted)}
        further = self._further_names(keys, seen)
        for key, target in keys.items():
            if key in further:
                self._named_twice(key, result)
                continue
            self._found(key, labels_of(target, key[0]), seen, result, is_part=self._is_part(key[0]))
            if (follow := self._by.get(key)) is not None:
                follow.source = target.key
        for key, follow in self._by.items():
            if key not in keys and key[0] not in seen.refused:
                self._not_found(follow, wanted, result)
        self._remember(seen, wanted, result)
        return result

    def _keys(self, path: str, wanted: Sequence[Wanted]) -> list[tuple[Key, Source]]:
        """Return the targets that name a file, each with where it goes on."""
        targets = [wanted[number].target for number in self._files[path]]
        numbers = range(self._twins.get(path, 1))
        followed = {twin: self._by[path, twin].labels for twin in numbers if (path, twin) in self._by}
        if len(targets) == 1 and not followed.keys() - {0}:
            return [((path, 0), targets[0])]
        twins = twins_of([labels_of(target, path) for target in targets], followed)
        self._twins[path] = max(self._twins.get(path, 1), *(twin + 1 for twin in twins))
        return [((path, twin), target) for twin, target in zip(twins, targets, strict=True)]

    def _further_names(self, keys: Iterable[Key], seen: Seen) -> set[Key]:
        """Return the names of files that are followed under another name: the one that was there first goes on."""

        def rank(key: Key) -> int:
            return 0 if key in self._by else 1 if key in self._rows else 2

        return further_names(keys, seen.stats, seen.real, rank)

    def _named_twice(self, key: Key, result: Compared) -> None:
        """Read to its end what a link led to before it led to a file that is followed itself."""
        follow = self._by.get(key)
        if follow is not None:
            follow.leaving, follow.missing = True, False
            result.stirred.append(follow)

    def _found(self, key: Key, labels: dict[str, str], seen: Seen, result: Compared, *, is_part: bool) -> None:
        follow, stat = self._by.get(key), seen.stats[key[0]]
        if follow is None:
            if not is_part and self._names.get(key) != stat.st_ino:
                result.unclear.append(self._new(key, labels))
            return
        follow.leaving = follow.part = is_part
        follow.missing = False
        if follow.labels != labels:
            follow.relabel(labels, self.tools.make(labels))
        newest = follow.chain[-1]
        if (stat.st_ino != newest.position.inode or newest.renamed) and not is_part:
            result.unclear.append(follow)
        if (stat.st_size, stat.st_mtime_ns) != newest.seen or is_part:
            result.stirred.append(follow)

    def _not_found(self, follow: Follow, wanted: Sequence[Wanted], result: Compared) -> None:
        result.stirred.append(follow)
        if follow.path in self._files or not any(one.matches(follow.path) for one in wanted):
            follow.leaving = True
            return
        # Its next file may have come and been renamed already.
        follow.leaving, follow.missing = False, True
        result.unclear.append(follow)

    def _remember(self, seen: Seen, wanted: Sequence[Wanted], result: Compared) -> None:
        """Look after what is remembered: a file may be there under another name, or nowhere any more."""
        for key in [key for key in dict.fromkeys((*self._rows, *self._gone_ns)) if key[0] in seen.missing]:
            target = next((one.target for one in wanted if one.matches(key[0])), None)
            if target is not None:
                follow = self._new(key, labels_of(target, key[0]))
                follow.missing = True
                result.unclear.append(follow)
            elif wanted:
                result.state.update(self._forget_gone(key))
                self._rows.pop(key, None)
                result.state[row_key(self.tools.job, *key)] = None
                for position in self._done.pop(key, ()):
                    result.state[done_key(self.tools.job, *key, position.inode)] = None
        present = {stat.st_ino for path, stat in seen.stats.items() if not self._is_part(path)}
        for follow in self._by.values():
            if len(follow.done) > _KEPT_DONE:
                follow.forget([one for one in follow.done[:-_KEPT_DONE] if one.inode not in present])

    def _is_part(self, path: str) -> bool:
        """Return whether a file is an older part of a log that is followed itself: it is read as that one's."""
        directory, _, name = path.rpartition("/")
        base = base_of(name)
        return base is not None and (f"{directory}/{base}" in self._files or (f"{directory}/{base}", 0) in self._by)

    def _new(self, key: Key, labels: dict[str, str]) -> Follow:
        follow = Follow(self.tools.job, *key, labels, self.tools.make(labels), done=self._done.pop(key, []))
        follow.done.sort(key=lambda position: position.written_ns)
        row = self._rows.pop(key, None)
        if row is not None:
            follow.chain = [Tail(position, over=position.ended) for position in row.files]
            if row.held:
                follow.pipeline.restore(row.held)
        self._by[key] = follow
        return follow

    def by_inode(self) -> dict[int, list[tuple[Follow, Position]]]:
        """Return all files that are known, for `question`."""
        found: dict[int, list[tuple[Follow, Position]]] = {}
        for follow in self._by.values():
            for position in (*(tail.position for tail in follow.chain), *follow.done):
                found.setdefault(position.inode, []).append((follow, position))
        return found

    def question(self, follow: Follow, by_inode: Mapping[int, Sequence[tuple[Follow, Position]]]) -> Question:
        """Return what is to be found out about a path's files."""
        files, unpacks, twin = self._files, self.unpacks, follow.twin

        def others(inode: int) -> list[Position]:
            found = by_inode.get(inode, ())
            return [position for other, position in found if other is not follow and other.twin == twin]

        return Question(
            follow.path,
            [tail.position for tail in follow.chain],
            list(follow.done),
            others,
            lambda path: path in files and (unpacks or not packing(path)),
            zlib_too=self.zlib_too,
            since_ns=self._gone_ns.get((follow.path, follow.twin), 0),
        )

    def settle(self, follow: Follow, answer: Traced | None) -> None:
        """Take the answer; a path that was only another name of another's file is not followed."""
        if answer is None:
            self._names[follow.path, follow.twin] = self._inodes.get(follow.path, 0)
            return
        is_new = not follow.chain and not follow.done
        follow.apply(answer)
        if follow.chain:
            follow.changed |= self._forget_gone((follow.path, follow.twin))
        if answer.passed is not None and (is_new or not follow.chain):
            passed = answer.passed.from_start()
            passed.offset = answer.passed.stat.st_size
            if all(passed.inode != position.inode for position in follow.done):
                follow.remember(passed)
        elif answer.passed is None and not follow.chain:
            follow.forget(follow.done)
        offset = self.imported.pop(follow.path, None) if is_new and follow.twin == 0 else None
        if offset is not None and follow.chain and answer.fresh[-1].stat.st_size >= offset:
            follow.chain = follow.chain[-1:]
            follow.chain[0].position.offset = offset

    def finish(self, follow: Follow) -> dict[bytes, bytes | None]:
        """Follow a path no longer; return the state that becomes true with it.

        What nobody names any more is remembered: a target may come back. So is a log of which there are older parts:
        what is rotated next is newer than they are. What is gone is forgotten.
        """
        key = follow.path, follow.twin
        del self._by[key]
        if follow.part or not (follow.done or (follow.leaving and follow.chain)):
            follow.forget(follow.done)
            return {**follow.changed, follow.key: None, **self._note_gone(follow)}
        self._rows[key], self._done[key] = Row([tail.position for tail in follow.chain]), follow.done
        return follow.state()

    def _note_gone(self, follow: Follow) -> dict[bytes, bytes | None]:
        """Note until when a log that is gone was written: its next file may be rotated before anybody sees it."""
        state: dict[bytes, bytes | None] = {}
        written_ns = max([follow.last_ns, *(tail.position.written_ns for tail in follow.chain)])
        if written_ns and not follow.part and not follow.leaving:
            self._gone_ns[follow.path, follow.twin] = written_ns
            state[gone_key(self.tools.job, follow.path, follow.twin)] = b"%d" % written_ns
        if len(self._gone_ns) > _KEPT_GONE:
            state |= self._forget_gone(next(iter(self._gone_ns)))
        return state

    def _forget_gone(self, key: Key) -> dict[bytes, bytes | None]:
        return {} if self._gone_ns.pop(key, None) is None else {gone_key(self.tools.job, *key): None}

    def put_back(self, follow: Follow) -> None:
        """Follow a path no longer of which there was nothing to follow; what was remembered is as it was."""
        key = follow.path, follow.twin
        del self._by[key]
        if follow.done:
            self._rows[key], self._done[key] = Row([]), follow.done
