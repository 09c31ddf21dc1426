"""What is pushed to Loki in tests, and what became of it."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from crc32c import crc32c

from pipeline.delivery import Rejected
from pipeline.send.request import Piece
from pipeline.wire import snappy
from pipeline.wire.envelope import LOGS_ENCODING, Envelope, Signal
from pipeline.wire.loki import Pairs, decode, encode_entry, encode_labels, encode_stream

SECOND = 10**9
HOUR = 3600 * SECOND

Line = tuple[int, str] | tuple[int, str, Pairs]
"""(Unix nanoseconds, text, structured metadata)"""


def stream(app: str, lines: Iterable[Line], **labels: str) -> bytes:
    entries = b"".join(encode_entry(line[0], line[1].encode(), line[2] if len(line) > 2 else ()) for line in lines)
    return encode_stream(encode_labels({"app": app, **labels}.items()), entries)


def piece(*streams: bytes, source: int = 0, in_doubt: bool = False, cluster: str = "c1", tenant: str = "") -> Piece:
    raw = b"".join(streams)
    payload = snappy.compress(raw)
    times_ns = [entry.time_ns for found in decode(raw) for entry in found.entries] or [0]
    envelope = Envelope(
        signal=Signal.LOGS,
        encoding=LOGS_ENCODING,
        cluster=cluster,
        agent="a1",
        epoch=1,
        lane=0,
        sequence=source,
        items=len(times_ns),
        raw_bytes=len(raw),
        created_ms=time.time_ns() // 10**6,
        crc32c=crc32c(payload),
        tenant=tenant,
        earliest_ms=min(times_ns) // 10**6,
        latest_ms=max(times_ns) // 10**6,
    )
    return Piece(payload, len(times_ns), source, in_doubt, envelope)


@dataclass
class Letters:
    """Takes what is refused."""

    refused: list[tuple[str, str]] = field(default_factory=list)
    """(line, reason)"""

    async def refuse(self, piece: Piece, refusal: Rejected) -> None:
        lines = [entry.line.decode() for found in decode(snappy.decompress(piece.payload)) for entry in found.entries]
        assert len(lines) == piece.items
        self.refused += [(line, refusal.reason) for line in lines]

    def lines(self) -> list[str]:
        return sorted(line for line, _ in self.refused)

    def reasons(self) -> Sequence[str]:
        return [reason for _, reason in self.refused]
