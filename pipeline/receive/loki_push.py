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

from pipeline.receive.errors import BadRequestError
from pipeline.receive.inflate import inflate
from pipeline.receive.loki_json import read_json
from pipeline.wire import snappy
from pipeline.wire.errors import MalformedError
from pipeline.wire.loki import Stream, decode, encode_entries, encode_stream

PUSH_PATHS: Final = ("/loki/api/v1/push", "/api/prom/push")

_MEDIA: Final = re.compile(r"[\w!#$&^.+-]+/[\w!#$&^.+-]+")
_PARAMETER: Final = re.compile(r"[\w!#$&^.+-]+=(?:\"[^\"]*\"|[^\s\"]+)")
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
        return encode_streams(read_json(body, max_bytes, legacy=form.body is Body.LEGACY_JSON))
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
        return read_json(_inflated(body, form, max_bytes), max_bytes, legacy=form.body is Body.LEGACY_JSON)
    raw = read_request(body, form, max_bytes)
    try:
        return list(decode(raw))
    except MalformedError as error:
        raise _not_protobuf(form, f"not a logproto.PushRequest: {error}") from error


def encode_streams(streams: Iterable[Stream]) -> bytes:
    """Encode streams as an uncompressed `logproto.PushRequest`; those without entries are left out."""
    return b"".join(
        encode_stream(stream.labels.encode(), encode_entries(stream.entries)) for stream in streams if stream.entries
    )


def _inflated(body: bytes, form: Form, max_bytes: int) -> bytes:
    return inflate(body, form.encoding, max_bytes) if form.encoding else body


def _not_protobuf(form: Form, reason: str) -> BadRequestError:
    media = form.content_type.partition(";")[0].strip().lower()
    if media == "application/x-protobuf":
        return BadRequestError(400, reason)
    reason = f"content type {form.content_type!r} is read as application/x-protobuf, and that it is not: {reason}"
    return BadRequestError(415, reason)
