"""From bytes and who sent them to what is appended, or to why not: no I/O, no clock, no state but what was read before.

Payloads are passed on as they came wherever they can be: only series and streams without the cluster's label (it is
added), or with another's (left out, or overwritten), lines that are not UTF-8, and requests larger than a record make
new ones. Agents' batches are judged in `gateway.batches`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, NamedTuple

from gateway.codec import METRICS, Codec, Findings, Raw
from gateway.refusal import Refusal
from gateway.senders import Sender, Senders
from pipeline.wire import snappy
from pipeline.wire.envelope import crc32c
from pipeline.wire.errors import MalformedError
from pipeline.wire.remote_write2 import TooLargeError, to_v1
from pipeline.wire.scan_found import Kind, Refused

HEADER_BYTES: Final = 4096
"""Left for the envelope in a record."""

_WORDS: Final = {
    Kind.FOREIGN: "carry another cluster's label",
    Kind.REPEATED: "have a label twice",
    Kind.NAMELESS: "have no metric name, or a label without a name",
    Kind.UNREADABLE: "have labels that cannot be read",
    Kind.MISTIMED: "have an entry without a time between 1678 and 2262",
    Kind.OVERSIZED: "have an entry that is larger than a record of the log may be",
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
    """What becomes one record: a payload in its signal's encoding, and what its envelope says of it."""

    payload: bytes
    items: int
    raw_bytes: int
    first_item: int
    earliest_ms: int
    latest_ms: int
    crc32c: int


class Accepted(NamedTuple):
    """One cluster's share of a request: in `parts` where it is larger than a record. `found` is what is accepted."""

    codec: Codec
    sender: Sender
    found: Findings
    parts: tuple[Part, ...]
    refused: tuple[Refused, ...]

    @property
    def items(self) -> int:
        """How many items the parts hold."""
        return sum(part.items for part in self.parts)


def accept_write(
    payload: bytes, sender: Sender | None, senders: Senders, rules: Rules, *, scratch: bytearray | None = None
) -> tuple[Accepted, ...] | Refusal:
    """Judge a remote write 2.0 request, snappy-compressed; it becomes one of 1.0, which is what is carried."""
    raw = decompress(payload, rules, scratch)
    if isinstance(raw, Refusal):
        return raw
    try:
        return accept_raw(METRICS, to_v1(bytes(raw), max_bytes=rules.max_raw_bytes), sender, senders, rules)
    except TooLargeError as error:
        return Refusal(413, str(error))
    except MalformedError as error:
        return Refusal(400, str(error))


def accept_block(
    codec: Codec,
    payload: bytes,
    sender: Sender | None,
    senders: Senders,
    rules: Rules,
    *,
    scratch: bytearray | None = None,
) -> tuple[Accepted, ...] | Refusal:
    """Judge a request in its signal's encoding: a snappy block. `sender` is None where nobody is asked.

    `scratch` is memory to decompress into, if the request fits; asking for it each time costs as much as decompressing.
    """
    raw = decompress(payload, rules, scratch)
    if isinstance(raw, Refusal):
        return raw
    return accept_raw(codec, raw, sender, senders, rules, payload)


def accept_raw(
    codec: Codec, raw: Raw, sender: Sender | None, senders: Senders, rules: Rules, payload: bytes = b""
) -> tuple[Accepted, ...] | Refusal:
    """Judge a request that is not compressed; `payload` is its compressed form where there is one."""
    try:
        return _accept(codec, raw, payload, sender, senders, rules)
    except MalformedError as error:
        return Refusal(400, str(error))


def show_refused(accepted: Accepted) -> str:
    """Say what was refused while the rest was accepted."""
    codec, cluster = accepted.codec, accepted.sender.cluster
    return "; ".join(
        f"{part.groups} {codec.groups} ({part.items} {codec.items}) refused: they {_WORDS[part.kind]}"
        f"{f', the sender is {cluster}' if part.kind is Kind.FOREIGN else ''}: {part.example}"
        for part in accepted.refused
    )


def show_all_refused(judged: Iterable[Accepted]) -> str:
    """Say what was refused of all clusters' shares."""
    return "; ".join(show_refused(one) for one in judged if one.refused)


def digest_of(payload: bytes, cluster: str, tenant: str) -> str:
    """Return what a foreign sender's retry has in common with the first try: byte for byte the same request."""
    # SHA-256 is what processors have instructions for: half of what blake2b costs.
    state = sha256(payload)
    state.update(b"\0%s\0%s" % (cluster.encode(), tenant.encode()))
    return state.hexdigest()[:32]


