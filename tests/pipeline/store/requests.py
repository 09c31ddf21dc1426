"""Writing remote write requests for tests."""

import struct

from pipeline.wire.remote_write import STALE_NAN, encode_labels, encode_sample, encode_series

Sample = tuple[int, float | bytes]


def series(name: str, *samples: Sample, **labels: str) -> bytes:
    """Encode one series with samples of (timestamp in milliseconds, value or its eight bytes)."""
    key = encode_labels(sorted({"__name__": name, **labels}.items()))
    return encode_series(key + b"".join(encode_sample(bits(value), at_ms) for at_ms, value in samples))


def bits(value: float | bytes) -> bytes:
    """Return the eight bytes of a double."""
    return value if isinstance(value, bytes) else struct.pack("<d", value)


STALE = STALE_NAN
