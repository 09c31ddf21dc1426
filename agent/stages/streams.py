"""Entries by stream: encoded as they come, and given out as chunks, one a tenant.

Entries of one stream stay in the order they came in; streams with equal labels are one.
"""

import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Final

from agent.logs.chunk import Chunk
from agent.logs.entry import Entry
from agent.stages.encode import encode_at
from agent.stages.lines import Encode
from agent.stages.longest import Shorten
from pipeline.wire.loki import STREAM, STREAM_LABELS, encode_labels, encode_metadata
from pipeline.wire.protobuf import encode_bytes, encode_varint

TENANT: Final = "__tenant_id__"
"""The label by which a stage says whose an entry is; it goes no further. Source: promtail, client/client.go."""

_NAME: Final = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:.]*", re.ASCII)
_STREAM: Final = bytes([STREAM])
_NS_PER_MS: Final = 1_000_000
_MIN_NS, _MAX_NS = -(2**63), 2**63 - 1
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
    is_open: bool = False

    def encoded(self) -> list[bytes]:
        """Return the parts of a `streams` field of a request: see `pipeline.wire.loki.encode_stream`."""
        labels = encode_bytes(STREAM_LABELS, self.labels)
        return [_STREAM, encode_varint(len(labels) + sum(map(len, self.pieces))), labels, *self.pieces]

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
    for them. `dropped` counts structured metadata beyond Loki's limits. What is longer than `max_bytes`, `shorten` cuts
    or drops.
    """

    def __init__(
        self,
        first: Mapping[str, str],
        last: Mapping[str, str],
        dropped: Callable[[int], object],
        tenant: str = "",
        encode: Encode = encode_at,
        max_bytes: int = sys.maxsize,
        shorten: Shorten = bytes,
    ) -> None:
        self._encode, self._max_bytes, self._shorten = encode, max_bytes, shorten
        self._first, self._last, self._dropped, self._tenant = first, last, dropped, tenant
        self._known: dict[tuple[tuple[str, str], ...], Stream] = {}
        self._by_text: dict[tuple[str, bytes], Stream] = {}
        self._open: list[Stream] = []
        self._last_labels: Mapping[str, str] | None = None
        self._last_stream = Stream("", b"")

    def add(self, entry: Entry) -> None:
        """Take an entry that has gone through the stages."""
        time_ns = entry.time_ns
        metadata = entry.metadata
        line = entry.line.encode("utf-8", "replace")
        if len(line) > self._max_bytes:
            shortened = self._shorten(line)
            if shortened is None:
                return
            line = shortened
        pairs = encode_metadata(self.within(metadata, 1).items()) if metadata else b""
        stream = self.stream(entry.labels)
        if _MIN_NS <= time_ns <= _MAX_NS:
            stream.add(self._encode(time_ns, line, pairs), 1, time_ns, time_ns)
        else:
            stream.add(encode_at(time_ns, line, pairs), 1, time_ns, time_ns)

    def stream(self, labels: Mapping[str, str]) -> Stream:
        """Return the stream of these labels, to be added to before the next `take`."""
        if labels == self._last_labels:
            # Lines that follow one another are mostly of one stream.
            stream = self._last_stream
        else:
            key = tuple(labels.items())
            known = self._known.get(key)
            stream = self._new(key) if known is None else known
            self._last_labels, self._last_stream = dict(labels), stream
        if not stream.is_open:
            stream.is_open = True
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

    def within(self, metadata: Mapping[str, str], lines: int) -> Mapping[str, str]:
        """Return what Loki takes of an entry's metadata; the rest is counted as dropped, for so many lines."""
        kept, left_bytes = dict[str, str](), MAX_METADATA_BYTES
        for name, value in metadata.items():
            left_bytes -= len(name.encode()) + len(value.encode())
            if len(kept) == MAX_METADATA or left_bytes < 0:
                break
            kept[name] = value
        if len(kept) < len(metadata):
            self._dropped((len(metadata) - len(kept)) * lines)
        return kept

    def take(self, pause_s: float = 0.0) -> list[Chunk]:
        """Return what came since the last time, by tenant; `pause_s` is said with the first of them."""
        by_tenant: dict[str, list[Stream]] = {}
        for stream in self._open:
            stream.is_open = False
            if stream.items:
                by_tenant.setdefault(stream.tenant, []).append(stream)
        self._open = []
        chunks = []
        for tenant, streams in by_tenant.items():
            chunks.append(
                Chunk(
                    b"".join(chain.from_iterable(map(Stream.encoded, streams))),
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
