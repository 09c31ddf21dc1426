"""Snappy's raw block format: compress, decompress within a bound, and join blocks without decompressing them.

Source: google/snappy, format_description.txt. A block is a varint with the decompressed length, then elements
(literals, and copies that reach back a number of bytes). Copies are relative and never reach before the block's own
start, so the elements of several blocks, one behind the other, decompress to the blocks' contents joined: only the
length in front has to be added up. This is what lets an ingester join records as bytes (ARCHITECTURE 1).
"""

from collections.abc import Sequence

import cramjam

from pipeline.wire.errors import MalformedError
from pipeline.wire.protobuf import decode_varint, encode_varint

MAX_BLOCK_BYTES = 0xFFFF_FFFF


def compress(data: bytes | bytearray | memoryview) -> bytes:
    """Compress into one raw block."""
    return bytes(cramjam.snappy.compress_raw(data))


def decompressed_bytes(block: bytes) -> int:
    """Read how long the block says it is when decompressed, before any memory is spent on it; raises MalformedError."""
    length, _ = decode_varint(block, 0)
    if length > MAX_BLOCK_BYTES:
        raise MalformedError("snappy: a block of more than 4 GiB", 0)
    return length


def decompress(block: bytes) -> bytes:
    """Decompress a raw block; raises MalformedError. Check `decompressed_bytes` first of what comes from outside."""
    decompressed_bytes(block)
    try:
        return bytes(cramjam.snappy.decompress_raw(block))
    except cramjam.DecompressionError as error:
        raise MalformedError(f"snappy: {error}") from error


def decompress_into(block: bytes, buffer: bytearray) -> memoryview:
    """Decompress a raw block into a buffer that is kept for that, at least as large as `decompressed_bytes` says.

    Memory that is asked for and given back with every block costs as much as decompressing does. Returns the part of
    the buffer that is filled; raises MalformedError.
    """
    size = decompressed_bytes(block)
    try:
        written = cramjam.snappy.decompress_raw_into(block, buffer) if block else -1
    except cramjam.DecompressionError as error:
        raise MalformedError(f"snappy: {error}") from error
    if written != size:
        raise MalformedError(f"snappy: {written} bytes, not {size}")
    return memoryview(buffer)[:size]


def join(blocks: Sequence[bytes]) -> bytes:
    """Return one block that decompresses to the contents of `blocks`, in order, joined."""
    if len(blocks) == 1:
        return blocks[0]
    length, parts = 0, [b""]
    for block in blocks:
        size, behind = decode_varint(block, 0)
        length += size
        parts.append(memoryview(block)[behind:])  # type: ignore[arg-type]  # bytes.join takes any buffer
    parts[0] = encode_varint(length)
    return b"".join(parts)
