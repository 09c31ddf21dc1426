"""Entries by stream: encoded as they come, and given out as chunks, one a tenant.

Entries of one stream stay in the order they came in; streams with equal labels are one.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from agent.logs.chunk import Chunk
from agent.logs.entry import Entry
from pipeline.wire.loki import encode_entry, encode_labels, encode_stream

TENANT: Final = "__tenant_id__"
"""The label by which a stage says whose an entry is; it goes no further. Source: promtail, client/client.go."""

_NAME: Final = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:.]*", re.ASCII)
_NS_PER_MS: Final = 1_000_000
_MAX_KNOWN: Final = 10_000
"""Label sets that are kept from block to block: a label that is new on every line must not fill the memory."""
MAX_METADATA: Final = 128
MAX_METADATA_BYTES: Final = 64 * 1024
"""Loki's own limits of an entry's structured metadata: beyond them it refuses the line."""


@dataclass(slots=True)
class Stream:
    """What a block has given one stream so far: encoded entries, how many, their first and last times."""

    tenant: str
    labels: bytes
    pieces: list[bytes] = field(default_factory=list)
    items: int = 0
    earliest_ns: int = 0
    latest_ns: int = 0

    def add(self, encoded: bytes, items: int, earliest_ns: int, latest_ns: int) -> None:
        """Take encoded entries."""
        if not self.items:
            self.earliest_ns, self.latest_ns = earliest_ns, latest_ns
        elif earliest_ns < self.earliest_ns:
            self.earliest_ns = earliest_ns
        if latest_ns > self.latest_ns:
            self.latest_ns = latest_ns
        self.pieces.append(encoded)
        self.items += items


class Streams:
    """The streams of one source.

    `last` are labels that every entry carries whatever stages do; `first` those of entries that have no other value
    for them. `dropped` counts structured metadata beyond Loki's limits.
    """

    def __init__(
        self, first: Mapping[str, str], last: Mapping[str, str], dropped: Callable[[int], object], tenant: str = ""
    ) -> None:
        self._first, self._last, self._dropped, self._tenant = first, last, dropped, tenant
        self._known: dict[tuple[tuple[str, str], ...], Stream] = {}
        self._by_text: dict[tuple[str, bytes], Stream] = {}
        self._open: list[Stream] = []

    def add(self, entry: Entry) -> None:
        """Take an entry that has gone through the stages."""
        time_ns = entry.time_ns
        metadata = entry.metadata
        encoded = encode_entry(
            time_ns, entry.line.encode("utf-8", "replace"), self._within(metadata) if metadata else ()
        )
        self.stream(entry.labels).add(encoded, 1, time_ns, time_ns)

    def stream(self, labels: Mapping[str, str]) -> Stream:
        """Return the stream of these labels, to be added to before the next `take`."""
        key = tuple(labels.items())
        stream = self._known.get(key)
        if stream is None:
            stream = self._new(key)
        if not stream.items:
            self._open.append(stream)
        return stream

    def _new(self, key: tuple[tuple[str, str], ...]) -> Stream:
        if len(self._known) >= _MAX_KNOWN:
            self._known.clear()
            self._by_text = {(stream.tenant, stream.labels): stream for stream in self._open}
        labels = {**self._first, **dict(key), **self._last}
        tenant = labels.pop(TENANT, "") or self._tenant
        named = (pair for pair in labels.items() if pair[1] and _NAME.fullmatch(pair[0]))
        text = encode_labels(named)
        stream = self._by_text.setdefault((tenant, text), Stream(tenant, text))
        self._known[key] = stream
        return stream

    def _within(self, metadata: Mapping[str, str]) -> list[tuple[str, str]]:
        pairs, left_bytes = list[tuple[str, str]](), MAX_METADATA_BYTES
        for name, value in metadata.items():
            left_bytes -= len(name.encode()) + len(value.encode())
            if len(pairs) == MAX_METADATA or left_bytes < 0:
                break
            pairs.append((name, value))
        if len(pairs) < len(metadata):
            self._dropped(len(metadata) - len(pairs))
        return pairs

    def take(self, pause_s: float = 0.0) -> list[Chunk]:
        """Return what came since the last time, by tenant; `pause_s` is said with the first of them."""
        by_tenant: dict[str, list[Stream]] = {}
        for stream in self._open:
            if stream.items:
                by_tenant.setdefault(stream.tenant, []).append(stream)
        self._open = []
        chunks = []
        for tenant, streams in by_tenant.items():
            chunks.append(
                Chunk(
                    b"".join([encode_stream(stream.labels, b"".join(stream.pieces)) for stream in streams]),
                    sum(stream.items for stream in streams),
                    min(stream.earliest_ns for stream in streams) // _NS_PER_MS,
                    max(stream.latest_ns for stream in streams) // _NS_PER_MS,
                    tenant,
                    pause_s,
                )
            )
            pause_s = 0.0
            for stream in streams:
                stream.pieces, stream.items = [], 0
        return chunks
