"""Judging agents' batches: the envelope against who sends it, the payload against the envelope. Pure, as `accept`."""

from collections.abc import Collection, Iterable
from typing import Final, NamedTuple

from gateway.accept import Accepted, Part, Rules, accept_cluster, decompress, look
from gateway.codec import CODECS
from gateway.refusal import Refusal
from gateway.senders import Sender, Senders
from pipeline.wire import snappy
from pipeline.wire.envelope import Envelope, Signal, UnknownVersionError, crc32c, from_headers
from pipeline.wire.errors import MalformedError

MAX_LANE: Final = 65_535
MAX_NUMBER: Final = 2**63 - 1
UPGRADE_RETRY_S: Final = 60.0

_NOTHING: Final = snappy.compress(b"")
_EMPTY: Final = Part(_NOTHING, 0, 0, 0, 0, 0, crc32c(_NOTHING))


class AcceptedBatch(NamedTuple):
    """An agent's batch with its envelope; a gap record has no parts."""

    envelope: Envelope
    accepted: Accepted | None


def accept_batch(
    headers: Iterable[tuple[str, bytes]],
    payload: bytes,
    sender: Sender | None,
    senders: Senders,
    rules: Rules,
    signals: Collection[Signal],
    *,
    scratch: bytearray | None = None,
) -> AcceptedBatch | Refusal:
    """Judge an agent's batch of one of the `signals` that are taken.

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
    refusal = _check_envelope(envelope, payload, sender, rules, signals)
    if refusal is not None:
        return refusal
    if envelope.gap_to is not None:
        return AcceptedBatch(envelope, None)
    raw = decompress(payload, rules, scratch)
    if isinstance(raw, Refusal):
        return Refusal(400, raw.reason)
    codec = CODECS[envelope.signal]
    try:
        found = look(codec, raw, sender, rules)
        if found.items != envelope.items:
            return Refusal(400, f"the envelope says {envelope.items} items, the payload has {found.items}")
        accepted = accept_cluster(codec, raw, payload, found, sender, rules)
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


def _check_envelope(
    envelope: Envelope, payload: bytes, sender: Sender, rules: Rules, signals: Collection[Signal]
) -> Refusal | None:
    if envelope.cluster and envelope.cluster != sender.cluster and not rules.overwrite:
        return Refusal(403, f"the batch is of cluster {envelope.cluster}, the sender is {sender.cluster}")
    if envelope.signal not in signals:
        # The data is not at fault: another gateway, or this one's next version or configuration, may take it.
        reason = f"signal {envelope.signal} is not taken by this gateway: it takes {' and '.join(signals)}"
        return Refusal(503, reason, UPGRADE_RETRY_S)
    counts = (envelope.sequence, envelope.items, envelope.lane_items, envelope.first_item, envelope.gap_to or 0)
    if not (0 <= envelope.lane <= MAX_LANE and 0 <= envelope.epoch < 2**64 and 0 <= envelope.part < envelope.parts):
        return Refusal(400, f"lane {envelope.lane}, epoch {envelope.epoch:x}, part {envelope.part} of {envelope.parts}")
    if not all(0 <= count <= MAX_NUMBER for count in counts):
        return Refusal(400, "a sequence or a number of items that cannot be")
    if envelope.gap_to is not None:
        if payload or envelope.gap_to < envelope.sequence:
            return Refusal(400, "a gap record with a payload, or that ends before it begins")
        return None
    encoding = CODECS[envelope.signal].encoding
    if envelope.encoding != encoding:
        return Refusal(400, f"encoding {envelope.encoding!r} is not supported: {encoding} is")
    if crc32c(payload) != envelope.crc32c:
        return Refusal(400, "the payload's CRC32C is not the envelope's")
    return None
