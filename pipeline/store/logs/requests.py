"""Reading a push request by stream, and writing what is left of one."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from pipeline.store.index import labels_of
from pipeline.store.logs.entry import MAX_NS
from pipeline.wire import loki
from pipeline.wire.loki import Pairs
from pipeline.wire.remote_write import encode_labels


class New(NamedTuple):
    """An entry as it comes; as a value it is what makes two entries of a stream the same one."""

    time_ns: int
    line: str
    metadata: Pairs


def parse(request: bytes) -> dict[bytes, list[New]]:
    """Return the entries of each stream (by its encoded labels) in order; raises MalformedError.

    Bytes that are not UTF-8 become U+FFFD.
    """
    found: dict[bytes, list[New]] = {}
    for stream in loki.decode(request):
        found.setdefault(_key(stream.labels), []).extend(
            New(max(-MAX_NS, min(e.time_ns, MAX_NS)), e.line.decode("utf-8", "replace"), e.metadata)
            for e in stream.entries
        )
    return {key: entries for key, entries in found.items() if entries}


def encode(streams: Mapping[bytes, Sequence[New]]) -> bytes:
    """Write a request that `parse` reads as this."""
    return b"".join(
        loki.encode_stream(
            loki.encode_labels(labels_of(key)),
            b"".join(loki.encode_entry(e.time_ns, e.line.encode(), e.metadata) for e in entries),
        )
        for key, entries in streams.items()
    )


@lru_cache(4096)
def _key(labels: str) -> bytes:
    return encode_labels(loki.parse_labels(labels))
