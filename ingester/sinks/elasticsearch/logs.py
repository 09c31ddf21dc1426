"""Logs as documents: one an entry, with ECS names.

    {"orchestrator.cluster.name": "c1", "event.dataset": "default", "labels": {"job": "x"}, "log.level": "info",
     "@timestamp": "2026-01-31T12:00:00.123456789Z", "message": "…", "metadata": {"trace_id": "…"}}

What does not change within a stream is encoded once a stream. Bytes of a line that are no UTF-8 become U+FFFD.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from ingester.sinks.elasticsearch.config import ElasticsearchConfig
from ingester.sinks.elasticsearch.documents import Built, Owner, Part, second, to_json
from ingester.sinks.elasticsearch.naming import id_prefix, index_of, ordinals
from pipeline.send.request import Piece
from pipeline.wire import loki, snappy
from pipeline.wire.errors import MalformedError
from pipeline.wire.protobuf import fields

_MAX_KNOWN_BYTES: Final = 16 * 2**20
_VARINT: Final = rb"([\x80-\xff]{0,4}[\x00-\x7f])"
_USUAL: Final = re.compile(rb"\x12%b\x0a[\x00-\x0c]\x08%b(?:\x10%b)?\x12%b" % (_VARINT, _VARINT, _VARINT, _VARINT))
"""An entry as everybody encodes it, up to its line: its size, its time's seconds and nanoseconds, the line's size."""


class _Entry(NamedTuple):
    """One entry: its time as documents have it, without the zone, and the fields that its metadata stands in."""

    time: bytes
    line: bytes
    more: bytes


@dataclass(frozen=True, slots=True)
class _Head:
    """What the documents of a stream have in common: the dataset, and the source's beginning up to the time."""

    dataset: str
    source: bytes
    filled: frozenset[str]
    """The configured fields that its labels fill."""


@dataclass(slots=True)
class LogDocuments:
    """A `Documents` of logs."""

    config: ElasticsearchConfig
    _known: dict[tuple[Owner, bytes], _Head] = field(default_factory=dict)
    _known_bytes: int = 0

    def build(self, piece: Piece) -> Built:
        """Make one document an entry."""
        envelope = piece.envelope
        assert envelope is not None
        created_ms = None if self.config.data_stream else envelope.created_ms
        prefix, numbers = id_prefix(envelope, piece.payload), ordinals(envelope.first_item)
        out: list[bytes] = []
        indices: set[str] = set()
        raw, owner = snappy.decompress(piece.payload), Owner.of(envelope)
        for start, end in _streams(raw):
            head = self._head(owner, _labels(raw, start, end))
            index = index_of(self.config.index_prefix, "logs", head.dataset, created_ms)
            indices.add(index)
            action = b'{"create":{"_index":"%b","_id":"%b' % (index.encode(), prefix)
            source = b'"}}\n' + head.source
            known: dict[bytes, bytes] = {b"": b""}
            for (time, line, more), number in zip(_entries(raw, start, end), numbers, strict=False):
                try:
                    message = to_json(line.decode())
                except UnicodeDecodeError:
                    message = to_json(line.decode(errors="replace"))
                metadata = known.get(more)
                if metadata is None:
                    metadata = known[more] = self._metadata(more, head.filled)
                out.append(b'%b%b%b%bZ","message":%b%b}\n' % (action, number, source, time, message, metadata))
        return Built(out, frozenset(indices))

    def part(self, piece: Piece, numbers: Sequence[int]) -> Part:
        """Return the entries with these numbers, each in its stream."""
        raw, wanted, number, out = snappy.decompress(piece.payload), frozenset(numbers), 0, list[bytes]()
        for start, end in _streams(raw):
            entries: list[bytes] = []
            at = start
            for tag, _, _, behind in fields(raw, start, end):
                if tag == loki.ENTRY:
                    if number in wanted:
                        entries.append(raw[at:behind])
                    number += 1
                at = behind
            if entries:
                out.append(loki.encode_stream(_labels(raw, start, end), b"".join(entries)))
        return Part(snappy.compress(b"".join(out)), len(wanted))

    def _head(self, owner: Owner, labels: bytes) -> _Head:
        known = self._known.get((owner, labels))
        if known is not None:
            return known
        try:
            pairs = dict(loki.parse_labels(labels.decode()))
        except UnicodeDecodeError as error:
            raise MalformedError("labels that are not UTF-8") from error
        dataset, found = self.config.dataset_of(pairs), self._fields(pairs)
        head = _Head(dataset, owner.head(dataset, pairs, found), frozenset(found))
        if self._known_bytes > _MAX_KNOWN_BYTES:
            self._known.clear()
            self._known_bytes = 0
        self._known_bytes += len(labels) + len(head.source) + 500
        self._known[owner, labels] = head
        return head

    def _metadata(self, more: bytes, filled: frozenset[str]) -> bytes:
        metadata = dict(loki.decode_entry(more, 0, len(more)).metadata)
        if not metadata:
            return b""
        found = {name: value for name, value in self._fields(metadata).items() if name not in filled}
        return b"," + to_json({"metadata": metadata, **found})[1:-1]

    def _fields(self, pairs: dict[str, str]) -> dict[str, str]:
        """Return the configured fields that these labels fill; of several labels for one field the first counts."""
        out: dict[str, str] = {}
        for label, name in self.config.fields.items():
            if value := pairs.get(label):
                out.setdefault(name, value)
        return out


