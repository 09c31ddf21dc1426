"""The log entries that the pipe benchmark pushes, and counting what arrives: Loki's push as snappy protobuf."""

import re
from collections.abc import Iterator
from itertools import count
from typing import Final

import cramjam

from pipeline.wire.loki import encode_entry, encode_labels, encode_stream

STREAMS: Final = 10
"""Of each request: the lines that an agent reads from so many files at once."""
PAD: Final = b"lorem ipsum dolor sit amet consectetur adipiscing elit sed do eiusmod tempor incididunt ut labore et"
LINE: Final = re.compile(rb" id=(\d+) ")


def requests(lines_per_request: int = 2000) -> Iterator[bytes]:
    """Make push requests without end: lines of about 200 bytes, a nanosecond apart, in ten streams each."""
    for first in count(0, lines_per_request):
        body = b"".join(
            encode_stream(
                labels(stream),
                b"".join(
                    encode_entry(
                        1_790_000_000_000_000_000 + line, b'level=info id=%d path=/api/v1/cart msg="%b"' % (line, PAD)
                    )
                    for line in range(first + stream, first + lines_per_request, STREAMS)
                ),
            )
            for stream in range(STREAMS)
        )
        yield bytes(cramjam.snappy.compress_raw(body))


def labels(stream: int) -> bytes:
    """Return the labels of the n-th stream, as a pod's would be."""
    pod = {
        "cluster": "c1",
        "namespace": "shop",
        "container": "cart",
        "pod": f"cart-7d9f-{stream:05x}",
        "stream": "stdout",
    }
    return encode_labels(pod.items())


def count_lines(body: bytes) -> int:
    """Count the entries of a compressed request."""
    return sum(1 for _ in LINE.finditer(bytes(cramjam.snappy.decompress_raw(body))))


def line_hashes(body: bytes) -> Iterator[int]:
    """Yield the number of every entry, to tell what is lost from what came twice."""
    return (int(found[1]) for found in LINE.finditer(bytes(cramjam.snappy.decompress_raw(body))))
