"""Bodies compressed by gzip or deflate, within a bound.

`deflate` is taken in both senses that senders give it: as in RFC 9110 (section 8.4.1.2, with zlib's header) and as Go's
`compress/flate` writes it, without one.
"""

import zlib
from typing import Final

from pipeline.receive.errors import BadRequestError

_GZIP_BITS: Final = 31
_RAW_BITS: Final = -15
_ZLIB_BITS: Final = 15


def inflate(body: bytes, encoding: str, max_bytes: int) -> bytes:
    """Decompress a body of content encoding gzip or deflate; raises BadRequestError (400 or 413)."""
    try:
        if encoding == "gzip":
            return _members(body, max_bytes)
        try:
            return _one(body, _RAW_BITS, max_bytes)[0]
        except zlib.error:
            return _one(body, _ZLIB_BITS, max_bytes)[0]
    except zlib.error as error:
        raise BadRequestError(400, f"not {encoding}: {error}") from error


def _members(body: bytes, max_bytes: int) -> bytes:
    """Decompress a gzip file, which may have several members one behind the other (RFC 1952, section 2.2)."""
    parts: list[bytes] = []
    while body or not parts:
        part, body = _one(body, _GZIP_BITS, max_bytes)
        max_bytes -= len(part)
        parts.append(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _one(body: bytes, bits: int, max_bytes: int) -> tuple[bytes, bytes]:
    """Return what a body holds and what stands behind it."""
    decompressor = zlib.decompressobj(bits)
    # One byte more than may be says that there is more; 0 would mean no bound at all.
    out = decompressor.decompress(body, max_bytes + 1)
    if len(out) > max_bytes:
        raise BadRequestError(413, f"more than {max_bytes} bytes when decompressed")
    if not decompressor.eof:
        raise BadRequestError(400, "the compressed body ends early")
    return out, decompressor.unused_data