def _streams(raw: bytes) -> Iterator[tuple[int, int]]:
    """Return where the streams of a request begin and end."""
    return ((start, end) for tag, _, start, end in fields(raw) if tag == loki.STREAM)


def _labels(raw: bytes, start: int, end: int) -> bytes:
    for tag, _, at, behind in fields(raw, start, end):
        if tag == loki.STREAM_LABELS:
            return raw[at:behind]
    raise MalformedError("a stream without labels", start)


def _entries(raw: bytes, at: int, end: int) -> Iterator[_Entry]:
    """Read a stream's entries, of which each usual one costs one match."""
    whole_of: dict[bytes, bytes] = {}
    while at < end:
        found = _USUAL.match(raw, at, end)
        if found is None or raw[found.end(1) + 1] != found.start(4) - found.end(1) - 3:
            at, entry = _unusual(raw, at, end)
            if entry is not None:
                yield entry
            continue
        size, seconds, nanos, line_size = found.groups(b"\0")
        begin = found.end()
        stop = found.end(1) + _number(size)
        behind = begin + _number(line_size)
        if not behind <= stop <= end:
            raise MalformedError("an entry reaches beyond its stream", at)
        whole = whole_of.get(seconds)
        if whole is None:
            whole = whole_of[seconds] = second(_number(seconds))
        yield _Entry(b"%b.%09d" % (whole, _number(nanos)), raw[begin:behind], raw[behind:stop])
        at = stop


def _unusual(raw: bytes, at: int, end: int) -> tuple[int, _Entry | None]:
    """Read one field of a stream with the codec; returns the position behind it, and the entry if it is one."""
    tag, _, start, behind = next(fields(raw, at, end))
    if tag != loki.ENTRY:
        return behind, None
    entry = loki.decode_entry(raw, start, behind)
    seconds, nanoseconds = divmod(entry.time_ns, loki.NS)
    return behind, _Entry(b"%b.%09d" % (second(seconds), nanoseconds), entry.line, raw[start:behind])


def _number(varint: bytes) -> int:
    """Decode a varint of at most five bytes."""
    packed = int.from_bytes(varint, "little")
    if packed < 0x80:
        return packed
    return (
        packed & 0x7F
        | packed >> 1 & 0x3F80
        | packed >> 2 & 0x1F_C000
        | packed >> 3 & 0xFE0_0000
        | packed >> 4 & 0x7_F000_0000
    )
