"""How far files are read, as it is kept in the buffer: one row a path, beside the lines that were read so far."""

import hashlib
import os
from typing import Final

import msgspec

HEAD_BYTES: Final = 1024
"""How much of a file's beginning tells it from others. Lines begin with their time: this is some of them."""


class Position(msgspec.Struct, omit_defaults=True):
    """One file, and how far it is read.

    A file is known again by `head`, the hash of its first `head_bytes` bytes, wherever it was renamed, copied or
    compressed to; its inode says which it is where others begin alike. `offset` counts bytes of the file, decompressed
    where it is compressed. `skipping`: it is inside a line that is too long. `written_ns` is when it was last
    written. `ended`: it is compressed, and read whole.
    """

    path: str
    device: int
    inode: int
    head: str = ""
    head_bytes: int = 0
    offset: int = 0
    written_ns: int = 0
    skipping: bool = False
    ended: bool = False

    def begins(self, head: bytes) -> bool:
        """Return whether a file that begins so may be this one: what this one began with is there."""
        return len(head) >= self.head_bytes and digest(head[: self.head_bytes]) == self.head

    def learn(self, head: bytes) -> None:
        """Take more of the file's beginning, now that there is more. Zeros at its end may be room for lines to come."""
        known = head.rstrip(b"\0")
        self.head, self.head_bytes = digest(known), len(known)

    def is_at(self, stat: os.stat_result, head: bytes) -> bool:
        """Return whether the file found there is this one, neither truncated nor another with its inode."""
        same = stat.st_ino == self.inode and (self.head_bytes > 0 or stat.st_dev == self.device)
        return same and self.begins(head)


class Row(msgspec.Struct, omit_defaults=True):
    """What is kept of one path: its files from the oldest to the newest, and what the stages hold back."""

    files: list[Position]
    held: bytes = b""


_row = msgspec.json.Decoder(Row)
_position = msgspec.json.Decoder(Position)
encode: Final = msgspec.json.Encoder().encode


def digest(head: bytes) -> str:
    """Return the hash of a file's beginning; empty for nothing."""
    return hashlib.blake2b(head, digest_size=8).hexdigest() if head else ""


FILES: Final = b"files\0"
"""What the state's keys of all jobs' files begin with."""


def row_key(job: str, path: str, twin: int) -> bytes:
    """Return the state's key of a path's row; `twin` numbers the targets of a job that name the same path."""
    return _key(job, b"row", path, twin)


def done_key(job: str, path: str, twin: int, inode: int) -> bytes:
    """Return the state's key of a file that is read to its end and still there under another name."""
    return b"%b\0%d" % (_key(job, b"done", path, twin), inode)


def gone_key(job: str, path: str, twin: int) -> bytes:
    """Return the state's key of a path of which nothing is left: until when it was written, in nanoseconds."""
    return _key(job, b"gone", path, twin)


def _key(job: str, kind: bytes, path: str, twin: int) -> bytes:
    return FILES + b"\0".join((job.encode(), kind, os.fsencode(path), str(twin).encode()))


def prefix(job: str) -> bytes:
    """Return what all keys of a job's files begin with."""
    return FILES + job.encode() + b"\0"


def read_key(key: bytes) -> tuple[str, str, int]:
    """Return a key's kind ("row", "done" or "gone"), its path and its twin."""
    _, _, kind, path, twin, *_ = key.split(b"\0")
    return kind.decode(), os.fsdecode(path), int(twin)


def read_row(value: bytes) -> Row:
    """Read a row; raises msgspec.DecodeError."""
    return _row.decode(value)


def read_position(value: bytes) -> Position:
    """Read the position of a file that was read to its end; raises msgspec.DecodeError."""
    return _position.decode(value)


def text_of(path: str) -> str:
    """Return a path as text that any encoding takes: what is not UTF-8 in it becomes U+FFFD."""
    return os.fsencode(path).decode(errors="replace")
