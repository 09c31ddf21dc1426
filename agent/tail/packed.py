"""Compressed files, as streams that are read forwards: how far one is read counts decompressed bytes."""

import bz2
import lzma
import os
import zlib
from typing import Final, Protocol

from pipeline.errors import PermanentError

_MAGIC: Final = (
    ("gz", b"\x1f\x8b"),
    ("bz2", b"BZh"),
    ("xz", b"\xfd7zXZ\x00"),
    ("zst", b"\x28\xb5\x2f\xfd"),
    ("lz4", b"\x04\x22\x4d\x18"),
    ("lz4", b"\x02\x21\x4c\x18"),  # as lz4 wrote before it had frames
    ("Z", b"\x1f\x9d"),
    ("zip", b"PK\x03\x04"),
)
_STEP_BYTES: Final = 64 * 1024
SUPPORTED: Final = ("gz", "bz2", "xz", "z")
_ZLIB_METHOD: Final = 0x78


class _Stream(Protocol):
    """What zlib, bz2 and lzma have in common, and what is made so."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Zlib:
    """zlib's stream, which hands back what it did not take, where the others keep it."""

    def __init__(self, wbits: int) -> None:
        self._stream = zlib.decompressobj(wbits)

    @property
    def eof(self) -> bool:
        return self._stream.eof

    @property
    def unused_data(self) -> bytes:
        return self._stream.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._stream.decompress(self._stream.unconsumed_tail + data, max_length)


def _new(packing: str) -> _Stream:
    if packing == "gz":
        return _Zlib(31)
    if packing == "z":
        return _Zlib(15)
    if packing == "bz2":
        return bz2.BZ2Decompressor()
    if packing == "xz":
        return lzma.LZMADecompressor()
    raise PermanentError(unsupported(packing))


def unsupported(packing: str) -> str:
    """Return the words that say that a format cannot be read."""
    return f"the format {packing} is not supported ({', '.join(SUPPORTED)} are)"


def packing_of(head: bytes, *, zlib_too: bool = False) -> str:
    """Return the format that a file's first bytes say it is compressed in; empty where they say none.

    zlib's has two bytes without much meaning to go by: it is asked for where a job says that its files are so.
    """
    for packing, magic in _MAGIC:
        if head.startswith(magic):
            return packing
    is_zlib = zlib_too and len(head) > 1 and head[0] == _ZLIB_METHOD and int.from_bytes(head[:2], "big") % 31 == 0
    return "z" if is_zlib else ""


class Unpacked:
    """The content of an open compressed file. `ended` once everything was given out; blocks: for threads."""

    def __init__(self, fd: int, packing: str) -> None:
        self._fd, self._packing = fd, packing
        self._restart()

    def _restart(self) -> None:
        self._stream = _new(self._packing)
        self._raw_offset = 0
        self._kept_from = 0
        self._kept = bytearray()
        self.ended = False

    def read(self, into: memoryview, offset: int) -> int:
        """Fill `into` with what is at an offset and return how many bytes; fewer where there are no more yet.

        Raises PermanentError for what is not of the format.
        """
        if offset < self._kept_from:
            self._restart()
        while True:
            excess = min(offset - self._kept_from, len(self._kept))
            del self._kept[:excess]
            self._kept_from += excess
            if self._kept_from == offset and len(self._kept) >= len(into):
                break
            if not self._more():
                break
        if self._kept_from < offset:
            return 0
        filled = min(len(into), len(self._kept))
        into[:filled] = self._kept[:filled]
        return filled

    @property
    def end(self) -> int | None:
        """Return how long the content is, once its end was seen."""
        return self._kept_from + len(self._kept) if self.ended else None

    def _more(self) -> bool:
        """Decompress a step; return whether anything came of it."""
        if self.ended:
            return False
        if self._stream.eof:
            return self._next_member()
        try:
            # What was read already may hold more than a step of content.
            made = self._stream.decompress(b"", _STEP_BYTES)
            while not made and not self._stream.eof:
                raw = os.pread(self._fd, _STEP_BYTES, self._raw_offset)
                if not raw:
                    return False
                self._raw_offset += len(raw)
                made = self._stream.decompress(raw, _STEP_BYTES)
        except (zlib.error, lzma.LZMAError, OSError, EOFError) as error:
            raise PermanentError(f"it cannot be decompressed ({self._packing}): {error}") from error
        self._kept += made
        return True

    def _next_member(self) -> bool:
        """Go on with the stream behind one that ended: a file may be several, one behind the other."""
        raw = self._stream.unused_data or os.pread(self._fd, _STEP_BYTES, self._raw_offset)
        if not self._stream.unused_data:
            self._raw_offset += len(raw)
        if not raw.strip(b"\0"):
            self.ended = not raw
            return bool(raw) and self._skip_padding()
        self._stream = _new(self._packing)
        try:
            self._kept += self._stream.decompress(raw, _STEP_BYTES)
        except (zlib.error, lzma.LZMAError, OSError, EOFError) as error:
            raise PermanentError(f"behind its end is something else ({self._packing}): {error}") from error
        return True

    def _skip_padding(self) -> bool:
        """Zeros behind a stream are padding, as gzip(1) takes them for."""
        raw = os.pread(self._fd, _STEP_BYTES, self._raw_offset)
        self._raw_offset += len(raw)
        self.ended = not raw.strip(b"\0")
        return False
