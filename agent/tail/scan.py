"""Looking for files: which there are, of which targets. May wait for the disk."""

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from stat import S_ISDIR, S_ISLNK, S_ISREG

from agent.logs.input import Source
from agent.tail.glob import Listing, Pattern
from agent.tail.position import Position


@dataclass(frozen=True, slots=True)
class Wanted:
    """A target with its patterns read."""

    target: Source
    path: Pattern
    exclude: Pattern | None

    @staticmethod
    def of(target: Source) -> "Wanted":
        """Read a target's patterns; raises ValueError."""
        return Wanted(target, Pattern(target.path), Pattern(target.exclude) if target.exclude else None)

    def matches(self, path: str) -> bool:
        """Return whether a file of this path is one of the target's."""
        named = self.path.matches(path) or path == self.target.path
        return named and not (self.exclude and (self.exclude.matches(path) or path == self.target.exclude))


@dataclass(frozen=True, slots=True)
class Seen:
    """What a search found: of each file its targets (indices, with labels of their own each) and its stat.

    `real` has where those really are that a link leads to. `directories` are those that may get more of them; `refused`
    says why what is there is not read; `missing` are those of the paths asked for that are not there.
    """

    files: dict[str, list[int]] = field(default_factory=dict)
    stats: dict[str, os.stat_result] = field(default_factory=dict)
    real: dict[str, str] = field(default_factory=dict)
    directories: set[str] = field(default_factory=set)
    refused: dict[str, str] = field(default_factory=dict)
    missing: set[str] = field(default_factory=set)


def scan(wanted: Sequence[Wanted], remembered: Mapping[str, Position | None]) -> Seen:
    """Look for all files of targets, and whether the `remembered` ones, with a position if one is known, are there."""
    seen, listing = Seen(), Listing()
    for number, one in enumerate(wanted):
        for path in _paths(one, listing):
            targets = seen.files.setdefault(path, [])
            if all(wanted[other].target.labels != one.target.labels for other in targets):
                targets.append(number)
    folders: dict[str, str] = {}
    for path in list(seen.files):
        if not _look(path, seen, folders):
            del seen.files[path]
    seen.directories.update(directory for directory in listing.seen if listing.seen[directory])
    seen.missing.update(path for path in remembered if path not in seen.stats and _is_missing(path, remembered[path]))
    return seen


def _paths(one: Wanted, listing: Listing) -> set[str]:
    literal = one.target.path
    # A path that is there as it is written needs no reading as a pattern, as in promtail.
    is_there = literal.startswith("/") and os.path.isfile(literal)  # noqa: PTH113 (which raises)
    paths = {literal} if is_there else set(one.path.files(listing))
    if literal in paths:
        listing.names(os.path.dirname(literal))  # noqa: PTH120
    return {path for path in paths if one.matches(path)} if one.exclude else paths


def _is_missing(path: str, position: Position | None) -> bool:
    try:
        Path(path).stat()
    except (FileNotFoundError, NotADirectoryError):
        return position is None or _is_mounted(position)
    except OSError:  # Nobody knows: it is not forgotten for that.
        return False
    return False


def _is_mounted(position: Position) -> bool:
    """Return whether the file system of a file that is not there is: what is not mounted yet is not gone."""
    for parent in Path(position.path).parents:
        with suppress(OSError):
            return parent.stat().st_dev == position.device
    return True


def _look(path: str, seen: Seen, folders: dict[str, str]) -> bool:
    try:
        stat = os.lstat(path)
        is_link = S_ISLNK(stat.st_mode)
        if is_link:
            stat = Path(path).stat()
    except FileNotFoundError:
        return False
    except OSError as error:
        seen.refused[path] = f"{path}: {error.strerror}"
        return False
    if not S_ISREG(stat.st_mode):
        if not S_ISDIR(stat.st_mode):
            seen.refused[path] = f"{path} is not a regular file"
        return False
    seen.stats[path] = stat
    folder, _, name = path.rpartition("/")
    if folder not in folders:
        folders[folder] = os.path.realpath(folder or "/").rstrip("/")
    real = os.path.realpath(path) if is_link else f"{folders[folder]}/{name}"
    if real != path:
        seen.real[path] = real
    if is_link:
        # It is written, and rotated, where it really is.
        seen.directories.add(os.path.dirname(real))  # noqa: PTH120
    return True
