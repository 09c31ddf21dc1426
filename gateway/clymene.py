"""Clymene's batches of logs, as its promtail sends them: Go's JSON of Loki's own types.

    {"batch": {"streams": {"<labels>": {"labels": "{a=\\"b\\"}", "entries": [{"ts": "<RFC 3339>", "line": "…"}]}},
               "bytes": 1, "createdAt": "…"}, "tenantID": ""}

Source: Clymene's cmd/promtail/app/client/batch.go, and pkg/logproto/logproto.proto, whose `Batch` is these bytes in
field 1. A batch's streams are a map, so that a stream's own order is all the order there is.
"""

from typing import Final, NamedTuple

from msgspec import DecodeError, Struct, ValidationError, field
from msgspec.json import Decoder

from gateway.refusal import Refusal
from pipeline.receive.errors import BadRequestError
from pipeline.receive.loki_json import LegacyStream, check_json, legacy_streams
from pipeline.receive.loki_push import encode_streams
from pipeline.wire.errors import MalformedError
from pipeline.wire.protobuf import fields
from pipeline.wire.utf8 import as_utf8

_BATCH: Final = 0x0A


class ClymeneBatch(NamedTuple):
    """A batch as an uncompressed `logproto.PushRequest`; `tenant` is empty where none is named."""

    tenant: str
    raw: bytes


class _Streams(Struct):
    streams: dict[str, LegacyStream | None] | None = None


class _ProducerBatch(Struct):
    batch: _Streams
    tenant: str = field(name="tenantID", default="")


_PRODUCER_BATCH: Final = Decoder(_ProducerBatch)


def read_batch(body: bytes, max_bytes: int) -> ClymeneBatch | Refusal:
    """Read a batch in JSON, of so many entries as JSON of `max_bytes` may have."""
    try:
        check_json(body, max_bytes)
        found = _PRODUCER_BATCH.decode(as_utf8(body))
        streams = legacy_streams(one for one in (found.batch.streams or {}).values() if one is not None)
        return ClymeneBatch(found.tenant, encode_streams(streams))
    except BadRequestError as error:
        return Refusal(error.status, error.reason)
    except ValidationError as error:
        return Refusal(400, f"not a batch of Clymene's: {error}")
    except (DecodeError, RecursionError) as error:
        return Refusal(400, f"not JSON: {error}")


def read_message(message: bytes, max_bytes: int) -> ClymeneBatch | Refusal:
    """Read Clymene's `logproto.Batch`, which holds a batch in JSON; `max_bytes` as in `read_batch`."""
    try:
        found = [message[at:end] for tag, _, at, end in fields(message) if tag == _BATCH]
    except MalformedError as error:
        return Refusal(400, f"not a logproto.Batch: {error}")
    # Of a field that stands several times the last one counts, as in every parser.
    return read_batch(found[-1] if found else b"", max_bytes)
