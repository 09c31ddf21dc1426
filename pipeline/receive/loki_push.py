"""Loki's push API: what a request's body means. Pure; the agent's listener and the gateway's share it.

    form = body_form(path, content_type, content_encoding)
    read_request(body, form, max_bytes)    # bytes of a logproto.PushRequest, to be carried on
    read_streams(body, form, max_bytes)    # the same as values

Source: Loki's HTTP API ("Ingest logs"), and of what it leaves open what Loki's pkg/loghttp takes: `/loki/api/v1/push`
and, older, `/api/prom/push`, which differ in their JSON only. Whatever is not JSON is a snappy block of protobuf.

Where Loki reads more generously than JSON allows we do too: labels' values may be numbers. Bytes that are not UTF-8
become U+FFFD in JSON: one garbled line must not cost the others. A `service_name` that Loki makes up of other labels is
left for the Loki at the end.
"""

import re
from collections.abc import Iterable
from enum import Enum
from typing import Final, NamedTuple

from msgspec import DecodeError, Raw, Struct, ValidationError, field
from msgspec.json import Decoder

from pipeline.receive.errors import BadRequestError
from pipeline.receive.go_json import read_go_time_ns
from pipeline.receive.inflate import inflate
from pipeline.wire import snappy
from pipeline.wire.errors import MalformedError
from pipeline.wire.loki import (
    MAX_TIME_NS,
    MIN_TIME_NS,
    Entry,
    Stream,
    decode,
    encode_entry,
    encode_labels,
    encode_stream,
)

PUSH_PATHS: Final = ("/loki/api/v1/push", "/api/prom/push")

_MEDIA: Final = re.compile(r"[\w!#$&^.+-]+/[\w!#$&^.+-]+")
_PARAMETER: Final = re.compile(r"[\w!#$&^.+-]+=(?:\"[^\"]*\"|[^\s\"]+)")
_INTEGER: Final = re.compile(r"-?[0-9]{1,19}")
_ENCODINGS: Final = ("", "identity", "snappy", "gzip", "deflate")


class Body(Enum):
    """How a body says its streams."""

    JSON = "JSON"
    LEGACY_JSON = "JSON of /api/prom/push"
    PROTOBUF = "snappy-compressed protobuf"


class Form(NamedTuple):
    """What a request's head says of its body; `encoding` is gzip, deflate, or empty where that is all."""

    body: Body
    encoding: str
    content_type: str

    @property
    def is_block(self) -> bool:
        """Whether the body itself is a snappy block of a `logproto.PushRequest`."""
        return self.body is Body.PROTOBUF and not self.encoding


class _Values(Struct, array_like=True):
    time: str
    line: str
    metadata: dict[str, str] = field(default_factory=dict)


class _Stream(Struct):
    stream: dict[str, Raw]
    values: list[_Values | None] | None = None


class _Request(Struct):
    streams: list[_Stream] = field(default_factory=list)


class LegacyEntry(Struct):
    """An entry as Go's encoder writes Loki's own type: with a time in RFC 3339."""

    ts: str
    line: str
    structured_metadata: dict[str, str] = field(name="structuredMetadata", default_factory=dict)


class LegacyStream(Struct):
    """A stream of `/api/prom/push`, and of Clymene's batches."""

    labels: str
    entries: list[LegacyEntry] | None = None


class _LegacyRequest(Struct):
    streams: list[LegacyStream] = field(default_factory=list)


_REQUEST: Final = Decoder(_Request)
_LEGACY_REQUEST: Final = Decoder(_LegacyRequest)
_TEXT: Final = Decoder(str)


def body_form(path: str, content_type: str, content_encoding: str) -> Form:
    """Return what a request's path and headers (empty where missing) say; raises BadRequestError (400 or 415)."""
    media, *parameters = (part.strip() for part in content_type.split(";"))
    if not _MEDIA.fullmatch(media) or not all(_PARAMETER.fullmatch(one) for one in parameters if one):
        raise BadRequestError(400, f"content type {content_type!r} cannot be read")
    encoding = content_encoding.strip().lower()
    if encoding not in _ENCODINGS:
        raise BadRequestError(415, f"content encoding {content_encoding!r} is not accepted: gzip, deflate, snappy are")
    body = Body.PROTOBUF
    if media.lower() == "application/json":
        body = Body.JSON if "/loki/api/v1" in path.lower() else Body.LEGACY_JSON
    return Form(body, encoding if encoding in ("gzip", "deflate") else "", content_type)


