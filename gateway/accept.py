"""From bytes and who sent them to what is appended, or to why not: no I/O, no clock, no state but what was read before.

Payloads are passed on as they came wherever they can be: only series without the cluster's label (it is added), or with
another's (left out, or overwritten), and requests larger than a record make new ones.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, NamedTuple

from gateway.refusal import Refusal
from gateway.senders import Sender, Senders
from pipeline.wire import snappy
from pipeline.wire.envelope import METRICS_ENCODING, Envelope, Signal, UnknownVersionError, crc32c, from_headers
from pipeline.wire.errors import MalformedError
from pipeline.wire.remote_write2 import TooLargeError, to_v1
from pipeline.wire.scan import Found, Kind, scan
from pipeline.wire.scan_found import Refused
from pipeline.wire.scan_series import by_label, first_value, halves, repair

Raw = bytes | memoryview
"""A request as it is decompressed: a view is into the caller's scratch memory, and good until the next request."""

HEADER_BYTES: Final = 4096
"""Left for the envelope in a record."""
MAX_LANE: Final = 65_535
MAX_NUMBER: Final = 2**63 - 1
UPGRADE_RETRY_S: Final = 60.0

_WORDS: Final = {
    Kind.FOREIGN: "carry another cluster's label",
    Kind.REPEATED: "have a label twice",
    Kind.NAMELESS: "have no metric name, or a label without a name",
}


@dataclass(frozen=True, slots=True)
class Rules:
    """What is asked of every payload."""

    label: bytes
    default_cluster: str
    overwrite: bool
    max_body_bytes: int
    max_raw_bytes: int
    max_record_bytes: int


class Part(NamedTuple):
    """What becomes one record: `snappy(prometheus.WriteRequest)`, and what its envelope says of it."""

    payload: bytes
    items: int
    raw_bytes: int
    first_item: int
    earliest_ms: int
    latest_ms: int
    crc32c: int


_EMPTY: Final = Part(snappy.compress(b""), 0, 0, 0, 0, 0, crc32c(snappy.compress(b"")))


class Accepted(NamedTuple):
    """One cluster's share of a request: in `parts` where it is larger than a record. `found` is what is accepted."""

    sender: Sender
    found: Found
    parts: tuple[Part, ...]
    refused: tuple[Refused, ...]


class AcceptedBatch(NamedTuple):
    """An agent's batch with its envelope; a gap record has no parts."""

    envelope: Envelope
    accepted: Accepted | None


def accept_write(
    payload: bytes,
    sender: Sender | None,
    senders: Senders,
    rules: Rules,
    *,
    version: int = 1,
    scratch: bytearray | None = None,
) -> tuple[Accepted, ...] | Refusal:
    """Judge a remote write request (`version` 1 or 2), snappy-compressed. `sender` is None where nobody is asked.

    `scratch` is memory to decompress into, if the request fits; asking for it each time costs as much as decompressing.
    """
    raw = _decompress(payload, rules, scratch)
    if isinstance(raw, Refusal):
        return raw
    try:
        if version == 2:
            raw, payload = to_v1(bytes(raw), max_bytes=rules.max_raw_bytes), b""
        return _accept(raw, payload, sender, senders, rules)
    except TooLargeError as error:
        return Refusal(413, str(error))
    except MalformedError as error:
        return Refusal(400, str(error))


def accept_raw(raw: bytes, sender: Sender | None, senders: Senders, rules: Rules) -> tuple[Accepted, ...] | Refusal:
    """Judge a `prometheus.WriteRequest` that came uncompressed."""
    try:
        return _accept(raw, b"", sender, senders, rules)
    except MalformedError as error:
        return Refusal(400, str(error))