def decompress(payload: bytes, rules: Rules, scratch: bytearray | None) -> Raw | Refusal:
    """Return what a snappy block holds, in `scratch` where it fits, or why it cannot be taken."""
    try:
        size = snappy.decompressed_bytes(payload)
        if size > rules.max_raw_bytes:
            return Refusal(413, f"{size} bytes when decompressed; {rules.max_raw_bytes} are allowed")
        if scratch is None or size > len(scratch):
            return snappy.decompress(payload)
        return snappy.decompress_into(payload, scratch)
    except MalformedError as error:
        return Refusal(400, str(error))


def look(codec: Codec, raw: Raw, sender: Sender, rules: Rules) -> Findings:
    """Scan for what is not the sender's; raises MalformedError."""
    return codec.scan(raw, rules.label, sender.value, sender.known[codec.signal])


def accept_cluster(
    codec: Codec, raw: Raw, payload: bytes, found: Findings, sender: Sender, rules: Rules
) -> Accepted | Refusal:
    """Judge what one cluster sends and was scanned; `payload` as in `accept_raw`. Raises MalformedError."""
    refused: tuple[Refused, ...] = ()
    if found.exceptions:
        raw, refused = codec.repair(bytes(raw), found.exceptions, rules.label, sender.value, overwrite=rules.overwrite)
        payload = b""
        # What was made is proven like what came: by reading it.
        found = look(codec, raw, sender, rules)
        if found.exceptions:
            raise MalformedError(f"{codec.groups} that cannot be labelled", found.exceptions[0].start)
    if not raw or (codec.items_only and not found.items):
        return Accepted(codec, sender, found, (), refused)
    payload = payload or snappy.compress(raw)
    limit = rules.max_record_bytes - HEADER_BYTES
    if len(payload) <= limit:
        part = Part(payload, found.items, len(raw), 0, found.earliest_ms, found.latest_ms, crc32c(payload))
        return Accepted(codec, sender, found, (part,), refused)
    split = _split(codec, bytes(raw), limit, sender, rules)
    return split if isinstance(split, Refusal) else Accepted(codec, sender, found, split[0], (*refused, *split[1]))


def _accept(
    codec: Codec, raw: Raw, payload: bytes, sender: Sender | None, senders: Senders, rules: Rules
) -> tuple[Accepted, ...] | Refusal:
    """Judge a whole request; raises MalformedError."""
    if sender is not None:
        found = look(codec, raw, sender, rules)
        return _of_one(accept_cluster(codec, raw, payload, found, sender, rules))
    cluster = codec.first_value(raw, rules.label).decode(errors="replace") or rules.default_cluster
    first = senders.of_cluster(cluster)
    found = look(codec, raw, first, rules)
    if all(one.kind is not Kind.FOREIGN for one in found.exceptions) and (
        cluster == rules.default_cluster or all(one.kind is not Kind.UNLABELLED for one in found.exceptions)
    ):
        return _of_one(accept_cluster(codec, raw, payload, found, first, rules))
    out: list[Accepted] = []
    for value, part in codec.by_label(bytes(raw), rules.label, rules.default_cluster.encode()).items():
        owner = senders.of_cluster(value.decode())
        accepted = accept_cluster(codec, part, b"", look(codec, part, owner, rules), owner, rules)
        if isinstance(accepted, Refusal):
            return accepted
        out.append(accepted)
    return tuple(out)


def _of_one(accepted: Accepted | Refusal) -> tuple[Accepted, ...] | Refusal:
    return accepted if isinstance(accepted, Refusal) else (accepted,)


def _split(
    codec: Codec, raw: bytes, limit: int, sender: Sender, rules: Rules
) -> tuple[tuple[Part, ...], tuple[Refused, ...]] | Refusal:
    """Split at the boundaries of groups until each part fits; the same request is always split in the same way."""
    waiting, parts, first_item, oversized = [raw], [], 0, list[bytes]()
    while waiting:
        piece = waiting.pop()
        payload = snappy.compress(piece)
        if len(payload) > limit:
            pair = codec.halves(piece)
            if pair is not None:
                waiting += reversed(pair)
            elif codec.drops_oversized:
                oversized.append(piece)
            else:
                return Refusal(413, f"a series of {len(payload)} bytes is larger than a record of the log may be")
            continue
        found = look(codec, piece, sender, rules)
        parts.append(
            Part(payload, found.items, len(piece), first_item, found.earliest_ms, found.latest_ms, crc32c(payload))
        )
        first_item += found.items
    return tuple(parts), _refused_for_size(codec, oversized)


def _refused_for_size(codec: Codec, oversized: Sequence[bytes]) -> tuple[Refused, ...]:
    if not oversized:
        return ()
    return (Refused(Kind.OVERSIZED, len(oversized), len(oversized), codec.show(oversized[0])),)
