"""A file that is open: its content is read at offsets, without waiting where it is in memory."""

import os
from dataclasses import dataclass, field
from stat import S_ISREG
from typing import Final

from agent.tail.packed import SUPPORTED, Unpacked, packing_of, unsupported
from agent.tail.position import HEAD_BYTES
from agent.tail.rotated import packing as packing_by_name
from pipeline.errors import PermanentError

_STEP_BYTES: Final = 2**20
_NO_WAIT: Final = getattr(os, "RWF_NOWAIT", 0)


@dataclass(slots=True)
class Source:
    """One open file; `unpacked` where it is compressed and its content is what is read."""

    fd: int
    packing: str = ""
    unpacked: Unpacked | None = None
    waits: bool = not _NO_WAIT
    _head: bytearray = field(default_factory=lambda: bytearray(HEAD_BYTES))

    def stat(self) -> os.stat_result:
        """Return what the file system says of the file."""
        return os.fstat(self.fd)

    def read_now(self, into: memoryview, offset: int) -> int:
        """Read what is in memory already; raises BlockingIOError where that takes a thread.

        The loop is never held by a disk, nor by a server of files that is gone: Linux tells what it would wait for.
        """
        if self.waits or self.unpacked is not None:
            raise BlockingIOError
        try:
            return os.preadv(self.fd, [into], offset, _NO_WAIT)
        except BlockingIOError:
            raise
        except OSError:
            # tmpfs and NFS among others do not know the flag. Other failures come again, in the thread.
            self.waits = True
            raise BlockingIOError from None

    def read(self, into: memoryview, offset: int) -> int:
        """Read what is there; may wait for the disk. Raises OSError, and PermanentError where it cannot be unpacked."""
        if self.unpacked is not None:
            return self.unpacked.read(into, offset)
        return os.preadv(self.fd, [into], offset)

    def head_now(self) -> bytes:
        """Return what the file begins with; raises BlockingIOError as `read_now`."""
        return bytes(memoryview(self._head)[: self.read_now(memoryview(self._head), 0)])

    def head(self) -> bytes:
        """Return what the file's content begins with."""
        if self.unpacked is not None:
            # One of its own: that which is being read goes forwards only.
            return head_of(self.fd, self.packing)
        return os.pread(self.fd, HEAD_BYTES, 0)

    def past_zeros(self, offset: int) -> int | None:
        """Return where something other than zeros is next; None where nothing is. Holes are passed over unread."""
        try:
            at = os.lseek(self.fd, offset, os.SEEK_DATA)
        except OSError:  # ENXIO: nothing but a hole is left.
            return None
        while block := os.pread(self.fd, _STEP_BYTES, at):
            if rest := block.lstrip(b"\0"):
                return at + len(block) - len(rest)
            at += len(block)
        return None

    def close(self) -> None:
        """Let the file go."""
        os.close(self.fd)


def head_of(fd: int, packing: str) -> bytes:
    """Return what an open file's content begins with."""
    if not packing:
        return os.pread(fd, HEAD_BYTES, 0)
    head = bytearray(HEAD_BYTES)
    return bytes(head[: Unpacked(fd, packing).read(memoryview(head), 0)])


def open_file(path: str) -> int:
    """Open a file, never waiting for a FIFO's writer; raises OSError, and PermanentError for what is no file."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise PermanentError(f"{path} is not a regular file")
    return fd


def open_source(path: str, *, unpack: bool, zlib_too: bool = False) -> Source:
    """Open a file, and its content where it is compressed and `unpack` says so; raises OSError, PermanentError.

    One that is compressed where nobody said so is refused: its bytes are nobody's lines. So is one in a format that is
    not read, by its first bytes or, where these tell nothing, by its name.
    """
    fd = open_file(path)
    try:
        packing = packing_of(os.pread(fd, 8, 0), zlib_too=zlib_too)
        looks = packing or packing_by_name(path.rpartition("/")[2])
        if looks and looks not in SUPPORTED:
            raise PermanentError(f"{path} is compressed: {unsupported(looks)}")
        if packing and not unpack:
            raise PermanentError(f"{path} is compressed ({packing}): a job's `decompression` has it read")
        return Source(fd, packing, Unpacked(fd, packing) if packing else None)
    except BaseException:
        os.close(fd)
        raise