def accept_batch(
    headers: Iterable[tuple[str, bytes]],
    payload: bytes,
    sender: Sender | None,
    senders: Senders,
    rules: Rules,
    *,
    scratch: bytearray | None = None,
) -> AcceptedBatch | Refusal:
    """Judge an agent's batch: the envelope against who sends it, the payload against the envelope.

    The refusal's status: 403 another cluster, 503 send again later, else 400: this batch can never be taken.
    """
    try:
        envelope = from_headers(headers)
    except UnknownVersionError as error:
        return Refusal(503, f"{error}: upgrade this gateway", UPGRADE_RETRY_S)
    except MalformedError as error:
        return Refusal(400, str(error))
    if sender is None:
        sender = senders.of_cluster(envelope.cluster or rules.default_cluster)
    refusal = _check_envelope(envelope, payload, sender, rules)
    if refusal is not None:
        return refusal
    if envelope.gap_to is not None:
        return AcceptedBatch(envelope, None)
    raw = _decompress(payload, rules, scratch)
    if isinstance(raw, Refusal):
        return Refusal(400, raw.reason)
    try:
        found = scan(raw, rules.label, sender.value, sender.known)
        if found.items != envelope.items:
            return Refusal(400, f"the envelope says {envelope.items} items, the payload has {found.items}")
        accepted = _accept_cluster(raw, payload, found, sender, rules)
    except MalformedError as error:
        return Refusal(400, str(error))
    if isinstance(accepted, Refusal):
        return accepted
    if not accepted.parts:
        # All of it was refused; the record without items keeps the lane's sequence whole.
        accepted = accepted._replace(parts=(_EMPTY,))
    if len(accepted.parts) > 1 and envelope.parts > 1:
        return Refusal(400, "a part of a batch that is larger than a record of this gateway's log: send smaller parts")
    return AcceptedBatch(envelope, accepted)


def show_refused(refused: Iterable[Refused], cluster: str) -> str:
    """Say what was refused while the rest was accepted."""
    return "; ".join(
        f"{part.groups} series ({part.items} samples) refused: they {_WORDS[part.kind]}"
        f"{f', the sender is {cluster}' if part.kind is Kind.FOREIGN else ''}: {part.example}"
        for part in refused
    )


def digest_of(payload: bytes, cluster: str, tenant: str) -> str:
    """Return what a foreign sender's retry has in common with the first try: byte for byte the same request."""
    # SHA-256 is what processors have instructions for: half of what blake2b costs.
    state = sha256(payload)
    state.update(b"\0%s\0%s" % (cluster.encode(), tenant.encode()))
    return state.hexdigest()[:32]


def _check_envelope(envelope: Envelope, payload: bytes, sender: Sender, rules: Rules) -> Refusal | None:
    if envelope.cluster and envelope.cluster != sender.cluster and not rules.overwrite:
        return Refusal(403, f"the batch is of cluster {envelope.cluster}, the sender is {sender.cluster}")
    if envelope.signal is not Signal.METRICS:
        return Refusal(400, f"signal {envelope.signal} is not supported by this gateway: it takes metrics")
    counts = (envelope.sequence, envelope.items, envelope.lane_items, envelope.first_item, envelope.gap_to or 0)
    if not (0 <= envelope.lane <= MAX_LANE and 0 <= envelope.epoch < 2**64 and 0 <= envelope.part < envelope.parts):
        return Refusal(400, f"lane {envelope.lane}, epoch {envelope.epoch:x}, part {envelope.part} of {envelope.parts}")
    if not all(0 <= count <= MAX_NUMBER for count in counts):
        return Refusal(400, "a sequence or a number of items that cannot be")
    if envelope.gap_to is not None:
        if payload or envelope.gap_to < envelope.sequence:
            return Refusal(400, "a gap record with a payload, or that ends before it begins")
        return None
    if envelope.encoding != METRICS_ENCODING:
        return Refusal(400, f"encoding {envelope.encoding!r} is not supported: {METRICS_ENCODING} is")
    if crc32c(payload) != envelope.crc32c:
        return Refusal(400, "the payload's CRC32C is not the envelope's")
    return None


