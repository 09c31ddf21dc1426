"""How much the embedded log takes, and may take: its own bound, or less where the disk has no more.

The log never fills a disk by itself: letting go of records is a transaction as well, whose pages go into the
write-ahead log, and that can only be emptied while the disk takes what the data base has not got yet.
"""

import contextlib
import logging
import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pipeline.log.sqlite_schema import PAGE_BYTES

logger = logging.getLogger(__name__)

WORTH_EMPTYING_BYTES: Final = 4 * PAGE_BYTES
"""A write-ahead log below this is left as it is where the disk is short: emptying it costs an fsync."""


@dataclass(slots=True)
class Space:
    """The writer's view of its files. `reserve_bytes` are left free on the disk."""

    db: sqlite3.Connection
    file: Path
    max_bytes: int | None
    reserve_bytes: int
    stored_bytes: int = 0
    """Live pages and the write-ahead log."""
    limit_bytes: int = 0
    """What `stored_bytes` may become."""

    def measure(self) -> bool:
        """Look anew, after a commit; where the disk is short, empty the write-ahead log. Returns whether it changed."""
        before = self.stored_bytes, self.limit_bytes
        try:
            if self._is_short() and self._wal_bytes() > WORTH_EMPTYING_BYTES:
                # Where a reader or the disk does not let it, the next commit tries again.
                with contextlib.suppress(sqlite3.Error):
                    self.db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
                self._is_short()
        except (sqlite3.Error, OSError) as error:
            # What a disk does that cannot be read shows in the jobs; the last numbers stand meanwhile.
            logger.warning("the log's size cannot be read: %s", error)
        return before != (self.stored_bytes, self.limit_bytes)

    def _is_short(self) -> bool:
        """Count; return whether the disk, and not the log's own bound, is what leaves too little room."""
        pages: int = self.db.execute("PRAGMA page_count").fetchone()[0]
        unused: int = self.db.execute("PRAGMA freelist_count").fetchone()[0]
        wal_bytes, file_bytes = self._wal_bytes(), self.file.stat().st_size
        disk = os.statvfs(self.file)
        free_bytes = disk.f_bavail * disk.f_frsize
        self.stored_bytes = (pages - unused) * PAGE_BYTES + wal_bytes
        # The data base never gives pages back to the disk, but uses them again: dropping what is in them helps nobody.
        fits = file_bytes + max(0, wal_bytes + free_bytes - self.reserve_bytes)
        self.limit_bytes = fits if self.max_bytes is None else min(self.max_bytes, fits)
        unbacked_bytes = max(0, pages * PAGE_BYTES - file_bytes)
        is_bound = self.limit_bytes == fits and fits - self.stored_bytes < self.reserve_bytes
        return is_bound or free_bytes - unbacked_bytes < self.reserve_bytes

    def _wal_bytes(self) -> int:
        wal = self.file.with_name(self.file.name + "-wal")
        return wal.stat().st_size if wal.exists() else 0
