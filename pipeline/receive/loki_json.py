"""Streams of log entries in JSON: the two shapes of Loki's push requests, and what is done to read them safely.

/loki/api/v1/push  {"streams": [{"stream": {"a": "b"}, "values": [["<ns>", "line", {"metadata": "…"}]]}]}
/api/prom/push     {"streams": [{"labels": "{a=\\"b\\"}", "entries": [{"ts": "<RFC 3339>", "line": "…"}]}]}
"""

import re
from collections.abc import Iterable
from typing import Final

from msgspec import DecodeError, Raw, Struct, ValidationError, field
from msgspec.json import Decoder

from pipeline.receive.errors import BadRequestError
from pipeline.receive.go_json import read_go_time_ns
from pipeline.wire.loki import MAX_TIME_NS, MIN_TIME_NS, Entry, Pairs, Stream, encode_labels
from pipeline.wire.utf8 import as_utf8

_INTEGER: Final = re.compile(r"-?[0-9]{1,19}")


class _Values(Struct, array_like=True):
    time: str
    line: str
    metadata: dict[str, str] | None = None


class _Stream(Struct):
    stream: dict[str, Raw]
    values: list[_Values | None] | None = None


class _Request(Struct):
    streams: list[_Stream] = field(default_factory=list)


class LegacyEntry(Struct):
    """An entry as Go's encoder writes Loki's own type: with a time in RFC 3339."""

    ts: str
    line: str
    structured_metadata: dict[str, str] | None = field(name="structuredMetadata", default=None)


class LegacyStream(Struct):
    """A stream of `/api/prom/push`, and of Clymene's batches."""

    labels: str
    entries: list[LegacyEntry] | None = None


class _LegacyRequest(Struct):
    streams: list[LegacyStream] = field(default_factory=list)


_REQUEST: Final = Decoder(_Request)
_LEGACY_REQUEST: Final = Decoder(_LegacyRequest)
_TEXT: Final = Decoder(str)


def read_json(body: bytes, max_bytes: int, *, legacy: bool) -> list[Stream]:
    """Return the streams of a push request; raises BadRequestError (400, and 413 as `check_json`)."""
    check_json(body, max_bytes)
    try:
        body = as_utf8(body)
        if legacy:
            return legacy_streams(_LEGACY_REQUEST.decode(body).streams)
        return [Stream(_labels(one.stream), _entries(one.values)) for one in _REQUEST.decode(body).streams]
    except ValidationError as error:
        raise BadRequestError(400, f"not a push request: {error}") from error
    except (DecodeError, RecursionError) as error:
        raise BadRequestError(400, f"not JSON: {error}") from error


def legacy_streams(streams: Iterable[LegacyStream]) -> list[Stream]:
    """Return streams as values; raises BadRequestError for a time that is none."""
    return [Stream(one.labels, [_legacy_entry(entry) for entry in one.entries or ()]) for one in streams]


def check_json(body: bytes, max_bytes: int) -> None:
    """Raise BadRequestError for JSON of more entries than there is memory for.

    An entry of ten bytes takes some 250 when it is read: what may have `max_bytes` may have about four times that.
    """
    entries = body.count(b"[") + body.count(b"{")
    if entries > max(1000, max_bytes // 64):
        raise BadRequestError(413, f"up to {entries} entries; {max_bytes // 64} are allowed, so send smaller requests")


def _labels(labels: dict[str, Raw]) -> str:
    # As in Loki, a value that is no text is what stands there: 1.50 stays 1.50.
    texts = ((name, bytes(raw)) for name, raw in labels.items())
    pairs = ((name, _TEXT.decode(raw) if raw[:1] == b'"' else raw.decode()) for name, raw in texts)
    return encode_labels(pairs).decode()


def _entries(values: list[_Values | None] | None) -> list[Entry]:
    return [
        Entry(_time_ns(value.time), value.line.encode(), _pairs(value.metadata))
        for value in values or ()
        if value is not None
    ]


def _time_ns(text: str) -> int:
    if _INTEGER.fullmatch(text) and MIN_TIME_NS <= (time_ns := int(text)) <= MAX_TIME_NS:
        return time_ns
    raise BadRequestError(400, f"not a time in Unix nanoseconds, between 1678 and 2262: {text[:50]!r}")


def _legacy_entry(entry: LegacyEntry) -> Entry:
    return Entry(read_go_time_ns(entry.ts), entry.line.encode(), _pairs(entry.structured_metadata))


def _pairs(metadata: dict[str, str] | None) -> Pairs:
    return tuple(sorted(metadata.items())) if metadata else ()