def _decompress(payload: bytes, rules: Rules, scratch: bytearray | None) -> Raw | Refusal:
    try:
        size = snappy.decompressed_bytes(payload)
        if size > rules.max_raw_bytes:
            return Refusal(413, f"{size} bytes when decompressed; {rules.max_raw_bytes} are allowed")
        if scratch is None or size > len(scratch):
            return snappy.decompress(payload)
        return snappy.decompress_into(payload, scratch)
    except MalformedError as error:
        return Refusal(400, str(error))


def _accept(
    raw: Raw, payload: bytes, sender: Sender | None, senders: Senders, rules: Rules
) -> tuple[Accepted, ...] | Refusal:
    """Judge a whole request; `payload` is its compressed form, empty where there is none. Raises MalformedError."""
    if sender is not None:
        return _of_one(_accept_cluster(raw, payload, scan(raw, rules.label, sender.value, sender.known), sender, rules))
    cluster = first_value(raw, rules.label).decode(errors="replace") or rules.default_cluster
    first = senders.of_cluster(cluster)
    found = scan(raw, rules.label, first.value, first.known)
    if all(one.kind is not Kind.FOREIGN for one in found.exceptions) and (
        cluster == rules.default_cluster or all(one.kind is not Kind.UNLABELLED for one in found.exceptions)
    ):
        return _of_one(_accept_cluster(raw, payload, found, first, rules))
    out: list[Accepted] = []
    for value, part in by_label(bytes(raw), rules.label, rules.default_cluster.encode()).items():
        owner = senders.of_cluster(value.decode())
        accepted = _accept_cluster(part, b"", scan(part, rules.label, owner.value, owner.known), owner, rules)
        if isinstance(accepted, Refusal):
            return accepted
        out.append(accepted)
    return tuple(out)


def _of_one(accepted: Accepted | Refusal) -> tuple[Accepted, ...] | Refusal:
    return accepted if isinstance(accepted, Refusal) else (accepted,)


def _accept_cluster(raw: Raw, payload: bytes, found: Found, sender: Sender, rules: Rules) -> Accepted | Refusal:
    refused: tuple[Refused, ...] = ()
    if found.exceptions:
        raw, refused = repair(bytes(raw), found.exceptions, rules.label, sender.value, overwrite=rules.overwrite)
        payload = b""
        # What was made is proven like what came: by reading it.
        found = scan(raw, rules.label, sender.value, sender.known)
        if found.exceptions:
            raise MalformedError("series that cannot be labelled", found.exceptions[0].start)
    if not raw:
        return Accepted(sender, found, (), refused)
    payload = payload or snappy.compress(raw)
    limit = rules.max_record_bytes - HEADER_BYTES
    if len(payload) <= limit:
        part = Part(payload, found.items, len(raw), 0, found.earliest_ms, found.latest_ms, crc32c(payload))
        return Accepted(sender, found, (part,), refused)
    parts = _split(bytes(raw), limit, sender, rules)
    return parts if isinstance(parts, Refusal) else Accepted(sender, found, parts, refused)


def _split(raw: bytes, limit: int, sender: Sender, rules: Rules) -> tuple[Part, ...] | Refusal:
    """Split at series boundaries until each part fits; the same request is always split in the same way."""
    waiting, parts, first_item = [raw], [], 0
    while waiting:
        piece = waiting.pop()
        payload = snappy.compress(piece)
        if len(payload) > limit:
            pair = halves(piece)
            if pair is None:
                return Refusal(413, f"a series of {len(payload)} bytes is larger than a record of the log may be")
            waiting += reversed(pair)
            continue
        found = scan(piece, rules.label, sender.value, sender.known)
        parts.append(
            Part(payload, found.items, len(piece), first_item, found.earliest_ms, found.latest_ms, crc32c(payload))
        )
        first_item += found.items
    return tuple(parts)
