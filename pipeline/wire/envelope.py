"""The envelope: what the pipeline knows of a batch, carried in record headers beside the untouched payload.

Header values are decimal or plain text, so that any Kafka tool shows them. A reader ignores headers it does not know; a
record whose format version it does not know pauses the partition with an alarm and is never skipped (ARCHITECTURE,
decision 2).

Batches of one lane are numbered without gaps from 0 in each epoch, and carry how many items the lane held before them.
A reader that finds `sequence` 7 behind 4 therefore knows that two batches are missing, and how many items they held.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Final

from crc32c import crc32c as crc32c

from pipeline.wire.errors import MalformedError

FORMAT_VERSION: Final = 1
VERSION_HEADER: Final = "pronoia"

METRICS_ENCODING: Final = "snappy(prometheus.WriteRequest)"
LOGS_ENCODING: Final = "snappy(logproto.PushRequest)"

Headers = tuple[tuple[str, bytes], ...]


class Signal(StrEnum):
    """What a batch carries; also the name of its topic behind the prefix."""

    METRICS = "metrics"
    LOGS = "logs"
    TRACES = "traces"


class Origin(StrEnum):
    """Who numbered the batch: an agent's durable buffer, the gateway for a foreign sender, or the pipeline itself."""

    AGENT = "agent"
    FOREIGN = "foreign"
    DERIVED = "derived"


class UnknownVersionError(MalformedError):
    """The record was written by a newer, incompatible Pronoia: upgrade this reader; the record must not be skipped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """One batch, or one part of a batch that was too large for a record.

    `items` are samples, log entries or spans of this part; `lane_items` are those of the lane before the whole batch.
    `first_item` is the index of this part's first item within its batch. A gap record (`gap_to` set) carries no
    payload: it stands for the batches `sequence` to `gap_to` that were evicted from a full buffer, with `items` in all.
    """

    signal: Signal
    encoding: str
    cluster: str
    agent: str
    epoch: int
    lane: int
    sequence: int
    items: int
    raw_bytes: int
    created_ms: int
    crc32c: int
    tenant: str = ""
    part: int = 0
    parts: int = 1
    first_item: int = 0
    lane_items: int = 0
    earliest_ms: int = 0
    latest_ms: int = 0
    origin: Origin = Origin.AGENT
    gap_to: int | None = None
    digest: str = ""
    traceparent: str = ""


# A field is left out of the headers when it holds its default.
_FIELDS: Final = tuple((f.name, f.default) for f in fields(Envelope))
_TEXT: Final = frozenset({"encoding", "cluster", "agent", "tenant", "digest", "traceparent"})
_HEX: Final = frozenset({"epoch", "crc32c"})


def to_headers(envelope: Envelope) -> Headers:
    """Encode an envelope as record headers."""
    out = [(VERSION_HEADER, b"%d" % FORMAT_VERSION)]
    for name, default in _FIELDS:
        value = getattr(envelope, name)
        if value == default:
            continue
        out.append((name, b"%x" % value if name in _HEX else str(value).encode()))
    return tuple(out)


def from_headers(headers: Iterable[tuple[str, bytes]]) -> Envelope:
    """Decode record headers; raises UnknownVersionError, or MalformedError naming what is missing or wrong."""
    found = dict(headers)
    version = found.get(VERSION_HEADER)
    if version is None:
        raise MalformedError(f"no {VERSION_HEADER} header: not a record of ours")
    if version != b"%d" % FORMAT_VERSION:
        raise UnknownVersionError(f"envelope version {version!r}; this reader knows version {FORMAT_VERSION}")
    values: dict[str, object] = {}
    for name, _ in _FIELDS:
        raw = found.get(name)
        if raw is None:
            continue
        try:
            values[name] = _decode(name, raw)
        except ValueError as error:
            raise MalformedError(f"header {name}: {error}") from error
    try:
        return Envelope(**values)  # type: ignore[arg-type]  # the names and types come from the dataclass itself
    except TypeError as error:
        raise MalformedError(f"a header is missing: {error}") from error


def _decode(name: str, raw: bytes) -> object:
    if name in _TEXT:
        return raw.decode()
    if name in _HEX:
        return int(raw, 16)
    if name == "signal":
        return Signal(raw.decode())
    if name == "origin":
        return Origin(raw.decode())
    return int(raw)


def lane_of(text: str, lanes: int) -> int:
    """Return the lane of a target or file: a stable hash of its identity, modulo the cluster's number of lanes."""
    return int(crc32c(text.encode())) % lanes


def partition_of(cluster: str, lane: int, partitions: int) -> int:
    """Return the partition of a cluster's lane, whichever agent writes it (ARCHITECTURE 2)."""
    # Lanes are consecutive numbers: adding them to the cluster's hash spreads a cluster evenly over the partitions.
    return (int(crc32c(cluster.encode())) + lane) % partitions
