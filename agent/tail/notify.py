"""Being told of changes: inotify where there is, and then what is idle costs nothing.

Directories are watched for what comes, goes and is renamed. A file is watched only while it is idle, and once: a busy
one would send an event a write, and it is looked at anyway. Where there is no inotify, or it has no more watches,
everything is found by looking, only later.
"""

import asyncio
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asyncinotify import Event, Inotify, Watch

logger = logging.getLogger(__name__)
_MOST_EVENTS = 1024
"""Events taken at once; the others wait for the loop's next turn."""


@dataclass(eq=False)
class Notify:
    """`woken` is set when something changed: `moved` says that directories did, `written` which files were."""

    inotify: "Inotify | None" = None
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    moved: bool = False
    written: set[Any] = field(default_factory=set)
    _directories: "dict[str, Watch]" = field(default_factory=dict)
    _files: "dict[Watch, set[Any]]" = field(default_factory=dict)
    _full: bool = False

    def watch_directories(self, wanted: set[str]) -> None:
        """Watch these directories, and no others any more."""
        if self.inotify is None:
            return
        from asyncinotify import Mask

        for path in self._directories.keys() - wanted:
            self._forget(self._directories.pop(path))
        mask = Mask.CREATE | Mask.MOVED_TO | Mask.MOVED_FROM | Mask.DELETE | Mask.DELETE_SELF | Mask.MOVE_SELF
        for path in wanted - self._directories.keys():
            watch = self._add(path, mask | Mask.ONLYDIR)
            if watch is not None:
                self._directories[path] = watch

    def _forget(self, watch: "Watch") -> None:
        assert self.inotify is not None
        with suppress(OSError):  # It went with its directory.
            self.inotify.rm_watch(watch)

    def _add(self, path: str, mask: Any) -> "Watch | None":
        assert self.inotify is not None
        try:
            return self.inotify.add_watch(path, mask)
        except OSError as error:
            if error.errno in (None, 2, 13, 20):  # Gone, forbidden or replaced meanwhile: looking will tell.
                return None
            if not self._full:
                self._full = True
                logger.warning(
                    "files are looked at again and again instead of being watched: %s (fs.inotify.max_user_watches?)",
                    error.strerror,
                )
            return None

    def arm(self, path: str, who: Any) -> bool:
        """Tell of `who` when a file is next written or truncated; False where that cannot be."""
        if self.inotify is None:
            return False
        from asyncinotify import Mask

        watch = self._add(path, Mask.MODIFY | Mask.ONESHOT)
        if watch is None:
            return False
        self._files.setdefault(watch, set()).add(who)
        return True

    def read(self) -> None:
        """Take what events there are."""
        assert self.inotify is not None
        for _ in range(_MOST_EVENTS):
            try:
                event = self.inotify.sync_get()
            except BlockingIOError:
                break
            if event is not None:
                self._note(event)
        self.woken.set()

    def _note(self, event: "Event") -> None:
        from asyncinotify import Mask

        watch = event.watch
        if Mask.Q_OVERFLOW in event.mask:
            self.moved = True
            for waiting in self._files.values():
                self.written |= waiting
        elif watch in self._files:
            self.written |= self._files.pop(watch)
        elif watch is not None:
            self.moved = True
            if Mask.IGNORED in event.mask:
                self._directories.pop(str(watch.path), None)


@contextmanager
def notify(*, wanted: bool = True) -> Iterator[Notify]:
    """Give a Notify at work; one that never tells anything where there is no inotify, or it is not wanted."""
    inotify = _open() if wanted and sys.platform == "linux" else None
    made = Notify(inotify)
    if inotify is None:
        yield made
        return
    loop = asyncio.get_running_loop()
    loop.add_reader(inotify.fd, made.read)
    try:
        yield made
    finally:
        loop.remove_reader(inotify.fd)
        inotify.close()


def _open() -> "Inotify | None":
    try:
        from asyncinotify import Inotify

        made = Inotify(cache_size=64)
    except (OSError, RuntimeError) as error:
        logger.warning("files are looked at again and again instead of being watched: %s", error)
        return None
    # Its flag NONBLOCK has the value of another one (4.4.4).
    os.set_blocking(made.fd, False)
    return made
