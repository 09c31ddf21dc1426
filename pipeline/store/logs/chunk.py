"""How up to 64 entries of one stream are packed: their columns (times, numbers, levels), and their lines.

A chunk is what the index finds and what a search unpacks. Few lines make its index precise (identifiers share their
trigrams with others, and a chunk of many lines has them all); more would not be packed much smaller.

    columns  u32 length, times (as `pipeline.store.chunks`); u32 length, numbers; levels, one byte each
    lines    zstd of: u32 length, lengths in characters; u32 length, UTF-8 text; structured metadata as JSON or nothing
"""

import json
import struct
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Final

import cramjam

from pipeline.store.chunks import decode_times, encode_times
from pipeline.store.logs.entry import LEVELS, Entry
from pipeline.wire.errors import MalformedError
from pipeline.wire.loki import Pairs

MAX_ENTRIES: Final = 64
MAX_TEXT: Final = 64 << 10
"""Characters; a line that is longer has a chunk of its own."""
_LENGTH: Final = struct.Struct("<I")
_ZSTD_LEVEL: Final = 3


@dataclass(frozen=True, slots=True)
class Columns:
    """All of a chunk but its lines, by time and then number."""

    times: "array[int]"
    seqs: "array[int]"
    levels: bytes


@dataclass(frozen=True, slots=True)
class Lines:
    """A chunk's lines, one behind the other, and where each ends."""

    text: str
    ends: Sequence[int]
    metadata: Sequence[Pairs] | None

    def each(self) -> Iterator[tuple[str, Pairs]]:
        """Return every line with its metadata."""
        for n, (start, end) in enumerate(pairwise((0, *self.ends))):
            yield self.text[start:end], self.metadata[n] if self.metadata else ()


def cut(entries: Sequence[Entry]) -> Iterator[Sequence[Entry]]:
    """Cut a stream's entries, which are in order, into chunks."""
    first = length = 0
    for n, entry in enumerate(entries):
        if n > first and (n - first == MAX_ENTRIES or length + len(entry.line) > MAX_TEXT):
            yield entries[first:n]
            first, length = n, 0
        length += len(entry.line)
    yield entries[first:]


def count_levels(entries: Sequence[Entry]) -> bytes:
    """Return for each level how many of a chunk's entries say it."""
    found = Counter(entry.level for entry in entries)
    return bytes(found[level] for level in range(len(LEVELS)))


def pack_columns(entries: Sequence[Entry]) -> bytes:
    """Pack the columns of one chunk."""
    columns = (
        encode_times(array("q", [e.time_ns for e in entries])),
        encode_times(array("q", [e.seq for e in entries])),
    )
    return b"".join(_LENGTH.pack(len(column)) + column for column in columns) + bytes(e.level for e in entries)


def unpack_columns(data: bytes) -> Columns:
    """Unpack columns; raises MalformedError."""
    times, at = _part(data, 0)
    seqs, at = _part(data, at)
    return Columns(decode_times(times), decode_times(seqs), data[at:])


def pack_lines(entries: Sequence[Entry]) -> bytes:
    """Pack the lines of one chunk."""
    lengths = encode_times(array("q", [len(e.line) for e in entries]))
    text = "".join(e.line for e in entries).encode()
    metadata = json.dumps([e.metadata for e in entries]).encode() if any(e.metadata for e in entries) else b""
    packed = _LENGTH.pack(len(lengths)) + lengths + _LENGTH.pack(len(text)) + text + metadata
    return bytes(cramjam.zstd.compress(packed, level=_ZSTD_LEVEL))


def unpack_lines(data: bytes) -> Lines:
    """Unpack lines; raises MalformedError."""
    try:
        unpacked = bytes(cramjam.zstd.decompress(data))
        lengths, at = _part(unpacked, 0)
        text, at = _part(unpacked, at)
        metadata = [tuple((name, value) for name, value in pairs) for pairs in json.loads(unpacked[at:] or b"[]")]
        return Lines(text.decode(), tuple(accumulate(decode_times(lengths))), metadata or None)
    except (cramjam.DecompressionError, ValueError) as error:
        raise MalformedError(f"a chunk of lines: {error}") from error


def searchable(entries: Sequence[Entry]) -> str:
    """Return what the index is made of: lines and the values of their metadata, folded, without NULs.

    FTS5 takes a NUL for the end of a text.
    """
    lines = [e.line for e in entries]
    lines += [value for e in entries for _, value in e.metadata]
    return "\n".join(lines).casefold().replace("\0", "\n")


def _part(data: bytes, at: int) -> tuple[bytes, int]:
    try:
        (length,) = _LENGTH.unpack_from(data, at)
    except struct.error as error:
        raise MalformedError("a chunk that is cut short", at) from error
    end = at + _LENGTH.size + length
    if end > len(data):
        raise MalformedError("a chunk that is cut short", at)
    return data[at + _LENGTH.size : end], end