def read_request(body: bytes, form: Form, max_bytes: int) -> bytes:
    """Return a request as an uncompressed `logproto.PushRequest` of at most `max_bytes`; raises BadRequestError.

    Of a protobuf body these are the sender's own bytes, unread; of JSON they are well-formed.
    """
    body = _inflated(body, form, max_bytes)
    if form.body is not Body.PROTOBUF:
        return encode_streams(_read_json(body, form))
    try:
        size = snappy.decompressed_bytes(body)
        if size > max_bytes:
            raise BadRequestError(413, f"{size} bytes when decompressed; {max_bytes} are allowed")
        return snappy.decompress(body)
    except MalformedError as error:
        raise _not_protobuf(form, str(error)) from error


def read_streams(body: bytes, form: Form, max_bytes: int) -> list[Stream]:
    """Return a request's streams in order; raises BadRequestError. Labels are the sender's text, and may be none."""
    if form.body is not Body.PROTOBUF:
        return _read_json(_inflated(body, form, max_bytes), form)
    raw = read_request(body, form, max_bytes)
    try:
        return list(decode(raw))
    except MalformedError as error:
        raise _not_protobuf(form, f"not a logproto.PushRequest: {error}") from error


def encode_streams(streams: Iterable[Stream]) -> bytes:
    """Encode streams as an uncompressed `logproto.PushRequest`; those without entries are left out."""
    return b"".join(
        encode_stream(stream.labels.encode(), b"".join([encode_entry(*entry) for entry in stream.entries]))
        for stream in streams
        if stream.entries
    )


def legacy_streams(streams: Iterable[LegacyStream]) -> list[Stream]:
    """Return streams as values; raises BadRequestError for a time that is none."""
    return [Stream(one.labels, [_legacy_entry(entry) for entry in one.entries or ()]) for one in streams]


def valid_utf8(body: bytes) -> bytes:
    """Return a body with U+FFFD for what is not UTF-8 in it."""
    try:
        body.decode()
    except UnicodeDecodeError:
        return body.decode(errors="replace").encode()
    return body


def _inflated(body: bytes, form: Form, max_bytes: int) -> bytes:
    return inflate(body, form.encoding, max_bytes) if form.encoding else body


def _not_protobuf(form: Form, reason: str) -> BadRequestError:
    media = form.content_type.partition(";")[0].strip().lower()
    if media == "application/x-protobuf":
        return BadRequestError(400, reason)
    reason = f"content type {form.content_type!r} is read as application/x-protobuf, and that it is not: {reason}"
    return BadRequestError(415, reason)


def _read_json(body: bytes, form: Form) -> list[Stream]:
    try:
        body = valid_utf8(body)
        if form.body is Body.LEGACY_JSON:
            return legacy_streams(_LEGACY_REQUEST.decode(body).streams)
        return [Stream(_labels(one.stream), _entries(one.values)) for one in _REQUEST.decode(body).streams]
    except ValidationError as error:
        raise BadRequestError(400, f"not a push request: {error}") from error
    except (DecodeError, RecursionError) as error:
        raise BadRequestError(400, f"not JSON: {error}") from error


def _labels(labels: dict[str, Raw]) -> str:
    # As in Loki, a value that is no text is what stands there: 1.50 stays 1.50.
    texts = ((name, bytes(raw)) for name, raw in labels.items())
    pairs = ((name, _TEXT.decode(raw) if raw[:1] == b'"' else raw.decode()) for name, raw in texts)
    return encode_labels(pairs).decode()


def _entries(values: list[_Values | None] | None) -> list[Entry]:
    return [
        Entry(_time_ns(value.time), value.line.encode(), tuple(sorted(value.metadata.items())))
        for value in values or ()
        if value is not None
    ]


def _time_ns(text: str) -> int:
    if _INTEGER.fullmatch(text) and MIN_TIME_NS <= (time_ns := int(text)) <= MAX_TIME_NS:
        return time_ns
    raise BadRequestError(400, f"not a time in Unix nanoseconds, between 1678 and 2262: {text[:50]!r}")


def _legacy_entry(entry: LegacyEntry) -> Entry:
    metadata = tuple(sorted(entry.structured_metadata.items()))
    return Entry(read_go_time_ns(entry.ts), entry.line.encode(), metadata)
